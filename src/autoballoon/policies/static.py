"""static: every guest keeps the size it has. What a host does that has balloons and nobody to move them."""

from autoballoon.core.policy import Sight, Watch, Wishes


class Static:
    """Never moves."""

    name = "static"
    every_s = 0.0
    raw = True
    watch = Watch()

    def start(self) -> None:
        """Nothing to remember."""

    def wish(self, memory: None, sight: Sight, now: float) -> Wishes:
        """No wish for any guest."""
        return Wishes(memory=memory, wishes={})
