"""What each policy would wish for; none of them moves anything.

The ladder is ours. The others are the published rules of others, for the lab and for comparison.
"""

from collections.abc import Callable

from autoballoon.core.errors import BadInput
from autoballoon.core.policy import Policy
from autoballoon.policies.ladder import Ladder
from autoballoon.policies.mom import Mom
from autoballoon.policies.proxmox import Proxmox
from autoballoon.policies.qmemman import Qmemman
from autoballoon.policies.squeezed import Squeezed
from autoballoon.policies.static import Static

BASELINES: dict[str, Callable[[], Policy]] = {
    "static": Static,
    "proxmox": Proxmox,
    "mom": Mom,
    "qmemman": Qmemman,
    "squeezed": Squeezed,
}
"""The published rules of others: raw, that is without our pace, and with no more of our guard than I1 and I3."""
POLICIES: dict[str, Callable[[], Policy]] = {"ladder": Ladder, **BASELINES}


def policy_named(name: str) -> Policy:
    """The policy of that name; BadInput names the known ones."""
    if name not in POLICIES:
        raise BadInput(f"there is no policy {name!r}; the known ones are {', '.join(sorted(POLICIES))}")
    return POLICIES[name]()
