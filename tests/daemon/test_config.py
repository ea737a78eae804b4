"""The configuration: compiled whole, or refused whole in one sentence."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoballoon.core.errors import BadInput
from autoballoon.core.units import GIB, MIB, Portion
from autoballoon.daemon.config import Config, load, parse

EVERYTHING = """
[host]
capacity = "cgroup:/sys/fs/cgroup/memory/guests"
reserve  = "256MiB"
overload = "host-swap"
dry_run  = true
contain  = false
[loop]
interval = "500ms"
[connect]
qmp      = ["/run/vms/*.qmp", "/srv/one.qmp"]
agent    = []
qga      = []
libvirt  = []
[defaults]
floor    = "25%"
ceiling  = "100%"
headroom = "25%"
shares   = 1000
may_suspend = false
[guests."db-*"]
manage   = false
[control]
socket   = "/run/autoballoon/other.sock"
[metrics]
listen   = "[::1]:9177"
[policy]
name     = "ladder"
"""


def test_every_documented_key_is_taken() -> None:
    config = parse(EVERYTHING)
    assert config.capacity == "cgroup:/sys/fs/cgroup/memory/guests"
    assert config.reserve == Portion(amount=256 * MIB)
    assert config.dry_run
    assert not config.contain
    assert parse("[host]\ncontain = true").contain
    assert config.interval_s == 0.5
    assert config.qmp == ("/run/vms/*.qmp", "/srv/one.qmp")
    assert config.socket == "/run/autoballoon/other.sock"
    assert config.metrics == "[::1]:9177"
    assert parse("[metrics]").metrics == "127.0.0.1:9177"
    assert parse("").metrics is None
    assert not config.bounds("db-1").manage
    assert config.bounds("web-1").manage


@pytest.mark.parametrize("choice", ["host-swap", "guest-swap", "suspend"])
def test_every_choice_of_overload_is_taken(choice: str) -> None:
    config = parse(f'[host]\noverload = "{choice}"\n[guests."web-*"]\nmay_suspend = true')
    assert config.overload == choice
    assert config.bounds("web-1").may_suspend
    assert not config.bounds("db-1").may_suspend


def test_an_empty_file_is_every_default() -> None:
    config = parse("")
    assert config == parse("[host]\n[defaults]\n[guests]\n")
    assert config.reserve == Portion(share=0.05)
    assert config.bounds("any").within(512 * MIB) == (128 * MIB, 512 * MIB, True)


def test_every_table_that_matches_applies_in_file_order() -> None:
    config = parse("""
        [defaults]
        shares = 10
        floor = "1GiB"
        [guests."web-*"]
        shares = 20
        ceiling = "2GiB"
        [guests."*-1"]
        shares = 30
    """)
    assert config.bounds("web-1").shares == 30
    assert config.bounds("web-1").within(4 * GIB) == (1 * GIB, 2 * GIB, True)
    assert config.bounds("web-2").shares == 20
    assert config.bounds("db-1").within(4 * GIB) == (1 * GIB, 4 * GIB, True)
    assert config.bounds("else").shares == 10


def test_a_floor_that_meets_its_ceiling_only_in_small_guests_is_lowered_there() -> None:
    bounds = parse('[defaults]\nfloor = "400MiB"\nceiling = "50%"').bounds("x")
    assert bounds.within(512 * MIB) == (256 * MIB, 256 * MIB, False)
    assert bounds.within(1024 * MIB) == (400 * MIB, 512 * MIB, True)
    assert bounds.within(1024 * MIB, 450 * MIB) == (400 * MIB, 450 * MIB, True), "libvirt's bound is smaller"
    assert bounds.within(1024 * MIB, 800 * MIB) == (400 * MIB, 512 * MIB, True), "the operator's is"
    assert bounds.within(1024 * MIB, 300 * MIB) == (300 * MIB, 300 * MIB, False)


def test_headroom_is_bounded_for_all_and_for_one() -> None:
    config = parse('[defaults]\nheadroom = "10%"\n[guests."db-*"]\nheadroom = "1GiB"')
    assert config.bounds("web").headroom.of(4 * GIB) == round(0.4 * GIB)
    assert config.bounds("db-1").headroom.of(4 * GIB) == GIB
    assert parse("").bounds("any").headroom.of(4 * GIB) == GIB


def test_bounds_are_whole_pages_and_never_nothing() -> None:
    bounds = parse('[defaults]\nfloor = "0%"\nceiling = "0.0000001%"').bounds("x")
    assert bounds.within(512 * MIB) == (0, 4096, True)
    bounds = parse('[defaults]\nfloor = "33.3%"').bounds("x")
    assert bounds.within(512 * MIB)[0] % 4096 == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[hots]", "[hots]"),
        ("[host]\nreserv = '5%'", "[host] has no key 'reserv'"),
        ("[host]\nreserve = 5", "[host] reserve: must be text in quotes"),
        ("[host]\nreserve = '5 parsecs'", "[host] reserve"),
        ("[host]\nreserve = '100%'", "[host] reserve"),
        ("[host]\ncapacity = 'some'", "[host] capacity"),
        ("[host]\ncapacity = '0MiB'", "[host] capacity"),
        ("[host]\ncapacity = '1KiB'", "1KiB"),
        ("[host]\ncapacity = 'cgroup:guests'", "[host] capacity"),
        ("[host]\noverload = 'pray'", "[host] overload"),
        ("[host]\ncontain = 1", "[host] contain: must be true or false"),
        ("[host]\ndry_run = 'yes'", "[host] dry_run: must be true or false"),
        ("host = 3", "[host] must be a table"),
        ("[loop]\ninterval = '0s'", "[loop] interval"),
        ("[defaults]\nheadroom = 0.25", "[defaults] headroom: must be text in quotes"),
        ("[guests.'a']\nheadroom = '101%'", '[guests."a"] headroom'),
        ("[loop]\ninterval = 'soon'", "[loop] interval"),
        ("[connect]\nqmp = '/run/*.qmp'", "[connect] qmp: must be a list"),
        ("[connect]\nqmp = ['vms/*.qmp']", "[connect] qmp"),
        ("[connect]\nqmp = [3]", "[connect] qmp[0]: must be text in quotes"),
        ("[connect]\nagent = ['run/*.agent']", "[connect] agent 'run/*.agent' is not an absolute path"),
        ("[connect]\nqga = ['run/*.qga']", "[connect] qga 'run/*.qga' is not an absolute path"),
        (
            "[connect]\nlibvirt = ['qemu+ssh://x/system']",
            "[connect] libvirt: 'qemu+ssh://x/system' does not name",
        ),
        ("[connect]\nlibvirt = 'qemu:///system'", "[connect] libvirt: must be a list"),
        (
            "[metrics]\nlisten = 'localhost:9177'",
            "[metrics] listen 'localhost:9177' is no address and port; write it",
        ),
        ("[metrics]\nlisten = '127.0.0.1'", "[metrics] listen '127.0.0.1' is no address and port"),
        ("[metrics]\nlisten = '127.0.0.1:0'", "[metrics] listen '127.0.0.1:0' is no address and port"),
        (
            "[metrics]\nlisten = '127.0.0.1:70000'",
            "[metrics] listen '127.0.0.1:70000' is no address and port",
        ),
        ("[metrics]\nlisten = '::1:9177'", "[metrics] listen '::1:9177' is no address and port"),
        ("[metrics]\nlisten = 9177", "[metrics] listen: must be text in quotes"),
        ("[metrics]\nport = 9177", "[metrics] has no key 'port'"),
        ("[defaults]\nshares = 0", "[defaults] shares"),
        ("[defaults]\nfloor = '60%'\nceiling = '50%'", "[defaults] floor 60% is above ceiling 50%"),
        ("[defaults]\nceiling = '0%'", "[defaults] ceiling"),
        ("[defaults]\nmay_suspend = 'yes'", "[defaults] may_suspend: must be true or false"),
        ("[defaults]\nfloor = '30%'\n[guests.'db-*']\nceiling = '20%'", '[guests."db-*"] floor 30%'),
        ("[guests.'db-*']\ncolour = 1", "[guests.\"db-*\"] has no key 'colour'"),
        ("[guests]\n'db-*' = 1", '[guests."db-*"] must be a table'),
        ("guests = 1", "[guests] must hold tables"),
        ("[control]\nsocket = 'here'", "[control] socket"),
        (f"[control]\nsocket = '/{'x' * 107}'", "[control] socket"),
        ("[control]\nsocket = '/'", "[control] socket '/' is a folder"),
        ("[policy]\nname = 'magic'", "[policy] name"),
        ("[[", "is not TOML"),
        (f"[defaults]\nshares = {'1' * 5000}", "holds a number of thousands of digits"),
        (f"[defaults]\nshares = 0x{'1' * 5000}", "[defaults] shares must lie between 1 and 1000000"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "autoballoon.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as refused:
        load(file)
    says = str(refused.value)
    assert says.startswith(f"{file}: ")
    assert place in says
    assert "\n" not in says


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path / "missing.toml")
    (tmp_path / "latin").write_bytes(b"# \xff\xfe")
    with pytest.raises(BadInput, match="UTF-8"):
        load(tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        load(tmp_path / "huge")


WORDS = """
host loop connect defaults guests control policy metrics capacity reserve overload dry_run interval qmp floor
ceiling shares manage may_suspend socket name auto 5% 512MiB 1s ladder /run/x.qmp host-swap cgroup:/x db-*
"""
words = st.sampled_from(WORDS.split())
texts = st.one_of(words, st.text(max_size=20))
scalars = st.one_of(texts, st.booleans(), st.integers(), st.floats(allow_nan=False))
containers = st.one_of(st.lists(scalars, max_size=3), st.dictionaries(texts, scalars, max_size=4))
values = st.one_of(scalars, containers, st.dictionaries(texts, containers, max_size=2))


def toml(value: object) -> str:
    """`value` as inline TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return "inf" if value == float("inf") else "-inf" if value == float("-inf") else repr(value)


@given(st.dictionaries(texts, values, max_size=5))
def test_any_toml_gives_a_configuration_or_a_sentence(tables: dict[str, object]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in tables.items())
    with contextlib.suppress(BadInput):
        config = parse(text)
        assert isinstance(config, Config)
        floor, ceiling, _ = config.bounds("db-1").within(512 * MIB)
        assert 0 <= floor <= ceiling <= 512 * MIB
        assert ceiling > 0


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_a_sentence(text: str) -> None:
    with contextlib.suppress(BadInput):
        parse(text)
