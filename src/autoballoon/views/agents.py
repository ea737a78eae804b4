"""How the guests' own agents are."""

from collections.abc import Mapping

import msgspec

from autoballoon.core.units import names_text

MOST_NAMED = 8
"""Agents that are named in the line for people."""
SILENT_S, QGA_SILENT_S = 5.0, 15.0
"""What an agent said longer ago is unknown: five lines that did not come, or three readings by qemu-guest-agent."""


class AgentStatus(msgspec.Struct, frozen=True):
    """One guest's agent."""

    age_s: float | None
    """Since its last line; None: nothing has come yet."""
    lines: int
    """Taken."""
    dropped: int
    """Too long, too many, out of turn, or no lines of an agent."""
    through: str = "agent"
    """Or "qga": its files are read through qemu-guest-agent, and `lines` are readings."""

    @property
    def is_silent(self) -> bool:
        """What it said last is too old to be believed."""
        return self.age_s is None or self.age_s >= (QGA_SILENT_S if self.through == "qga" else SILENT_S)


def agents_line(agents: Mapping[str, AgentStatus]) -> str:
    """The agents in one line: how many speak, who does not, and who says what nobody can use."""
    silent = [name for name, one in sorted(agents.items()) if one.is_silent]
    dropped = [f"{name} {one.dropped}" for name, one in sorted(agents.items()) if one.dropped]
    says = f"agents: {len(agents) - len(silent)} of {len(agents)} speak"
    for what, names in (("silent", silent), ("lines dropped", dropped)):
        if names:
            says += f"; {what}: {names_text(names, MOST_NAMED)}"
    return says
