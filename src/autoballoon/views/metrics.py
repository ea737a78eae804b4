"""The metrics that /metrics shows: each declared once, with its kind, its help and how it is read.

Bytes and seconds. Labels are bounded: guests are those of the last snapshot; kinds, reasons and healths are closed.
What is unknown has no sample. docs/reference/metrics.md lists them all.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from autoballoon.core.model import Guest, Snapshot
from autoballoon.core.track import Track
from autoballoon.views.status import DaemonStatus

LATE_S = (0.001, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram of lateness: 0.25 is the goal for 99 of 100 ticks."""


class Counts(msgspec.Struct, frozen=True):
    """What has been counted since the daemon started."""

    ticks: int = 0
    failures: int = 0
    decisions: Mapping[tuple[str, str], int] = {}
    """By kind and reason."""
    given: int = 0
    taken: int = 0
    late: tuple[int, ...] = (0,) * (len(LATE_S) + 1)
    """Regular ticks by the first bound that they kept; the last of them kept none."""
    late_s: float = 0.0


class Scene(msgspec.Struct, frozen=True):
    """Everything as of the last tick."""

    at: float
    """The wall clock, seconds since 1970."""
    daemon: DaemonStatus
    snapshot: Snapshot
    tracks: Mapping[str, Track]
    counts: Counts


Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float | int | None]]


