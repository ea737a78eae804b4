"""A plan: the JSON that programs read, and the same for people."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.model import Guest, SetTarget, Snapshot
from autoballoon.core.planning import Plan
from autoballoon.core.units import size_text
from autoballoon.views.columns import aligned
from autoballoon.views.sentences import sentence
from autoballoon.views.status import books, host_line


class PlanDocument(msgspec.Struct, frozen=True):
    """What `plan --json` prints; everything by the guest's name, in the snapshot's order."""

    targets: Mapping[str, int]
    """Bytes that each guest would be asked to have after this step."""
    wishes: Mapping[str, int]
    """Bytes that it would have in the end; a guest that may not be moved has none."""
    reasons: Mapping[str, str]


def document(plan: Plan, snapshot: Snapshot) -> PlanDocument:
    """The plan as it is shown."""
    return PlanDocument(
        targets={
            guest.name: decision.size if isinstance(decision, SetTarget) else guest.actual
            for guest, decision in zip(snapshot.guests, plan.decisions, strict=True)
        },
        wishes={guest.name: plan.wishes[guest.key] for guest in snapshot.guests if guest.key in plan.wishes},
        reasons={decision.guest: sentence(decision) for decision in plan.decisions},
    )


def encode(plan: Plan, snapshot: Snapshot) -> bytes:
    """The plan as JSON, one line."""
    return msgspec.json.encode(document(plan, snapshot))


def table(plan: Plan, snapshot: Snapshot, policy: str) -> str:
    """The plan for people: a line for the policy, one for the host, one per guest."""
    shown = document(plan, snapshot)
    lines = [f"one step of policy {policy}", host_line(books(plan.account))]
    if not snapshot.guests:
        return "\n".join([*lines, "no guests"]) + "\n"
    rows = [["GUEST", "SIZE NOW", "WISH", "TARGET", "WHY"]]
    rows += [_row(guest, shown) for guest in sorted(snapshot.guests, key=lambda one: one.name)]
    return "\n".join([*lines, "", *aligned(rows)]) + "\n"


def _row(guest: Guest, shown: PlanDocument) -> list[str]:
    wish = shown.wishes.get(guest.name)
    return [
        guest.name,
        size_text(guest.actual),
        "-" if wish is None else size_text(wish),
        size_text(shown.targets[guest.name]),
        shown.reasons[guest.name].removeprefix(f"{guest.name}: "),
    ]
