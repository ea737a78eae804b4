"""What instruments make of their samples."""

from autoballoon.core.model import Guest, Host, Snapshot
from autoballoon.lab.instruments import Held
from autoballoon.views.lab_results import Sample


def sample(at_s: float, *resident: int | None) -> Sample:
    guests = tuple(
        Guest(key=str(n), name=str(n), max=512, actual=512, resident=each, overhead=10)
        for n, each in enumerate(resident)
    )
    return Sample(
        arm="on", round=1, at_s=at_s, usage=0, limit=None, swap_in_pages=0, swap_out_pages=0,
        snapshot=Snapshot(host=Host(capacity=1, available=1), guests=guests),
    )  # fmt: skip


def test_what_guests_held_counts_where_every_guest_is_seen() -> None:
    held = Held()
    for each in (
        sample(1.0),
        sample(5.0, 400, 300),
        sample(6.0, 100, 200),
        sample(7.0, 900, None),
        sample(8.0, 100, 100),
    ):
        held.see(each)
    assert held.extra(go_s=6.0) == {"held_peak": 720, "held_mean": 270}
    assert Held().extra(go_s=0.0) == {"held_peak": None, "held_mean": None}