class Metric(msgspec.Struct, frozen=True):
    """One metric: `read` gives its samples."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    says: str
    read: Callable[[Scene], Samples]
    labels: Labels = ()


def _gauge(name: str, says: str, value: Callable[[Scene], float | int | None]) -> Metric:
    return Metric(f"autoballoon_{name}", "gauge", says, lambda scene: [((), value(scene))])


def _counter(name: str, says: str, value: Callable[[Scene], float | int | None]) -> Metric:
    return Metric(f"autoballoon_{name}_total", "counter", says, lambda scene: [((), value(scene))])


def _of_guests(name: str, says: str, value: Callable[[Guest, Track | None], float | int | None]) -> Metric:
    def read(scene: Scene) -> Samples:
        return (((one.name,), value(one, scene.tracks.get(one.key))) for one in scene.snapshot.guests)

    return Metric(f"autoballoon_guest_{name}", "gauge", says, read, ("guest",))


def _healths(scene: Scene) -> Samples:
    for guest in scene.snapshot.guests:
        track = scene.tracks.get(guest.key)
        if track is not None:
            yield (guest.name, track.health.value), 1


def _stalls(scene: Scene) -> Samples:
    host = scene.snapshot.host
    return [(("some",), host.psi_some_s), (("full",), host.psi_full_s)]


def _agent_ages(scene: Scene) -> Samples:
    return (((name,), one.age_s) for name, one in scene.daemon.agents.items())


def _agent_lines(scene: Scene) -> Samples:
    for name, one in scene.daemon.agents.items():
        yield (name, "taken"), one.lines
        yield (name, "dropped"), one.dropped


METRICS: tuple[Metric, ...] = (
    Metric(
        "autoballoon_info",
        "gauge",
        "Always 1; its labels tell which autoballoon this is and who decides.",
        lambda scene: [((scene.daemon.version, scene.daemon.policy, scene.daemon.overload), 1)],
        ("version", "policy", "overload"),
    ),
    _gauge("dry_run", "1 when nothing is moved.", lambda scene: int(scene.daemon.dry_run)),
    _gauge("up_seconds", "Since the daemon started.", lambda scene: scene.daemon.up_s),
    _gauge("interval_seconds", "Between two regular ticks.", lambda scene: scene.daemon.interval_s),
    _gauge("last_tick_timestamp_seconds", "When the last tick ended, since 1970.", lambda scene: scene.at),
    _gauge("last_tick_seconds", "How long the last tick took.", lambda scene: scene.daemon.tick.took_s),
    Metric(
        "autoballoon_tick_lateness_seconds",
        "histogram",
        "How long after their time ticks began.",
        lambda scene: [],
    ),
    _counter("ticks", "Ticks that ended well.", lambda scene: scene.counts.ticks),
    _counter(
        "tick_failures",
        "Ticks that failed, and left everything as it was.",
        lambda scene: scene.counts.failures,
    ),
    _gauge("problems", "Things that the daemon complains of now.", lambda scene: len(scene.daemon.problems)),
    Metric(
        "autoballoon_decisions_total",
        "counter",
        "Decisions by kind and reason, one for each guest and tick.",
        lambda scene: scene.counts.decisions.items(),
        ("kind", "reason"),
    ),
    Metric(
        "autoballoon_moved_bytes_total",
        "counter",
        "Bytes by which targets were moved: given to guests, taken from them.",
        lambda scene: [(("given",), scene.counts.given), (("taken",), scene.counts.taken)],
        ("direction",),
    ),
    _gauge(
        "host_capacity_bytes",
        "What the host has for itself and its guests.",
        lambda s: s.daemon.account.capacity,
    ),
    _gauge(
        "host_available_bytes", "Of it usable now without swapping.", lambda s: s.daemon.account.available
    ),
    _gauge("host_reserve_bytes", "Kept free for the host.", lambda s: s.daemon.account.reserve),
    _gauge("host_other_bytes", "Used by others than guests.", lambda s: s.daemon.account.other),
    _gauge("pool_bytes", "What the host has for guests.", lambda s: s.daemon.account.pool),
    _gauge(
        "charges_bytes", "What guests hold or were promised, of the pool.", lambda s: s.daemon.account.charges
    ),
    _gauge(
        "cushion_bytes", "Kept by the host for grants that cannot wait.", lambda s: s.daemon.account.cushion
    ),
    _gauge("room_bytes", "Left of the pool; below 0 it is promised twice.", lambda s: s.daemon.account.room),
    _gauge(
        "guarantee",
        "1 when guests that keep to their targets cannot make the host swap.",
        lambda scene: int(scene.daemon.account.guarantee),
    ),
    _gauge("short", "1 when the host is short of memory.", lambda scene: int(scene.daemon.account.short)),
    _counter(
        "host_swap_in_bytes", "Swapped in by the machine since it booted.", lambda s: s.snapshot.host.swap_in
    ),
    _counter(
        "host_swap_out_bytes",
        "Swapped out by the machine since it booted.",
        lambda s: s.snapshot.host.swap_out,
    ),
    Metric(
        "autoballoon_host_stall_seconds_total",
        "counter",
        "Time in which some, or all, tasks of the host waited for memory (PSI).",
        _stalls,
        ("kind",),
    ),
    _of_guests("max_bytes", "Its configured RAM.", lambda guest, track: guest.max),
    _of_guests(
        "target_bytes",
        "The size that it was last asked to be.",
        lambda guest, track: track.target if track else None,
    ),
    _of_guests("actual_bytes", "Its size now.", lambda guest, track: guest.actual),
    _of_guests(
        "need_bytes",
        "What it cannot give back without swapping, as of its last reading.",
        lambda guest, track: track.reading.need if track and track.reading else None,
    ),
    _of_guests(
        "used_bytes",
        "Its size less what it reports as available.",
        lambda guest, track: None if guest.available is None else max(0, guest.actual - guest.available),
    ),
    _of_guests("cache_bytes", "Its page cache, as it reports it.", lambda guest, track: guest.caches),
    _of_guests(
        "resident_bytes", "Guest memory that the host holds in RAM.", lambda guest, track: guest.resident
    ),
    _of_guests("swapped_bytes", "Guest memory in the host's swap.", lambda guest, track: guest.swapped),
    _of_guests("overhead_bytes", "What its QEMU takes beyond it.", lambda guest, track: guest.overhead),
    _of_guests("floor_bytes", "It is never asked to be smaller.", lambda guest, track: guest.floor),
    _of_guests("ceiling_bytes", "It is never asked to be larger.", lambda guest, track: guest.top),
    _of_guests("reading_age_seconds", "Age of its statistics.", lambda guest, track: guest.age_s),
    Metric(
        "autoballoon_guest_health",
        "gauge",
        "1 for the health that it has now; only a guest that is ok is moved.",
        _healths,
        ("guest", "health"),
    ),
    _of_guests(
        "own_swap_used_bytes", "Used of the guest's own swap (agent).", lambda guest, track: guest.swap_used
    ),
    _of_guests(
        "own_stall_seconds",
        "Time in which something in the guest waited for memory, since its boot (agent).",
        lambda guest, track: guest.psi_some_s,
    ),
    _of_guests(
        "own_alloc_stalls",
        "How often something in the guest had to reclaim memory before it got some, since its boot.",
        lambda guest, track: guest.alloc_stalls,
    ),
    _of_guests(
        "own_oom_kills",
        "Programs that the guest's kernel has killed for want of memory, since its boot.",
        lambda guest, track: guest.oom_kills,
    ),
    Metric(
        "autoballoon_guest_agent_age_seconds",
        "gauge",
        "Since the last line of the agent in the guest.",
        _agent_ages,
        ("guest",),
    ),
    Metric(
        "autoballoon_guest_agent_lines_total",
        "counter",
        "Lines of the agent in the guest that were taken, and dropped.",
        _agent_lines,
        ("guest", "fate"),
    ),
)


def lateness(counts: Counts) -> tuple[list[tuple[str, float]], float]:
    """The histogram of lateness as (bound, ticks up to it), and the sum of all seconds."""
    buckets, so_far = [], 0
    for bound, ticks in zip([*map(str, LATE_S), "+Inf"], counts.late, strict=True):
        so_far += ticks
        buckets.append((bound, float(so_far)))
    return buckets, counts.late_s
