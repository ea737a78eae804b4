"""The driver's own code against a host that looks closely: who is told what, and before what.

The driver's files are compiled into a program beside a host (host/device.c; what happens to both: host/stories.c) that
offers any bits, also MUST_TELL_HOST, which QEMU never does, and takes its time. A host that finds nothing wrong proves
little, so it is shown drivers with one slip each, too.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "guest" / "driver"
HOST = Path(__file__).parent / "host"
FILES = ("main", "resize", "pages", "notices", "shrink", "pressure", "stats")
SANITIZED = ["-fsanitize=address,undefined"]
MUST_TELL, MAY_DEFLATE, HINTS, REPORTS = 1 << 0, 1 << 2, 1 << 3, 1 << 5
BITS = (
    0,
    MUST_TELL,
    MAY_DEFLATE,
    MUST_TELL | MAY_DEFLATE,
    MAY_DEFLATE | REPORTS,
    MAY_DEFLATE | HINTS | REPORTS,
)
STORIES = (
    "resized", "prompt", "reclaimed", "lacking", "own", "overtaken", "spare", "twice", "locked", "patient", "crossed",
    "moved", "slept", "anywhere", "empty", "killing", "foreign", "asked", "changed", "pulled", "interrupted", "calm",
    "frozen", "unheard", "lowered", "credited", "hurried", "aside", "dropped", "rebooted",
)  # fmt: skip
OF_RECLAIM = {
    "reclaimed", "lacking", "own", "overtaken", "spare", "twice", "locked", "crossed", "anywhere", "empty", "killing",
    "pulled", "calm", "unheard", "credited", "hurried", "dropped",
}  # fmt: skip
SLIPS = (
    ("shrink.c", "if (b->must_tell) {", "if (0) {", 5, "reclaimed", "a page is used before the host was told"),
    (
        "pages.c",
        "\tif (n)\n\t\texchange(b, b->deflate_vq",
        "\trelease_pages_of(b, &got);\n\tif (n)\n\t\texchange(b, b->deflate_vq",
        1,
        "resized",
        "a page is used before the host was told",
    ),
    (
        "pages.c",
        "\texchange(b, b->deflate_vq, b->chunk, PIECES_PER_PAGE);\n\tmutex_unlock(&b->wire);\n"
        "\tcompat_page_leaves(from);\n\tput_page(from);",
        "\tput_page(from);\n\texchange(b, b->deflate_vq, b->chunk, PIECES_PER_PAGE);\n\tmutex_unlock(&b->wire);",
        1,
        "moved",
        "a page is used before the host was told",
    ),
    (
        "pages.c",
        "\ttell_untold(b);\n\tfor (most",
        "\tfor (most",
        4,
        "crossed",
        "a page is given that the host believes to have",
    ),
    (
        "shrink.c",
        "\tif (b->must_tell) {",
        "\tballoon_tell(b);\n\tif (b->must_tell) {",
        4,
        "reclaimed",
        "waits for a mutex where it may not",
    ),
    ("pages.c", "b->cap = min(b->cap, b->held);", ";", 4, "lacking", "could have tried again"),
    ("pages.c", "\tmost = min(most, b->cap);", "\t;", 4, "overtaken", "given in all"),
    ("pages.c", "most = balloon_target(b);", "most = NO_CAP;", 0, "lowered", "given in all"),
    ("pages.c", "\tif (must_wait) {", "\tif (0) {", 4, "hurried", "a page is given that the host believes to have"),
    ("pages.c", "\t\tmutex_unlock(&b->wire);\n\t\treturn", "\t\ttell_untold(b);\n\t\treturn", 4, "hurried", "waited"),
    ("shrink.c", "\tcompat_reclaimed(freed);", "\t;", 4, "credited", "freed for reclaim that wants 32"),
    ("shrink.c", "max(b->owed, min(pages, b->held))", "b->owed + min(pages, b->held)", 5, "credited", "wanted 32"),
    ("shrink.c", "who == BY_OOM ? balloon_deflate(b, pages, who) : 0", "0", 5, "killing", "before a process is killed"),
    ("pages.c", "if (who == BY_HOST)\n\t\tmutex", "if (1)\n\t\tmutex", 5, "killing", "that nobody gives back"),
    ("main.c", "\t\t\tmsleep(1);", "\t\t\t;", 0, "aside", "goes round and round"),
    ("notices.c", "b->held + more + NOTICE_PAGES", "b->held + more", 4, "spare", "freed while the host takes"),
    ("resize.c", "left = min(b->cap, b->held);", "left = b->held;", 5, "twice", "pages after reclaim"),
    ("resize.c", "if (b->must_tell)", "if (1)", 4, "prompt", "turns of the host"),
    (
        "shrink.c",
        "if (READ_ONCE(b->inflater) == current) {",
        "if (0) {",
        4,
        "own",
        "pages freed for its own inflation",
    ),
    (
        "resize.c",
        "b->retry_ms = min(2 * wait_ms, RETRY_LAST_MS);",
        ";",
        0,
        "patient",
        "nearly as often as at first",
    ),
    (
        "resize.c",
        "if (held == want || READ_ONCE(b->leaving)) {",
        "if (READ_ONCE(b->leaving)) {",
        0,
        "patient",
        "will try again for what it has",
    ),
    (
        "pages.c",
        "} else if (!spin_trylock_irqsave(&b->books, flags)) {",
        "} else {\n\t\t\tspin_lock_irqsave(&b->books, flags);\n\t\t}\n\t\tif (0) {",
        4,
        "locked",
        "a spinlock is taken twice",
    ),
    ("resize.c", "b->cap = left - owed;", ";", 5, "reclaimed", "pages after reclaim"),
    ("resize.c", "pay_owed(b);", ";", 5, "reclaimed", "pages after reclaim"),
    ("main.c", "\t__virtio_clear_bit(vdev, VIRTIO_RING", "\t(void)(VIRTIO_RING", 4, "resized", "free pages may take"),
    ("main.c", "\tend(vdev->priv);", "\t;", 4, "slept", "pages while it sleeps"),
    ("main.c", "return err ? err : begin(b);", "return err;", 4, "slept", "pages after it slept"),
    (
        "pages.c",
        "min(pages - freed, b->held - keep)",
        "min(b->held - pages, b->held - keep)",
        4,
        "reclaimed",
        "freed in reclaim",
    ),
    ("resize.c", "CHUNK_PAGES), want,", "CHUNK_PAGES), 0,", 4, "anywhere", "the guest is given"),
    ("pages.c", "if (!list_empty(&list) && !notice->pieces) {", "if (!notice->pieces) {", 4, "empty", "is untold"),
    ("shrink.c", "if (who != BY_RECLAIM) {", "if (0) {", 5, "killing", "pages after two processes were"),
    ("pages.c", "cpu_to_virtio32(b->vdev, (u32)(pfn + i))", "(u32)(pfn + i)", 0, "foreign", "named that there is not"),
    ("main.c", "\tcancel_work_sync(&b->stats_work);", "\t;", 0, "asked", "work is left when its queue goes"),
    ("stats.c", "if (!b->leaving)", "if (1)", 0, "asked", "work is left when its queue goes"),
    ("resize.c", "if (!b->leaving) {", "if (1) {", 0, "changed", "work is left when its queue goes"),
    ("main.c", "\twake_up(&b->acked); /*", "\t; /*", 4, "pulled", "nobody wakes what waits"),
    (
        "main.c",
        "\twake_up(&b->acked); /*",
        "\tballoon_shrink_stop(b);\n\twake_up(&b->acked); /*",
        5,
        "pulled",
        "nobody wakes who is about to kill",
    ),
    (
        "pages.c",
        " ||\n\t\t\t\t   virtqueue_is_broken(vq), HZ",
        ", HZ",
        4,
        "pulled",
        "waits for ever",
    ),
    (
        "main.c",
        "if (offered & BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {",
        "if (0) {",
        MAY_DEFLATE | HINTS | REPORTS,
        "resized",
        "queues asked for",
    ),
    ("main.c", "cancel_delayed_work_sync(&b->resize);", ";", 0, "interrupted", "whether work is left for its sleep"),
    ("main.c", " | WQ_FREEZABLE", "", 0, "frozen", "pages when work is frozen"),
    (
        "resize.c",
        "queue_delayed_work(b->workers, &b->resize, ms",
        "if (moved)\n\t\tballoon_resize(work);\n\telse\n\t\tqueue_delayed_work(b->workers, &b->resize, ms",
        0,
        "frozen",
        "is frozen",
    ),
    ("resize.c", "moved && ++chunks < TURN_EXCHANGES", "moved && ++chunks", 0, "frozen", "when work is frozen"),
    ("pages.c", "queue_work(b->workers, &b->tell);\n\tshow", "tell_untold(b);\n\tshow", 4, "frozen", "still believes"),
    ("pages.c", "messages < TURN_EXCHANGES && ", "", 4, "frozen", "still believes"),
    ("resize.c", "queue_work(b->workers, &b->tell);", ";", 0, "resized", "told then: 77 instead of 0"),
    (
        "pages.c",
        "\t\texchange(b, b->inflate_vq, b->chunk, n",
        "\t\tshow_actual(b);\n\t\texchange(b, b->inflate_vq, b->chunk, n",
        0,
        "resized",
        "told of pages that it has not yet taken",
    ),
    ("resize.c", "b->owed = 0; /* had", "; /* had", 5, "crossed", "pages after a decision that crossed reclaim"),
    ("shrink.c", "freed = is_calm(b) ? SHRINK_STOP : ", "freed = ", 4, "calm", "freed until the trouble was over"),
    ("shrink.c", "== current || is_calm(b))", "== current)", 4, "calm", "counts while there is no trouble"),
    ("shrink.c", "READ_ONCE(b->inflater) == current || is", "is", 4, "own", "counts for its own inflation"),
    ("shrink.c", "if (!current->reclaim_state || ", "if (", 4, "dropped", "counts when caches are dropped"),
    ("shrink.c", "\treturn balloon_f", "\tballoon_set_aside(b, 2000);\n\treturn balloon_f", 4, "reclaimed", "takes me"),
    ("main.c", "\tballoon_shrink_stop(b);", "\t;", 4, "unheard", "can ask while pages are given back for good"),
    ("pages.c", "\t\t\tadjust_managed_page_count(page, 1);", "\t\t\t;", 0, "resized", "memory is counted as it should"),
    ("pages.c", "\t\t\t\tadjust_managed_page_count(page, -1);", "\t\t\t\t;", 0, "resized", "memory is counted as it"),
    ("pages.c", "broken(vq), HZ)", "broken(vq), MAX_SCHEDULE_TIMEOUT)", 4, "rebooted", "was reset for a shutdown"),
    ("pages.c", "inflate_vq))\n\t\treturn 0;", "inflate_vq))\n\t\t;", 4, "rebooted", "pages held when"),
    ("pages.c", "inflate_vq))\n\t\treturn;", "inflate_vq))\n\t\t;", 4, "rebooted", "device that was"),
    ("pages.c", "n = min(pieces, MOST_PIECES);", "n = pieces;", 4, "reclaimed", "more numbers than Linux's own"),
    ("pages.c", "\tcompat_page_leaves(from);", "\t;", 4, "moved", "freed with the marks"),
    ("pages.c", "adjust_managed_page_count(to, -1);", ";", 0, "moved", "memory is counted as it should"),
    ("pages.c", "!counts_as_used(b) && page_zone(from) != page_zone(to)", "0", 0, "moved", "memory is counted as it"),
    ("pages.c", "return virtio_has_feature", "return !virtio_has_feature", 4, "resized", "memory is counted as it"),
)  # fmt: skip
"""File, what stands there, what a slip makes of it, bits, story, and what the host says to that."""


def compiled(source: Path, folder: Path, headers: Path, *flags: str) -> Path:
    """One file of the driver or of the host as an object; HOST/kernel.h stands in for every kernel header."""
    made = folder / f"{source.stem}.o"
    subprocess.run(
        ["gcc", "-c", "-std=gnu11", *flags, "-include", HOST / "kernel.h", "-I", headers, "-I", DRIVER,
          "-o", made, source],
        check=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty file for each kernel header that the driver names."""
    headers = tmp_path_factory.mktemp("headers")
    for file in DRIVER.glob("*.[ch]"):
        for name in re.findall(r"#include <(linux/[^>]+)>", file.read_text()):
            (headers / name).parent.mkdir(parents=True, exist_ok=True)
            (headers / name).touch()
    return headers


