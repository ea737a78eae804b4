"""Water-filling: hand an amount out over claims, evenly by weight, nobody above the claim."""

from collections.abc import Sequence


def water_fill(amount: int, claims: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Shares of `amount`, one per claim: sum == min(amount, sum of claims), 0 <= share <= claim.

    Weighted max-min fairness: no share can grow without taking from one that is smaller per weight, but for
    the rounding of single bytes, which go to the first claims. Negative claims count as 0, weights below 1 as 1.

    Source: Bertsekas and Gallager, Data Networks, section 6.5.2 (progressive filling); sorted by claim per
    weight it needs one pass, O(n log n).
    """
    claims = [claim if claim > 0 else 0 for claim in claims]
    left = max(0, amount)
    if sum(claims) <= left:
        return claims
    shares = [0] * len(claims)
    weights = [weight if weight > 1 else 1 for weight in weights]
    weight_left = sum(weights)
    wanted = [claim / weight for claim, weight in zip(claims, weights, strict=True)]
    order = sorted(range(len(claims)), key=wanted.__getitem__)  # stable: of equals the first stays first
    for place, i in enumerate(order):
        if claims[i] * weight_left > left * weights[i]:
            _split(left, order[place:], weights, weight_left, claims, shares)
            break
        shares[i] = claims[i]
        left -= claims[i]
        weight_left -= weights[i]
    return shares


def _split(
    left: int, unsated: list[int], weights: list[int], weight_left: int, claims: list[int], shares: list[int]
) -> None:
    """Give `left` to those whose claims all exceed their even part of it."""
    given = 0
    for i in unsated:
        shares[i] = left * weights[i] // weight_left
        given += shares[i]
    for i in sorted(unsated):
        if given == left:
            return
        if shares[i] < claims[i]:
            shares[i] += 1
            given += 1
