"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.errors import BadInput
from autoballoon.core.units import (
    GIB,
    MIB,
    PAGE,
    Portion,
    page_ceil,
    page_floor,
    parse_duration,
    parse_portion,
    parse_size,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 * MIB),
        ("2G", 2 * GIB),
        ("2gib", 2 * GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "12", "12 parsecs", "-3MiB", "1e9GiB", "5%"])
def test_a_bad_size_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="size"):
        parse_size(text)


def test_portions() -> None:
    assert parse_portion("25%").of(512 * MIB) == 128 * MIB
    assert parse_portion("64MiB") == Portion(amount=64 * MIB)
    with pytest.raises(BadInput, match="more than the whole"):
        parse_portion("101%")


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("250ms", 0.25), ("10m", 600.0), ("2h", 7200.0)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "s", "1 fortnight", "", "1 S"])
def test_a_bad_duration_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="duration"):
        parse_duration(text)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_bad_input(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except BadInput as error:
        assert "\n" not in str(error)


@given(st.integers(0, 2**50))
def test_pages(size: int) -> None:
    assert page_floor(size) <= size <= page_ceil(size)
    assert page_floor(size) % PAGE == page_ceil(size) % PAGE == 0
    assert page_ceil(size) - page_floor(size) in (0, PAGE)


def test_sizes_for_people() -> None:
    assert size_text(392 * MIB) == "392 MiB"
    assert size_text(32 * GIB) == "32.0 GiB"
    assert size_text(None) == "?"
