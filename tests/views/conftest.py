"""Canned lab results: what a small `wave` could have come to."""

from collections.abc import Callable
from typing import Any

import pytest

from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.core.units import GIB, MIB
from autoballoon.views.lab_results import ArmResult, Machine, Results, Run, Sample, Told

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run() -> MakeRun:
    """A run of eight guests that all finished; keywords replace what differs."""

    def make(**differs: Any) -> Run:
        fields: dict[str, Any] = {
            "round": 1,
            "wall_s": 80.0,
            "work_s": [7.0, 8.0, 9.0, 8.0, 8.0, 8.0, 8.0, 8.0],
            "finished": 8,
            "swap_in_pages": 0,
            "swap_out_pages": 0,
            "guest_oom": 0,
            "guests": 8,
            "extra": {"worst_phase_s": 2.5, "notes": []},
        }
        return Run(**{**fields, **differs})

    return make


@pytest.fixture
def machine() -> Machine:
    return Machine(
        cores=2, ram=24 * GIB, accel="tcg", kernel="6.1.0", qemu="QEMU emulator 7.2.0", cgroup="v1"
    )


@pytest.fixture
def results(make_run: MakeRun, machine: Machine) -> Results:
    """One round of all five arms at 2600 MiB, everything reached."""
    limit = 2600 * MIB
    controlled = {"controller_cpu_s": 1.6, "controller_rss": 40 * MIB}
    return Results(
        experiment="wave",
        machine=machine,
        command="autoballoon lab run wave",
        arms=[
            ArmResult("yardstick", None, None, [make_run()]),
            ArmResult("off", None, limit, [make_run(swap_in_pages=500_000, swap_out_pages=700_000)]),
            ArmResult("reporting", None, limit, [make_run(swap_in_pages=90_000, swap_out_pages=120_000)]),
            ArmResult("on", "ladder", limit, [make_run(swap_out_pages=12, **controlled)]),
            ArmResult("on+reporting", "ladder", limit, [make_run(**controlled)]),
        ],
    )


def _guest(number: int, at_s: int) -> Guest:
    actual = (512 - 20 * at_s) * MIB
    return Guest(
        key=f"/run/eye/guest-{number}.qmp", name=f"guest-{number}", max=512 * MIB, actual=actual, deflates_itself=True,
        total=480 * MIB, available=200 * MIB, free=40 * MIB, caches=120 * MIB, resident=actual - 50 * MIB,
        swapped=10 * MIB, overhead=60 * MIB,
    )  # fmt: skip


@pytest.fixture
def samples() -> list[Sample]:
    """Five seconds of two guests, in `off` and in `on`."""
    return [
        Sample(
            arm=arm, round=1, at_s=float(at_s), usage=1000 * MIB, limit=2600 * MIB, swap_in_pages=100 * at_s,
            swap_out_pages=200 * at_s,
            snapshot=Snapshot(
                host=Host(capacity=2600 * MIB, available=500 * MIB), guests=(_guest(0, at_s), _guest(1, at_s))
            ),
        )
        for arm in ("off", "on")
        for at_s in range(5)
    ]  # fmt: skip


@pytest.fixture
def told() -> list[Told]:
    """One move, told in words that would be markup if they were not escaped."""
    move = {
        "guest": "guest-0", "kind": "set-target", "from": 512 * MIB, "to": 400 * MIB, "reason": "cold",
        "numbers": {}, "says": "guest-0: 512 -> 400 MiB: <b>cold cache</b> </script>",
    }  # fmt: skip
    stay = {**move, "kind": "stay", "says": "guest-1 stays"}
    return [Told(arm="on", round=1, at_s=2.5, data={"decisions": [move, stay]})]


@pytest.fixture
def make_peers(make_run: MakeRun, machine: Machine) -> Callable[..., Results]:
    """Two rounds of `peers` in two variants; keywords are what differs in an arm: ladder_fast={...}."""

    def make(**differs: dict[str, Any]) -> Results:
        arms = []
        for variant in ("fast", "slow"):
            for short, policy, busy, pages in (
                ("yardstick", None, 4.0, 0),
                ("off", None, 8.0, 500_000),
                ("ladder", "ladder", 5.0, 200),
                ("mom", "mom", 6.0, 9000),
                ("squeezed", "squeezed", 5.5, 0),
            ):
                fields: dict[str, Any] = {
                    "work_s": [busy] * 8,
                    "swap_out_pages": pages,
                    "extra": {"go_s": 30.0, "notes": []},
                    **({"controller_cpu_s": 1.6, "controller_rss": 40 * MIB} if policy else {}),
                    **differs.get(f"{short}_{variant}", {}),
                }
                runs = [make_run(**{"round": round_, **fields}) for round_ in (1, 2)]
                limit = None if short == "yardstick" else 2600 * MIB
                arms.append(ArmResult(f"{short}@{variant}", policy, limit, runs))
        return Results(
            experiment="peers", machine=machine, command="autoballoon lab run peers --rounds 2", arms=arms
        )

    return make


@pytest.fixture
def over(make_run: MakeRun, machine: Machine) -> Results:
    """One round of `over`, everything reached."""
    arms = [ArmResult("yardstick", None, None, [make_run(work_s=[4.0] * 8)])]
    for size, off_s, on_s in ((2000, 15.0, 5.0), (1600, 20.0, 10.0)):
        limit = size * MIB
        went: dict[str, Any] = {"extra": {"go_s": 30.0}}
        swapped: dict[str, Any] = {"swap_in_pages": 500_000, "swap_out_pages": 500_000, **went}
        arms.append(ArmResult(f"off@{size}", None, limit, [make_run(work_s=[off_s] * 8, **swapped)]))
        for choice in ("host-swap", "guest-swap", "suspend"):
            run = make_run(
                work_s=[on_s] * 8, swap_out_pages=9, controller_cpu_s=1.6, controller_rss=40 * MIB, **went
            )
            arms.append(ArmResult(f"{choice}@{size}", "ladder", limit, [run]))
    return Results(experiment="over", machine=machine, command="autoballoon lab run over", arms=arms)
