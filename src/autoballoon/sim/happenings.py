"""What happens to guests and to the daemon at stated times, beside what they do by themselves."""

import msgspec

from autoballoon.sim.course import Seconds, Size


class _Happening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="what"):
    at: Seconds


class ToGuest(_Happening, frozen=True, kw_only=True):
    """It befalls a guest, and nobody while that is not there."""

    guest: str


class SetByHand(ToGuest, frozen=True, kw_only=True, tag="set-by-hand"):
    """Somebody else sets a guest's target."""

    size: Size


class Reset(ToGuest, frozen=True, kw_only=True, tag="reset"):
    """A guest is reset: it boots anew."""


class Pause(ToGuest, frozen=True, kw_only=True, tag="pause"):
    """An operator stops a guest."""


class Unpause(ToGuest, frozen=True, kw_only=True, tag="unpause"):
    """An operator lets a guest run."""


class Leave(_Happening, frozen=True, kw_only=True, tag="leave"):
    """The daemon ends in order: it hands memory back."""


class Crash(_Happening, frozen=True, kw_only=True, tag="crash"):
    """The daemon is gone at once."""


class Start(_Happening, frozen=True, kw_only=True, tag="start"):
    """The daemon is started again, and knows only what its state file keeps."""


class Hold(_Happening, frozen=True, kw_only=True, tag="hold"):
    """An operator asks that a guest be not made smaller."""

    guest: str


class Unhold(_Happening, frozen=True, kw_only=True, tag="unhold"):
    """... and that it be balanced again."""

    guest: str


class Room(_Happening, frozen=True, kw_only=True, tag="room"):
    """An operator asks for room for a guest that is about to start."""

    size: Size
    guest: str | None = None
    """Whose room it is; None: that of whichever comes next."""
    timeout: Seconds = Seconds(30)
    """So long it is waited for, and then kept."""


Happening = SetByHand | Reset | Pause | Unpause | Leave | Crash | Start | Hold | Unhold | Room
