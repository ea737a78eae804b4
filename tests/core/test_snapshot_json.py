"""A snapshot from JSON: what is filled in, and what is refused with which field named."""

import json
from typing import Any

import pytest

from autoballoon.core.errors import BadInput
from autoballoon.core.model import Guest, Host
from autoballoon.core.snapshot_json import Given, read_snapshot
from autoballoon.core.units import GIB, MIB

WEB: dict[str, Any] = {"name": "web", "max": 2 * GIB, "actual": GIB, "available": 100 * MIB}
HOST: dict[str, Any] = {"capacity": 8 * GIB, "available": 4 * GIB}


def read(*guests: Any, **fields: Any) -> Given:
    return read_snapshot(json.dumps({"host": HOST, "guests": list(guests), **fields}).encode())


def refusal(*guests: Any, **fields: Any) -> str:
    with pytest.raises(BadInput) as caught:
        read(*guests, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_left_out_is_filled_in() -> None:
    (guest,) = read(WEB).snapshot.guests
    assert (guest.key, guest.resident, guest.age_s) == ("web", GIB, 0.0)
    assert (guest.shares, guest.running, guest.managed, guest.swap_in) == (1000, True, True, None)


def test_null_is_unknown_and_not_filled_in() -> None:
    (guest,) = read({**WEB, "resident": None, "age_s": None, "available": None}).snapshot.guests
    assert (guest.resident, guest.age_s, guest.available) == (None, None, None)


def test_a_whole_status_is_read_for_its_snapshot() -> None:
    inner = {"host": HOST, "guests": [WEB]}
    whole = {"daemon": {"version": "9"}, "snapshot": inner, "decisions": []}
    assert read_snapshot(json.dumps(whole).encode()) == read(WEB)
    inner["guests"] = [{**WEB, "actual": -1}]
    with pytest.raises(BadInput, match=r"^snapshot\.guests\[0\]\.actual must"):
        read_snapshot(json.dumps(whole).encode())


def test_two_guests_of_one_name_are_told_apart_by_their_keys() -> None:
    names = [guest.name for guest in read({**WEB, "key": "a"}, {**WEB, "key": "b"}).snapshot.guests]
    assert names == ["web@a", "web@b"]


def test_unknown_fields_are_passed_over_and_told_once() -> None:
    coloured = {**WEB, "colour": 1}
    given = read(coloured, {**coloured, "name": "b"}, host={**HOST, "cpus": 4}, extra=None)
    assert given.unknown == ("extra", "host.cpus", "guests[].colour")
    assert len(given.snapshot.guests) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"actual": 3 * GIB}, "guests[1].actual (3221225472) is above its max (2147483648)"),
        ({"actual": -1}, "guests[1].actual must be a number of bytes"),
        ({"actual": 1 << 60}, "guests[1].actual must be a number of bytes"),
        ({"actual": "1GiB"}, "guests[1].actual must be a whole number"),
        ({"actual": 1.5}, "guests[1].actual must be a whole number"),
        ({"actual": None}, "guests[1].actual must be a whole number"),
        ({"actual": True}, "guests[1].actual must be a whole number"),
        ({"max": 0, "actual": 0}, "guests[1].max is 0"),
        ({"floor": 3 * GIB}, "guests[1].floor (3221225472) is above its ceiling (2147483648)"),
        ({"floor": GIB, "ceiling": MIB}, "guests[1].floor (1073741824) is above its ceiling (1048576)"),
        ({"available": [1]}, "guests[1].available must be a whole number or null"),
        ({"age_s": -0.5}, "guests[1].age_s must be a number of seconds"),
        ({"age_s": 1e300}, "guests[1].age_s must be a number of seconds"),
        ({"age_s": 1 << 2000}, "guests[1].age_s cannot be used (number out of range)"),
        ({"age_s": "new"}, "guests[1].age_s must be a number or null"),
        ({"swap_in": 1 << 64}, "guests[1].swap_in must be a whole number from 0"),
        ({"shares": 10**7}, "guests[1].shares (10000000) is above 1000000"),
        ({"running": 1}, "guests[1].running must be true or false"),
        ({"name": ""}, "guests[1].name must be printable text"),
        ({"name": "a\nb"}, "guests[1].name must be printable text"),
        ({"name": "x" * 5000}, "guests[1].name must be printable text"),
        ({"name": None}, "guests[1].name must be text"),
        ({"key": 7}, "guests[1].key must be text"),
        ({"name": "first"}, "guests[1].key 'first' is that of guests[0] too"),
        ({"key": "first"}, "guests[1].key 'first' is that of guests[0] too"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(changes: dict[str, Any], says: str) -> None:
    assert refusal({**WEB, "name": "first"}, WEB | changes).startswith(says)


@pytest.mark.parametrize("name", ["name", "max", "actual"])
def test_a_guest_must_have_these(name: str) -> None:
    rest = {key: value for key, value in WEB.items() if key != name}
    assert refusal(WEB, rest).startswith(f"guests[1] has no `{name}`")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": None}, "host must be an object"),
        ({"host": {"capacity": 5}}, "host has no `available`"),
        ({"host": {"capacity": 0, "available": 0}}, "host.capacity is 0"),
        ({"host": {"capacity": 5, "available": 6}}, "host.available (6) is above host.capacity (5)"),
        ({"guests": {}}, "guests must be a list"),
        ({"guests": [5]}, "guests[0] must be an object"),
        ({"guests": [{}] * 100_001}, "guests holds 100001 guests"),
    ],
)
def test_the_host_and_the_list_are_checked_too(fields: dict[str, Any], says: str) -> None:
    assert refusal(**fields).startswith(says)


def test_names_that_cannot_be_told_apart_are_refused() -> None:
    guests = [{**WEB, "key": "a"}, {**WEB, "key": "b"}, {**WEB, "name": "web@a"}]
    assert refusal(*guests).startswith("guests[2].name 'web@a' is that of guests[0] too")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"9" * 10_000, "is not JSON"),
        (b'{"host": NaN}', "is not JSON"),
        (b'"text"', "holds no snapshot"),
        (b"{}", "host is missing"),
        (b'{"host": {}}', "guests is missing"),
        (b'{"snapshot": 1}', "snapshot must be an object"),
    ],
)
def test_what_is_no_snapshot_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_snapshot(raw)
    assert str(caught.value).startswith(says)


def test_every_number_of_the_schema_has_a_range() -> None:
    """A field that is added is checked too: a negative number is refused wherever a number may stand."""
    for kind, place in ((Host, "host"), (Guest, "guests[0]")):
        for name, of in kind.__annotations__.items():
            if of in (int, int | None, float | None):
                host = HOST | ({name: -1} if kind is Host else {})
                guest = WEB | ({name: -1} if kind is Guest else {})
                assert refusal(guest, host=host).startswith(f"{place}.{name} must be a")
