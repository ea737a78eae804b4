"""A decision in one sentence, with its numbers: for the log, `status` and reports."""

from collections.abc import Mapping

from autoballoon.core.model import Decision, Reason, Resume, SetTarget, Stay, Suspend
from autoballoon.core.units import GIB, MIB, size_text

_WHY: Mapping[Reason, str] = {
    Reason.BOOT: "a size to start with, until its driver is up",
    Reason.NEED: "it runs short, so it gets {moved}",
    Reason.AGAIN: "it runs short and does not take what it was given, so it is told again",
    Reason.GIVE_BACK: "the pool has room, so it gets {moved} back",
    Reason.TAKE_SURPLUS: "took {moved} that it does not use",
    Reason.TAKE_COLD_CACHE: "took {moved} of cold cache",
    Reason.TAKE_LATELY: "took {moved} that it needed not long ago and does not need now",
    Reason.TAKE_WARM_CACHE: "took {moved}, some of it warm cache",
    Reason.TAKE_HEADROOM: "took {moved}, some of it headroom",
    Reason.TAKE_NEED: "took {moved} that it needs: it has swap of its own, and the host has no more",
    Reason.SQUEEZE: "took {moved} that it does not need, before it is stopped",
    Reason.BOUNDS: "led back between its floor and ceiling",
    Reason.STUCK: "it did not give up what was asked, so its target goes back to its size",
    Reason.DEFLATED: "it took memory back by itself, and its target follows",
    Reason.MANUAL: "somebody else set this size, and it is its ceiling now",
    Reason.FAREWELL: "the daemon leaves, or leaves it alone, and hands memory back",
    Reason.RULE: "as the policy's rule says",
    Reason.OVERLOAD: "needs exceed what the host has, so it waits and others run",
    Reason.TURN_OVER: "it has had its turn, and another one waits",
    Reason.TURN: "its turn has come",
    Reason.ROOM: "there is room for it again",
    Reason.RELEASE: "autoballoon had stopped it, or tried to, and it may not be stopped any more",
    Reason.SETTLED: "it has what it should have",
    Reason.SMALL: "the change would be too small to be worth a move",
    Reason.PACED: "the host is not short, so it shrinks slowly",
    Reason.NEW: "the host is not short, and it has been watched for less than half a minute",
    Reason.WAIT_READING: "it waits for a reading taken after its last move",
    Reason.WAIT_MOVE: "its last shrink is still under way",
    Reason.WAIT_ROOM: "it waits for memory that others have not given back yet",
    Reason.MIGRATING: "it is being migrated away, and is not made smaller meanwhile",
    Reason.COOL_DOWN: "it fought its last shrink and is left alone for a while",
    Reason.SILENT: "its statistics are old or missing, so it keeps what it holds",
    Reason.BOOTING: "it boots",
    Reason.NO_DRIVER: "it has no balloon driver",
    Reason.STOPPED: "its processors are stopped",
    Reason.WAIT_TURN: "stopped by autoballoon, it waits for its turn",
    Reason.INCOMING: "it has not arrived yet",
    Reason.UNMANAGED: "it is left alone, as configured",
    Reason.HELD: "the operator holds it, and it is not made smaller",
    Reason.HELD_BACK: "its move was held back, for it would have broken an invariant",
}

_SIZES = {
    "below_reserve": "the host is below its reserve by {}",
    "promised": "{} are promised to guests about to start",
}
_TIMES = {"unread_s": "its cache was neither added to nor missed for about {:.0f} s"}
"""Numbers that explain a decision by themselves are told in words; the others stand in brackets behind."""


def sentence(decision: Decision) -> str:
    """What is done with one guest and why, with the numbers behind it."""
    moved = abs(decision.size - decision.before) if isinstance(decision, SetTarget) else 0
    why = _WHY[decision.reason].format(moved=size_text(moved))
    numbers = decision.numbers
    clauses = [
        clause.format(size_text(round(numbers[name]))) for name, clause in _SIZES.items() if name in numbers
    ]
    clauses += [clause.format(numbers[name]) for name, clause in _TIMES.items() if name in numbers]
    because = f": {'; '.join(clauses)}" if clauses else ""
    rest = {name: number for name, number in numbers.items() if name not in _SIZES and name not in _TIMES}
    return f"{decision.guest}: {_what(decision)}: {why}{because}{_numbers(rest)}"


def _what(decision: Decision) -> str:
    match decision:
        case SetTarget(before=before, size=size) if max(before, size) < 10 * GIB:
            return f"{before / MIB:.0f} -> {size / MIB:.0f} MiB"
        case SetTarget(before=before, size=size):
            return f"{size_text(before)} -> {size_text(size)}"
        case Stay(size=size):
            return f"stays at {size_text(size)}"
        case Suspend():
            return "stopped"
        case Resume():
            return "runs again"
    raise AssertionError(decision)  # the union is closed


def _numbers(numbers: Mapping[str, int | float]) -> str:
    """ " (need 120 MiB, since 3.0 s)": bytes, unless the name ends in _s (seconds)."""
    if not numbers:
        return ""
    told = (
        f"{name.removesuffix('_s').replace('_', ' ')} {number:.1f} s"
        if name.endswith("_s")
        else f"{name.replace('_', ' ')} {size_text(round(number))}"
        for name, number in numbers.items()
    )
    return f" ({', '.join(told)})"
