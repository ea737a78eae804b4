"""The guests' balloon driver in a real guest: what it frees, what it tells, when it keeps what it has."""

import asyncio
import time

import pytest

from autoballoon.core.units import MIB
from tests.lab.driven import Driven, Kind, device

pytestmark = pytest.mark.lab

INDIRECT_DESC = 28
"""VIRTIO_RING_F_INDIRECT_DESC, a bit of every virtio device."""


async def test_the_scan_function_frees_exactly_what_is_asked_for(guest: Driven) -> None:
    """1, 128, the whole balloon, and more than that: the seed's driver freed the complement, and nothing of all.

    Nobody else asks meanwhile: in mode pressure not the reclaim of every day, which a kernel also begins where much is
    free but in pieces (watermark_boost_factor); nor does compaction, which comes after that, have pages on their way.
    """
    await guest.load()
    await guest.sh(
        "echo 0 > /proc/sys/vm/watermark_boost_factor; echo 0 > /proc/sys/vm/compaction_proactiveness"
    )
    await guest.become(200)
    held = (await guest.counters())["held"]
    assert held == 312 * MIB // 4096
    for asked in (1, 128):
        assert await guest.scan(asked) == asked
        held -= asked
        assert (await guest.counters())["held"] == held
        await guest.settle(512 * MIB - held * 4096)
    assert await guest.scan(held) == held
    await guest.settle(512 * MIB)
    await asyncio.sleep(1.0)
    assert await guest.actual() == 512 * MIB, (
        "the old target, which still stands, was followed behind its back"
    )
    await guest.become(200)  # a new decision, be it for the same size
    assert await guest.scan(999_999) == 312 * MIB // 4096
    await guest.settle(512 * MIB)
    assert await guest.scan(1) == 0
    await guest.become(
        200
    )  # what was asked of an empty balloon used to end its device: a message without a page
    assert await guest.complaints() == ""


@pytest.mark.parametrize("mode", ["shrinker", "pressure"])
async def test_a_spike_is_met_before_a_process_is_killed(guest: Driven, mode: str) -> None:
    await guest.load(f"deflate={mode}")
    await guest.become(150)
    await guest.sh("eat 200")
    assert "Killed process" not in await guest.sh("dmesg")
    assert 200 * MIB < await guest.actual() <= (512 if mode == "shrinker" else 400) * MIB, (
        "as much as ends it"
    )
    assert (await guest.counters())["oom_calls"] == 0, "reclaim asked in time"


@pytest.mark.parametrize("guest", [Kind(device(deflate_on_oom="off"))], indirect=True)
async def test_without_the_bit_the_same_spike_kills_with_linux_own_driver_and_with_ours(
    guest: Driven,
) -> None:
    whole = await guest.total_kib()
    for driver in ("virtio_balloon", "autoballoon deflate=shrinker"):
        await guest.sh(f"dmesg -c > /dev/null; insmod /modules/{driver}")
        await guest.become(512 - 100)
        await guest.become(512)
        assert await guest.total_kib() == whole, "what is given back is memory of the guest again"
        await guest.become(150)
        assert await guest.total_kib() == whole - (512 - 150) * 1024, (
            "what is in the balloon is no memory of the guest"
        )
        await guest.sh("eat 200", may_fail=True)
        assert "Killed process" in await guest.sh("dmesg")
        assert await guest.actual() == 150 * MIB
        await guest.sh(f"rmmod {driver.split()[0]}")
        await guest.settle(512 * MIB)
        assert await guest.total_kib() == whole


async def test_page_cache_does_not_dissolve_the_balloon_in_mode_pressure(guest: Driven) -> None:
    await guest.load()
    assert (await guest.sh("cat /sys/module/autoballoon/parameters/deflate")).strip("|") == "pressure"
    total = await guest.total_kib()
    await guest.become(150)
    assert await guest.total_kib() == total, "with the bit it is memory in use"
    await guest.sh("cat /disk/data > /dev/null")
    counters = await guest.counters()
    assert counters["calm"] > 0, "reclaim asked"
    assert counters["freed"] == 0
    assert await guest.actual() == 150 * MIB


async def test_who_drops_caches_does_not_empty_the_balloon(guest: Driven) -> None:
    """In mode shrinker, which answers all reclaim; this is none. As above, nobody else asks meanwhile."""
    await guest.load("deflate=shrinker")
    await guest.sh(
        "echo 0 > /proc/sys/vm/watermark_boost_factor; echo 0 > /proc/sys/vm/compaction_proactiveness"
    )
    await guest.become(200)
    before = await guest.counters()
    await guest.sh("echo 2 > /proc/sys/vm/drop_caches")
    counters = await guest.counters()
    assert counters["counts"] > before["counts"], "it was asked"
    assert counters["held"] == 312 * MIB // 4096
    assert counters["freed"] == before["freed"]


async def test_a_target_that_the_guest_cannot_reach_costs_no_process_its_life(guest: Driven) -> None:
    """It takes what can be had, stops, and gives a program that then comes what it needs."""
    await guest.load()
    await guest.session.execute("balloon", {"value": 16 * MIB})
    begun, sizes = time.monotonic(), [512 * MIB]
    while len(sizes) < 5 or len(set(sizes[-5:])) > 1 or sizes[-1] > 150 * MIB:
        assert time.monotonic() - begun < 30.0, sizes
        await asyncio.sleep(0.3)
        sizes.append(await guest.actual())
    assert sizes[-1] > 16 * MIB
    assert "Killed process" not in await guest.sh("dmesg")
    await guest.sh("eat 60")
    assert "Killed process" not in await guest.sh("dmesg")
    assert await guest.complaints() == ""


