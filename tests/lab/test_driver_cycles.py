"""The guests' balloon driver at length: as long as nothing else, and with all that the kernel can check."""

import asyncio
import random

import pytest

from autoballoon.core.units import MIB
from tests.lab.driven import Driven, Kind

pytestmark = pytest.mark.lab

CHECKED = Kind(boot=("slub_debug=FZPU", "init_on_free=1"))
"""The kernel looks at each object of its own for writes where none should be, and clears every page that is freed."""
EATS = "n=0; while :; do eat 100; n=$((n+1)); echo $n > /tmp/rounds; done"
READS = "while :; do cat /disk/data > /dev/null; done"
MODES = ("shrinker", "pressure", "off")


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
    cycles, entries = (1000, 50) if soak_minutes else (30, 3)
    await guest.sh("cat /disk/data > /dev/null; echo 3 > /proc/sys/vm/drop_caches")
    before = await guest.free_kib()
    await guest.load("deflate=shrinker" if checked else "")
    chance = random.Random(1)
    await guest.sh(f"({EATS}) > /dev/null 2>&1 & EATER=$!; ({READS}) > /dev/null 2>&1 & READER=$!")
    for _ in range(cycles):
        await guest.session.execute("balloon", {"value": chance.randrange(120, 512) * MIB})
        await asyncio.sleep(chance.random() * 0.3)
    counters = await guest.counters()
    assert min(counters["inflated"], counters["deflated"] + counters["told_late"]) > cycles * MIB // 4096
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
    print(f"{cycles} cycles, {entries} entries, {rounds} rounds of stress: {counters}")
    print(f"free before {before} KiB, after {after} KiB")
    assert abs(after - before) <= before / 100
    assert rounds > 0
    assert await guest.actual() == 512 * MIB
    assert await guest.news() == ""
