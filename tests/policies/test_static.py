from autoballoon.core.units import MIB
from autoballoon.policies.static import Static
from tests.policies.sights import Steps, guest


def test_nothing_moves_whatever_happens() -> None:
    steps = Steps(Static(), capacity=1000 * MIB)
    starving = guest("a", 100, most=500, floor=50, available=0, free=0)
    outside = guest("b", 400, most=500, floor=450, available=400 * MIB, free=400 * MIB)
    for second in range(60):
        assert steps.step(100.0 + second, 0, [starving, outside]) == {}


def test_no_boot_target_is_set() -> None:
    steps = Steps(Static(), capacity=600 * MIB)
    booting = [guest(key, 500, most=500, driver=False, available=None, age_s=None) for key in "ab"]
    assert steps.step(100.0, 600 * MIB, booting) == {}
