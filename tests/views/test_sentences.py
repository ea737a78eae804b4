"""Every decision has a sentence, with its numbers."""

import pytest

from autoballoon.core.model import Decision, Reason, Resume, SetTarget, Stay, Suspend
from autoballoon.core.units import GIB, MIB
from autoballoon.views.sentences import sentence


def moved(reason: Reason, **numbers: int | float) -> SetTarget:
    return SetTarget("/run/web-3.qmp", "web-3", reason, dict(numbers), before=512 * MIB, size=392 * MIB)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_of_its_own(reason: Reason) -> None:
    says = sentence(moved(reason))
    assert says.startswith("web-3: 512 -> 392 MiB: ")
    assert all(sentence(moved(other)) != says for other in Reason if other is not reason)


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        (
            moved(Reason.TAKE_COLD_CACHE, room=-300 * MIB, waited_s=2.0),
            "web-3: 512 -> 392 MiB: took 120 MiB of cold cache (room -300 MiB, waited 2.0 s)",
        ),
        (
            moved(Reason.TAKE_COLD_CACHE, need=200 * MIB, below_reserve=300 * MIB, unread_s=40.2),
            "web-3: 512 -> 392 MiB: took 120 MiB of cold cache: the host is below its reserve by 300 MiB; "
            "its cache was neither added to nor missed for about 40 s (need 200 MiB)",
        ),
        (
            SetTarget("k", "db", Reason.NEED, {}, before=9 * GIB, size=12 * GIB),
            "db: 9216 MiB -> 12.0 GiB: it runs short, so it gets 3072 MiB",
        ),
        (
            Stay("k", "db", Reason.SETTLED, {}, size=9 * GIB),
            "db: stays at 9216 MiB: it has what it should have",
        ),
        (Suspend("k", "db", Reason.STOPPED, {}), "db: stopped: its processors are stopped"),
        (Resume("k", "db", Reason.RULE, {}), "db: runs again: as the policy's rule says"),
    ],
)
def test_a_sentence_names_guest_move_reason_and_numbers(decision: Decision, says: str) -> None:
    assert sentence(decision) == says
