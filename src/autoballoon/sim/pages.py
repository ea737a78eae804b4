"""A guest's memory as the host sees it: which pages were ever touched, which are in use, which are swapped out."""


class Pages:
    """Bytes of guest memory. What is not in use (freed in the guest, or cold cache) the guest does not touch."""

    __slots__ = ("hot", "swapped_cold", "swapped_hot", "touched")

    def __init__(self) -> None:
        self.touched = 0.0
        """Ever touched since the start, and not given to the balloon since."""
        self.hot = 0.0
        """Of these, in use."""
        self.swapped_hot = self.swapped_cold = 0.0
        """Swapped out by the host, of those in use and of the others."""

    @property
    def resident(self) -> float:
        """What the host holds in RAM."""
        return self.touched - self.swapped_hot - self.swapped_cold

    @property
    def swapped(self) -> float:
        """What the host has swapped out."""
        return self.swapped_hot + self.swapped_cold

    @property
    def cold(self) -> float:
        """Touched and not in use, in RAM."""
        return max(0.0, self.touched - self.hot - self.swapped_cold)

    def clear(self) -> None:
        """All is given back."""
        self.touched = self.hot = self.swapped_hot = self.swapped_cold = 0.0

    def boot(self, touched: float, kernel: float) -> None:
        """What a guest that boots has touched."""
        self.touched = max(self.touched, touched)
        self.hot = min(kernel, self.touched)

    def now(self, held: float, used: float, size: float, *, reporting: bool) -> float:
        """The guest holds `held` bytes, `used` of them in use, and is `size` large; bytes newly taken of the host.

        With free page `reporting` the host has back what is not held.
        """
        before, cold_before, hot_before = self.touched, self.touched - self.hot, self.hot
        self.touched = min(held if reporting or held > before else before, size)
        self.hot = used
        grew = max(0.0, self.touched - before)
        if self.swapped_hot or self.swapped_cold:
            self._move(used - hot_before - grew, cold_before, hot_before)
            self._shrink(before - self.touched)
        return grew

    def _move(self, from_cold: float, cold_before: float, hot_before: float) -> None:
        """Memory that was not in use is taken into use, or the other way round, swapped or not alike."""
        if from_cold > 0 and cold_before > 0:
            moved = self.swapped_cold * min(1.0, from_cold / cold_before)
        elif from_cold < 0 and hot_before > 0:
            moved = -self.swapped_hot * min(1.0, -from_cold / hot_before)
        else:
            return
        self.swapped_cold -= moved
        self.swapped_hot += moved

    def _shrink(self, given: float) -> None:
        """What went into the balloon is swapped no more; swap holds no more than there is."""
        cold = max(0.0, self.touched - self.hot)
        if given > 0 and cold + given > 0:
            self.swapped_cold *= cold / (cold + given)
        self.swapped_cold = min(self.swapped_cold, cold)
        self.swapped_hot = min(self.swapped_hot, self.hot)
