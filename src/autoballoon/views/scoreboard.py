"""The scoreboard: scenarios against policies, and on how many of them the ladder is best."""

from collections.abc import Callable, Sequence

from autoballoon.views.sim_results import ORACLE, Result

OURS = "ladder"
NEAR = 1.2
"""How much more guest time than the oracle a policy may lose and be near it."""
TIE_S, TIE_PART = 1.0, 0.02
"""Two policies tie when the lost times differ by less than a guest-second, or by less than a fiftieth."""


def _seconds(value: float) -> str:
    return f"{value:,.1f}"


def _pages(pages: int) -> str:
    if pages < 10_000:
        return str(pages)
    return f"{pages / 1000:,.0f}k" if pages < 10_000_000 else f"{pages / 1e6:,.0f}M"


def _violations(result: Result) -> str:
    kills = result.guest_ooms + result.host_ooms
    return f"{len(result.unmet)}+{len(result.broken)}" + (f"(+{kills})" if kills else "")


_TABLES: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("GUEST TIME LOST (s)", lambda r: _seconds(r.lost_s)),
    ("PAGES SWAPPED BY THE HOST", lambda r: _pages(r.host_swap_pages)),
    ("PAGES SWAPPED BY GUESTS", lambda r: _pages(r.guest_swap_pages)),
    ("LONGEST TIME THAT A GUEST STARVED (s)", lambda r: _seconds(r.longest_starving_s)),
    ("MOVES", lambda r: f"{r.moves:,}"),
    ("VIOLATIONS: what must hold + invariants (+ kills by guests and host)", _violations),
)


_NOTHING = frozenset({"0", "0.0", "0+0", "-"})


