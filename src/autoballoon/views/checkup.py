"""What doctor found, as JSON and for people."""

import re
import textwrap
from collections import Counter

import msgspec

from autoballoon.core.facts import Facts, Finding, Severity
from autoballoon.views.diagnosis import can_work

WIDTH = 100
"""Of the reasons; what is to be typed is never broken."""


class Checkup(msgspec.Struct, frozen=True):
    """What `doctor --json` prints. Fields are only ever added."""

    v: int
    works: bool
    """Nothing was found that cannot work."""
    findings: tuple[Finding, ...]
    facts: Facts


def checkup(facts: Facts, findings: tuple[Finding, ...]) -> Checkup:
    """Facts and findings together."""
    return Checkup(v=1, works=can_work(findings), findings=findings, facts=facts)


def encode(facts: Facts, findings: tuple[Finding, ...]) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(checkup(facts, findings))


def text(facts: Facts, findings: tuple[Finding, ...]) -> str:
    """The findings for people; those that several guests share are told once, with their names."""
    blocks = []
    for alike in _together(findings):
        first = alike[0]
        names = ", ".join(dict.fromkeys(one.where for one in alike))
        mend = first.mend if len(alike) == 1 else _of_any(first)
        blocks.append(
            f"{first.severity.value.upper()}  {names}: {first.what}\n"
            f"{_indented('why: ', textwrap.fill(first.why, WIDTH))}\n{_indented('mend:', mend)}"
        )
    return "\n\n".join([*blocks, _summary(facts, findings)]) + "\n"


def _together(findings: tuple[Finding, ...]) -> list[list[Finding]]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.id, one.what, _of_any(one)), []).append(one)
    return list(groups.values())


def _of_any(one: Finding) -> str:
    """How it is mended in whichever guest."""
    return re.sub(rf"(?<![\w-]){re.escape(one.where)}(?![\w-])", "GUEST", one.mend)


def _indented(title: str, words: str) -> str:
    return f"    {title} " + words.replace("\n", "\n          ")


def _summary(facts: Facts, findings: tuple[Finding, ...]) -> str:
    counts = Counter(one.severity for one in findings)
    told = [
        f"{counts[severity]} {word if counts[severity] == 1 else plural}"
        for severity, word, plural in (
            (Severity.CANNOT, "thing cannot work", "things cannot work"),
            (Severity.WARNING, "warning", "warnings"),
            (Severity.NOTE, "note", "notes"),
        )
        if counts[severity]
    ]
    guests = len(facts.guests)
    through = "through the daemon that runs" if facts.daemon else "and no daemon"
    return (
        f"looked at the host and {guests} guest{'' if guests == 1 else 's'}, {through}: "
        f"{', '.join(told) or 'nothing is wrong'}"
    )