def all_compiled(folder: Path, headers: Path, *flags: str) -> dict[str, Path]:
    """The driver and the host, file by file."""
    sources = [*(DRIVER / f"{name}.c" for name in FILES), *sorted(HOST.glob("*.c"))]
    return {source.name: compiled(source, folder, headers, *flags) for source in sources}


def linked(objects: Iterable[Path], folder: Path, *flags: str) -> Path:
    """These objects as one program."""
    program = folder / "device"
    subprocess.run(["gcc", *flags, "-o", program, *objects], check=True)
    return program


def told(program: Path, words: Sequence[str]) -> tuple[int, str]:
    """(exit status, what the host found wrong)."""
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def program(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver as it is, beside its host; the compiler's sanitizers look on."""
    folder = tmp_path_factory.mktemp("device")
    made = all_compiled(folder, headers, "-O1", "-Wall", "-Wno-unused", "-Werror", *SANITIZED)
    return linked(made.values(), folder, *SANITIZED)


@pytest.fixture(scope="module")
def objects(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Made once, for a slip is in one file only; without sanitizers, for it is the host that has to find it."""
    return all_compiled(tmp_path_factory.mktemp("plain"), headers, "-O0")


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("bits", BITS)
def test_the_host_is_told_in_order_whatever_it_offers(program: Path, bits: int, story: str) -> None:
    if story in OF_RECLAIM and not bits & MAY_DEFLATE:
        return  # without the bit nothing is registered with reclaim
    assert told(program, [str(bits), story]) == (0, "")


@pytest.mark.parametrize("slip", range(len(SLIPS)))
def test_a_driver_with_a_slip_is_found_out(
    objects: Mapping[str, Path], headers: Path, tmp_path: Path, slip: int
) -> None:
    name, stands, becomes, bits, story, finding = SLIPS[slip]
    text = (DRIVER / name).read_text()
    assert text.count(stands) == 1, "the driver has changed: change the slip too"
    (tmp_path / name).write_text(text.replace(stands, becomes))
    slipped = {**objects, name: compiled(tmp_path / name, tmp_path, headers, "-O0")}
    code, says = told(linked(slipped.values(), tmp_path), [str(bits), story])
    assert code != 0
    assert finding in says, says