def order(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Scenarios by name, and policies: ours, the others, the oracle last."""
    scenarios = sorted({result.scenario for result in results})
    policies = {result.policy for result in results}
    rest = sorted(policies - {OURS, ORACLE})
    return scenarios, [
        *([OURS] if OURS in policies else []),
        *rest,
        *([ORACLE] if ORACLE in policies else []),
    ]


def table(results: Sequence[Result]) -> str:
    """One table for each number, and who is best where."""
    by = {(result.scenario, result.policy): result for result in results}
    scenarios, policies = order(results)
    width = max(len(name) for name in scenarios)
    lines = []
    for title, show in _TABLES:
        lines += [title, " " * width + "".join(f"{policy:>12}" for policy in policies)]
        left_out = 0
        for name in scenarios:
            cells = [show(by[name, p]) if (name, p) in by else "-" for p in policies]
            if set(cells) <= _NOTHING:
                left_out += 1
            else:
                lines.append(name.ljust(width) + "".join(f"{cell:>12}" for cell in cells))
        lines += [*([f"(nothing in {left_out} others)"] if left_out else []), ""]
    return "\n".join(
        [
            *lines,
            *ratios(by, scenarios, policies),
            *unmet(by, scenarios),
            *near_oracle(by, scenarios, policies),
            *verdict(by, scenarios, policies),
        ]
    )


By = dict[tuple[str, str], Result]


def ratios(by: By, scenarios: Sequence[str], policies: Sequence[str]) -> list[str]:
    """Time that the same work takes, as a ratio to the oracle's."""
    if ORACLE not in policies:
        return []
    width = max(len(name) for name in scenarios)
    others = [policy for policy in policies if policy != ORACLE]
    lines = ["TIME FOR THE SAME WORK, as a ratio to the oracle's"]
    lines.append(" " * width + "".join(f"{policy:>12}" for policy in others))
    for name in scenarios:
        base = by[name, ORACLE].work_s
        cells = [f"{base / by[name, p].work_s:.3f}" if by[name, p].work_s > 0 else "inf" for p in others]
        lines.append(name.ljust(width) + "".join(f"{cell:>12}" for cell in cells))
    return [*lines, ""]


def unmet(by: By, scenarios: Sequence[str]) -> list[str]:
    """What our policy failed, a line each."""
    lines = [
        f"{name}: {says}"
        for name in scenarios
        if (name, OURS) in by
        for says in (*by[name, OURS].unmet, *_few(by[name, OURS].broken))
    ]
    return [f"WHAT THE LADDER FAILS ({len(lines)})", *lines, ""] if lines else []


def _few(broken: Sequence[str]) -> list[str]:
    """The first, and how many more: a fault that lasts is broken at every tick."""
    return [*broken[:1], *([f"... and {len(broken) - 1} more invariants broken"] if len(broken) > 1 else [])]


def least_unmet(by: By, name: str, policies: Sequence[str]) -> list[Result]:
    """The policies that fail least of what must hold there: one that fails more is not better for losing less."""
    there = [by[name, policy] for policy in policies if policy != ORACLE and (name, policy) in by]
    fewest = min((len(result.unmet) for result in there), default=0)
    return [result for result in there if len(result.unmet) == fewest]


def best_there(by: By, name: str, policies: Sequence[str]) -> Result:
    """Of these the one that loses least guest time."""
    return min(least_unmet(by, name, policies), key=lambda result: result.lost_s)


def is_best(by: By, name: str, policies: Sequence[str], policy: str = OURS) -> bool:
    """It fails least, and loses no more guest time than the best of those that do, to within a tie."""
    if by[name, policy] not in least_unmet(by, name, policies):
        return False
    least = best_there(by, name, policies).lost_s
    return by[name, policy].lost_s <= max(least + TIE_S, least * (1 + TIE_PART))


def yardstick(by: By, name: str, policies: Sequence[str]) -> Result:
    """What ours is measured by: the oracle, or whoever did better there and failed no more than it did."""
    oracle = by[name, ORACLE]
    others = [
        by[name, p] for p in policies if (name, p) in by and len(by[name, p].unmet) <= len(oracle.unmet)
    ]
    return min(others, key=lambda result: result.lost_s)


def near_oracle(by: By, scenarios: Sequence[str], policies: Sequence[str]) -> list[str]:
    """On how many scenarios ours loses about as little as the yardstick, where needs fit the host."""
    if OURS not in policies or ORACLE not in policies:
        return []
    fit = [name for name in scenarios if by[name, ORACLE].over_s == 0]
    over = [f"{name} ({by[name, ORACLE].over_s:,.1f} s)" for name in scenarios if name not in fit]
    rows, strictly = [], 0
    for name in fit:
        ours, least = by[name, OURS].lost_s, yardstick(by, name, policies)
        strictly += ours <= least.lost_s * NEAR
        if ours > max(least.lost_s * NEAR, least.lost_s + TIE_S):
            ratio = f"{ours / least.lost_s:,.1f} x" if least.lost_s > 0 else "-"
            rows.append((name, _seconds(ours), f"{least.policy} {_seconds(least.lost_s)}", ratio))
    return [
        *_rows(
            f"FURTHER FROM THE ORACLE THAN {NEAR:g} x ({len(rows)}): ladder, the best there is, ratio", rows
        ),
        *([f"Left out, needs exceed the pool there (for so long): {', '.join(over)}."] if over else []),
        f"The ladder loses at most {NEAR:g} x the guest time of the oracle, or of who is better than it "
        f"(or {TIE_S:g} s more), on {len(fit) - len(rows)} of the {len(fit)} scenarios whose needs fit the host at "
        f"all times. Without that second it is {strictly}.",
    ]


def verdict(by: By, scenarios: Sequence[str], policies: Sequence[str]) -> list[str]:
    """Who is best on how many scenarios, and where ours is not; the last line says it of ours."""
    others = [policy for policy in policies if policy != ORACLE]
    if OURS not in policies or len(others) == 1:
        return []
    counts = [
        (policy, str(sum((name, policy) in by and is_best(by, name, policies, policy) for name in scenarios)))
        for policy in others
    ]
    rows = []
    for name in scenarios:
        if not is_best(by, name, policies):
            ours, best = by[name, OURS], best_there(by, name, policies)
            more = f"{ours.lost_s - best.lost_s:+,.1f}"
            if len(ours.unmet) > len(best.unmet):
                more += f", fails {len(ours.unmet) - len(best.unmet)} more"
            rows.append((name, _seconds(ours.lost_s), f"{best.policy} {_seconds(best.lost_s)}", more))
    says = (
        f"The ladder is best or tied (guest time lost, to within {TIE_S:g} s or {TIE_PART:.0%}, among those that "
        f"fail least of what must hold) on {len(scenarios) - len(rows)} of {len(scenarios)} scenarios."
    )
    return [
        *_rows(f"BEST OR TIED, of {len(scenarios)} scenarios", counts),
        *_rows(f"WHERE THE LADDER IS NOT BEST ({len(rows)}): ladder, the best, by how much (s)", rows),
        says,
    ]


def _rows(title: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A title and rows in columns, the first to the left; nothing when there are none."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return [title, *lines, ""]
