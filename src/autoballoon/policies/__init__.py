"""What each policy would wish for; none of them moves anything."""

from collections.abc import Callable

from autoballoon.core.errors import BadInput
from autoballoon.core.policy import Policy
from autoballoon.policies.ladder import Ladder

POLICIES: dict[str, Callable[[], Policy]] = {"ladder": Ladder}


def policy_named(name: str) -> Policy:
    """The policy of that name; BadInput names the known ones."""
    if name not in POLICIES:
        raise BadInput(f"there is no policy {name!r}; the known ones are {', '.join(sorted(POLICIES))}")
    return POLICIES[name]()
