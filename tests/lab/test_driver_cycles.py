"""The guests' balloon driver at length: as long as nothing else, and with all that the kernel can check."""

import asyncio
import random
import time

import pytest

from autoballoon.core.units import MIB
from tests.lab.driven import Driven, Kind

pytestmark = pytest.mark.lab

CHECKED = Kind(boot=("slub_debug=FZPU", "init_on_free=1"))
"""The kernel looks at each object of its own for writes where none should be, and clears every page that is freed."""
EATS = "n=0; while :; do eat 100; n=$((n+1)); echo $n > /tmp/rounds; done"
READS = "while :; do cat /disk/data > /dev/null; done"
PATIENCE_S = 0.5
"""A driver that cannot go on tries again after 0.2 s; one that comes no nearer for longer has gone as far as it can."""
MODES = ("shrinker", "pressure", "off")


async def followed(guest: Driven, size_mib: int) -> bool:
    """Ask for a size and wait until the guest has it, or comes no nearer to it; whether it has it."""
    await guest.session.execute("balloon", {"value": size_mib * MIB})
    nearest, since = 1 << 62, time.monotonic()
    while away := abs(await guest.actual() - size_mib * MIB):
        if away < nearest:
            nearest, since = away, time.monotonic()
        elif time.monotonic() - since > PATIENCE_S:
            return False
        await asyncio.sleep(0.02)
    return True


async def moved(guest: Driven) -> tuple[int, int]:
    """Pages that have gone into the balloon, and come out of it, since the driver was put in."""
    counters = await guest.counters()
    return counters["inflated"], counters["deflated"] + counters["told_late"]


@pytest.mark.parametrize(
    "guest",
    [
        CHECKED,
        Kind(soak=True),
        Kind(soak=True, cpus=1),
        Kind(boot=("kfence.sample_interval=10",), newer=True),
    ],
    indirect=True,
    ids=["checked", "plain", "one-processor", "kfence"],
)
async def test_cycles_under_stress_leave_nothing_behind(guest: Driven, soak_minutes: float) -> None:
    """Random targets while the guest takes memory and reads files; then in and out, and all of its memory is back."""
    boot = guest.vm.spec.boot
    checked = boot == CHECKED.boot
    if checked:
        assert "heap free:on" in await guest.sh("dmesg")
        assert (await guest.sh("cat /sys/kernel/slab/kmalloc-64/red_zone")).strip("|") == "1"
    elif boot:
        assert "kfence: initialized" in await guest.sh("dmesg")
    plain = not boot and guest.vm.spec.cpus > 1
    cycles, entries = 4, 3
    if (
        soak_minutes
    ):  # one kind in full; what the kernel checks, or one processor, shows sooner and takes longer
        cycles, entries = (1000, 50) if plain else (150, 10)
    await guest.sh("cat /disk/data > /dev/null; echo 3 > /proc/sys/vm/drop_caches")
    before = await guest.free_kib()
    await guest.load("deflate=shrinker" if checked else "")
    chance = random.Random(1)
    await guest.sh(f"({EATS}) > /dev/null 2>&1 & EATER=$!; ({READS}) > /dev/null 2>&1 & READER=$!")
    begun, reached, whole = time.monotonic(), 0, 0
    taken, given = await moved(guest)
    for _ in range(cycles):
        reached += await followed(guest, chance.randrange(120, 280))
        reached += await followed(guest, chance.randrange(330, 513))
        (before_taken, before_given), (taken, given) = (taken, given), await moved(guest)
        whole += min(taken - before_taken, given - before_given) >= MIB // 4096
    took, counters = time.monotonic() - begun, await guest.counters()
    # In mode shrinker reclaim may ask when the first pages are in, and then no more go in: it was so in 4 of 100.
    assert whole > (0.5 if checked else 0.95) * cycles, "hardly anything moved in the others"
    assert min(taken, given) > 20 * MIB // 4096 * cycles
    for entry in range(entries):
        await guest.session.execute("balloon", {"value": 200 * MIB})
        await asyncio.sleep(0.2)
        await guest.sh(f"rmmod autoballoon && insmod /modules/autoballoon deflate={MODES[entry % 3]}")
    rounds = int((await guest.sh("cat /tmp/rounds")).strip("|"))
    await guest.sh(
        "kill $EATER $READER; sleep 0.5; killall eat cat; sleep 0.5; rmmod autoballoon", may_fail=True
    )
    await guest.sh("! lsmod | grep -q autoballoon; echo 3 > /proc/sys/vm/drop_caches; sleep 0.5")
    after = await guest.free_kib()
    print(
        f"{whole} of {cycles} cycles in {took:.0f} s, {reached} of {2 * cycles} targets reached: {counters}"
    )
    print(f"{entries} entries, {rounds} rounds of stress")
    print(f"free before {before} KiB, after {after} KiB")
    assert abs(after - before) <= before / 100
    assert rounds > 0
    assert await guest.actual() == 512 * MIB
    assert await guest.news() == ""
