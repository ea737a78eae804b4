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


def rivals(by: By, name: str, policies: Sequence[str]) -> list[Result]:
    """The others' results that count: a policy that fails more of what must hold than ours is not better for it."""
    ours = len(by[name, OURS].unmet)
    others = (by[name, p] for p in policies if p not in (OURS, ORACLE) and (name, p) in by)
    return [result for result in others if len(result.unmet) <= ours]


def is_best(by: By, name: str, policies: Sequence[str]) -> bool:
    """Ours loses no more guest time than the best of its rivals, to within a tie."""
    least = min((rival.lost_s for rival in rivals(by, name, policies)), default=None)
    return least is None or by[name, OURS].lost_s <= max(least + TIE_S, least * (1 + TIE_PART))


def near_oracle(by: By, scenarios: Sequence[str], policies: Sequence[str]) -> list[str]:
    """On how many scenarios ours loses about as little as the oracle, where needs fit the host."""
    if OURS not in policies or ORACLE not in policies:
        return []
    fit = [name for name in scenarios if by[name, ORACLE].over_s == 0]
    far = [
        name
        for name in fit
        if by[name, OURS].lost_s > max(by[name, ORACLE].lost_s * NEAR, by[name, ORACLE].lost_s + TIE_S)
    ]
    says = (
        f"The ladder loses at most {NEAR:g} x the oracle's guest time (or {TIE_S:g} s more) "
        f"on {len(fit) - len(far)} of the "
        f"{len(fit)} scenarios whose needs fit the host at all times"
    )
    told = [f"{name} ({by[name, OURS].lost_s:.1f} s, oracle {by[name, ORACLE].lost_s:.1f} s)" for name in far]
    return [f"{says}; not on {', '.join(told)}." if told else f"{says}."]


def verdict(by: By, scenarios: Sequence[str], policies: Sequence[str]) -> list[str]:
    """The last line: where ours is best or tied, and where it is not."""
    if OURS not in policies or len(set(policies) - {OURS, ORACLE}) == 0:
        return []
    lost = [name for name in scenarios if not is_best(by, name, policies)]
    says = (
        f"The ladder is best or tied (guest time lost, to within {TIE_S:g} s or {TIE_PART:.0%}, among those that "
        f"fail no more of what must hold) on {len(scenarios) - len(lost)} of {len(scenarios)} scenarios"
    )
    if not lost:
        return [f"{says}."]
    told = []
    for name in lost:
        best = min(rivals(by, name, policies), key=lambda result: result.lost_s)
        told.append(f"{name} ({best.policy} {best.lost_s:.1f} s, ladder {by[name, OURS].lost_s:.1f} s)")
    return [f"{says}; not on {', '.join(told)}."]