async def test_a_guest_is_resized_as_fast_as_by_linux_own_driver(guest: Driven) -> None:
    """Both in one guest, one after the other; of five times each the quickest counts."""
    fastest: dict[str, tuple[float, float]] = {}
    for driver in ("autoballoon", "virtio_balloon"):
        await guest.sh(f"insmod /modules/{driver}")
        took = [(await guest.become(200), await guest.become(512)) for _ in range(5)]
        fastest[driver] = min(down for down, _ in took), min(up for _, up in took)
        if driver == "autoballoon":  # Linux's own crashes 6.12 when it is removed
            await guest.sh(f"rmmod {driver}")
    print({driver: f"{down:.3f} s to 200 MiB, {up:.3f} s back" for driver, (down, up) in fastest.items()})
    for ours, stock in zip(fastest["autoballoon"], fastest["virtio_balloon"], strict=True):
        assert ours <= 1.5 * stock + 0.05


@pytest.mark.parametrize("sleep", ["freeze", "mem"])
async def test_over_a_sleep_pages_are_the_guests_and_the_target_is_followed_after_it(
    guest: Driven, sleep: str
) -> None:
    """Suspend to idle, which a key ends, and to RAM, where QEMU resets every device."""
    await guest.load("deflate=shrinker")
    await guest.become(200)
    assert await guest.scan(1000) == 1000
    await guest.settle(200 * MIB + 1000 * 4096)
    await guest.sh("echo enabled > /sys/class/tty/ttyS0/power/wakeup")
    guest.vm.send(f"echo {sleep} > /sys/power/state")
    await guest.settle(512 * MIB)
    if sleep == "freeze":
        await asyncio.sleep(2.0)
        guest.vm.send("true")
    else:
        begun = time.monotonic()
        while (await status(guest)) != "suspended":
            assert time.monotonic() - begun < 10.0
            await asyncio.sleep(0.05)
        await guest.session.execute("system_wakeup")
    answer = await guest.vm.expect("answer", timeout=30.0)
    assert answer.data["code"] == 0, answer.data
    guest.vm.send("echo awake")
    while "awake" not in answer.data["says"]:  # the key that woke it may be an answer too
        answer = await guest.vm.expect("answer", timeout=30.0)
    await guest.settle(200 * MIB)
    assert (await guest.counters())["held"] == 312 * MIB // 4096
    assert await guest.scan(128) == 128
    await guest.settle(200 * MIB + 128 * 4096)
    await guest.sh("rmmod autoballoon")
    await guest.settle(512 * MIB)
    assert await guest.complaints() == ""


async def status(guest: Driven) -> str:
    """QEMU's word for the state of the machine."""
    answer = await guest.session.execute("query-status")
    assert isinstance(answer, dict)
    return str(answer["status"])


async def test_statistics_come_as_from_linux_own_driver(guest: Driven) -> None:
    await guest.load()
    path = "/machine/peripheral/balloon0"
    await guest.session.execute(
        "qom-set", {"path": path, "property": "guest-stats-polling-interval", "value": 1}
    )
    await asyncio.sleep(1.5)
    ours = await guest.session.execute("qom-get", {"path": path, "property": "guest-stats"})
    await guest.sh("rmmod autoballoon; insmod /modules/virtio_balloon")
    await asyncio.sleep(2.5)
    stock = await guest.session.execute("qom-get", {"path": path, "property": "guest-stats"})
    assert isinstance(ours, dict) and isinstance(stock, dict)
    unknown = 2**64 - 1
    assert {n for n, v in ours["stats"].items() if v != unknown} == {
        n for n, v in stock["stats"].items() if v != unknown
    }
    assert ours["stats"]["stat-total-memory"] == stock["stats"]["stat-total-memory"]


@pytest.mark.parametrize(
    "guest", [Kind(soak=True), Kind(boot=("init_on_free=1",))], indirect=True, ids=["plain", "zeroed"]
)
async def test_free_pages_are_reported_and_the_same_is_negotiated_as_by_linux_own_driver(
    guest: Driven,
) -> None:
    """Page poison is a matter of kernels that overwrite what is freed; then the host must keep the pattern: zeros."""
    bits, left = [], []
    for driver in ("autoballoon", "virtio_balloon"):
        await guest.sh(f"insmod /modules/{driver}; eat 300")
        await guest.sh(
            "sleep 5"
        )  # the kernel reports every two seconds, the first time perhaps while it still eats
        left.append(guest.resident())
        bits.append(await guest.negotiated())
        if driver == "autoballoon":
            indirect = f"cut -c {INDIRECT_DESC + 1} /sys/bus/virtio/drivers/autoballoon/virtio*/features"
            assert (await guest.sh(indirect)).strip("|") == "0", "to report takes no memory"
            await guest.sh(f"rmmod {driver}")  # Linux's own crashes 6.12 when it is removed
    assert max(left) <= 250 * MIB, "300 MiB were eaten, beside what its kernel needs"
    assert bits[0] == bits[1]
    assert any("PAGE_POISON" in bit for bit in bits[0]) == bool(guest.vm.spec.boot)
    assert await guest.complaints() == ""


@pytest.mark.parametrize(
    "guest",
    [
        Kind(
            device(deflate_on_oom="on", free_page_reporting="on", free_page_hint="on", iothread="io0"),
            objects=("iothread,id=io0",),
        )
    ],
    indirect=True,
)
async def test_reports_are_heard_by_a_host_that_offers_hints_too(guest: Driven) -> None:
    """Its queue for hints, which our driver does not give, comes before the one for reports."""
    await guest.load()
    await guest.sh("eat 300; sleep 5")
    assert guest.resident() <= 250 * MIB, "300 MiB were eaten, beside what its kernel needs"
    await guest.become(200)
    await guest.sh("rmmod autoballoon")
    await guest.settle(512 * MIB)
    assert await guest.complaints() == ""
