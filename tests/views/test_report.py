import re

import msgspec
import pytest

from autoballoon.core.units import MIB
from autoballoon.views.lab_results import Results, Sample, Told
from autoballoon.views.report import page
from autoballoon.views.report_figures import host_memory, parts, targets


def test_the_page_needs_nothing_but_itself(results: Results, samples: list[Sample], told: list[Told]) -> None:
    made = page(results, samples, told, "/* plotly */")
    assert not re.search(r"https?://|//cdn|@import|<link|src=", made)
    assert made.count("Plotly.newPlot(") == 3  # memory of off and of on, targets of on
    assert "<script>/* plotly */</script>" in made


def test_what_a_guest_or_a_sentence_says_is_text_not_markup(
    results: Results, samples: list[Sample], told: list[Told]
) -> None:
    evil = msgspec.structs.replace(samples[0].snapshot.guests[0], name="</script><script>alert(1)</script>")
    snapshot = msgspec.structs.replace(samples[0].snapshot, guests=(evil,))
    made = page(results, [msgspec.structs.replace(samples[0], snapshot=snapshot), *samples[1:]], told, "")
    assert "</script><script>alert" not in made
    assert "&lt;b&gt;cold cache&lt;/b&gt; &lt;/script&gt;" in made
    assert "guest-1 stays" not in made


def test_without_samples_the_page_still_tells_the_result(results: Results) -> None:
    assert "Nothing was sampled." in page(results, [], [], "")


def test_the_layers_add_up_to_what_the_host_holds(samples: list[Sample]) -> None:
    figure = host_memory(samples[:5], 3000.0, 10.0)
    layers = [trace for trace in figure["data"] if trace.get("stackgroup")]
    assert sum(layer["y"][0] for layer in layers) == pytest.approx(samples[0].usage / MIB)
    assert len([layer for layer in layers if layer["showlegend"]]) == 4


@pytest.mark.parametrize("deflates", [True, False])
def test_the_balloon_is_not_shown_as_used(samples: list[Sample], deflates: bool) -> None:
    guest = samples[0].snapshot.guests[0]
    total = 480 if deflates else 280
    guest = msgspec.structs.replace(
        guest, actual=312 * MIB, total=total * MIB, deflates_itself=deflates, resident=270 * MIB
    )
    assert parts(guest) == (120 * MIB, 120 * MIB, 30 * MIB)


def test_what_the_host_does_not_hold_is_taken_off_free_then_off_cache(samples: list[Sample]) -> None:
    guest = msgspec.structs.replace(samples[0].snapshot.guests[0], resident=350 * MIB)
    assert parts(guest) == (320 * MIB, 30 * MIB, 0)


def test_a_target_holds_until_the_end(samples: list[Sample], told: list[Told]) -> None:
    figure = targets(samples[5:], told)
    asked = next(trace for trace in figure["data"] if trace["name"] == "target" and trace["y"])
    assert (asked["x"], asked["y"]) == ([2.5, 4.0], [400.0, 400.0])
