"""When ticks come: once an interval, and early when something happens; and how punctual they have been."""

import asyncio
import contextlib

import msgspec

from autoballoon.daemon.punctual import Punctuality

REGULAR = "interval"
"""Why a tick came that nothing called for."""
LEAST_GAP_S = 0.2
"""Between two ticks: a guest that causes early ticks as fast as it can costs five of them a second."""
PROMPT_GAP_S = 0.05
"""Between a tick and one for which somebody waits, of which there is none sooner than LEAST_GAP_S after another such.
On a loaded host ticks come as often as they may, because guests near their edge cause them; memory that comes back just
after one would lie there until the next, while a guest has nothing left."""


class Beat(msgspec.Struct, frozen=True):
    """A tick that is to come now."""

    why: str
    begun: float
    late_s: float = 0.0
    """After it was due; 0 for one that came early."""


class Pulse:
    """Waits for the next tick; `wake` makes it come early. Times are of the running loop's clock."""

    def __init__(self) -> None:
        self.punctuality = Punctuality()
        self.due = 0.0
        """When the next regular tick is."""
        self._early, self._prompt = asyncio.Event(), asyncio.Event()
        self._why = ""
        self._quiet_until = self._prompt_from = 0.0
        """No early tick before these times: no tick at all that is not prompt, and none that is."""
        self._was_prompt = False

    def wake(self, why: str, *, prompt: bool = False) -> None:
        """Have a tick as soon as the least gap allows; of several reasons the first is told. `prompt`: somebody waits
        for it, who can be given something."""
        if not self._early.is_set():
            self._why = why
            self._early.set()
        if prompt:
            self._prompt.set()

    def hurry(self, why: str) -> None:
        """Have it at once."""
        self._prompt_from = 0.0
        self.wake(why, prompt=True)

    def begin(self) -> None:
        """The first tick is due now."""
        self.due = asyncio.get_running_loop().time()

    async def wait(self) -> str:
        """Until the next regular tick is due, or something happens; says which."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(self.due):
                await self._early.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._quiet_until):
                        await self._prompt.wait()
                        await asyncio.sleep(self._prompt_from - now())
        except TimeoutError:
            why = REGULAR
        else:
            why = self._why
        self._was_prompt = self._prompt.is_set()
        self._early.clear()
        self._prompt.clear()
        return why

    def beat(self, why: str, interval_s: float) -> Beat:
        """A tick begins now that came for this reason."""
        begun = asyncio.get_running_loop().time()
        late_s = 0.0
        if why == REGULAR or begun >= self.due:
            late_s = max(0.0, begun - self.due)
            self.punctuality.note(late_s, interval_s)
            self.due += interval_s * (1 + late_s // interval_s)  # ticks that were missed are not made up for
        self._quiet_until = begun + LEAST_GAP_S
        self._prompt_from = (
            self._quiet_until if self._was_prompt else max(self._prompt_from, begun + PROMPT_GAP_S)
        )
        return Beat(why, begun, late_s)
