"""`replay` and `plan --at` on recordings that somebody made up: an answer or one sentence, never a traceback."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.test_verbs import call
from tests.daemon.test_recorder import status

LINES: list[dict[str, Any]] = [{"v": 1, "at": 1.7e9 + n} | json.loads(status(n)) for n in range(3)]
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**53,
    2**63,
    2**64,
    10**30,
    1e-300,
    1e18,
    1e308,
    "",
    "x",
    "set-target",
    "need",
    [],
    {},
    [{}],
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything in a document stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, one in inner for leaf in leaves(one, (*path, key)))]


PLACES = [path for path in leaves(LINES) if len(path) > 1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_no_made_up_recording_is_a_traceback(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    lines: Any = copy.deepcopy(LINES)
    for path, odd in changes:
        place = lines
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    file = tmp_path / "made-up"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for words in (
        ("replay", file),
        ("replay", file, "--policy", "mom"),
        ("plan", "--from", file, "--at", "1s"),
    ):
        result = call(*words)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code in (0, 2, 3)
        if result.exit_code:
            assert result.output.startswith("autoballoon: ")
            assert result.output.count("\n") == 1
