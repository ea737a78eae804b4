"""What the repository promises about itself: links, commands, packages and pins."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from autoballoon.cli import main
from autoballoon.core.model import Reason
from autoballoon.core.snapshot_json import read_snapshot
from autoballoon.core.units import GIB
from autoballoon.daemon.config import parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"`[^`\n]+`|^```.*?^```", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def pinned() -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+) \\$", read("requirements.lock"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path) if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(link)
    assert broken == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(index) == sorted(page.name for page in folder.glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("target", ["setup", "demo", "check", "fast", "lab", "soak", "deb", "floors"])
def test_make_says_how_long_it_took(target: str) -> None:
    (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert all(line.startswith("\t@$(timed) ") for line in recipe.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_named_in_pages_exist(page: Path) -> None:
    code = "\n".join(CODE.findall(page.read_text(encoding="utf-8")))
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= targets()


def test_help_lists_every_target() -> None:
    described = set(re.findall(r"^([a-z]+):.*## \S", read("Makefile"), re.MULTILINE))
    assert described == targets()


def test_integration_runs_the_command_that_the_readme_names() -> None:
    commands = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert re.search(r"^make test\b", read("README.md"), re.MULTILINE)


def test_every_dependency_is_pinned_above_its_floor_and_explained() -> None:
    pyproject = tomllib.loads(read("pyproject.toml"))
    project = pyproject["project"]
    extras = project["optional-dependencies"].values()
    wanted = [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *(r for extra in extras for r in extra),
    ]
    explained = dict(
        re.findall(r"^\| ([a-z][\w.-]*) \| ([\d.]+) \|", read("docs/decisions/dependencies.md"), re.MULTILINE)
    )
    assert explained == dict(requirement.split(">=") for requirement in wanted)
    pins = pinned()
    from_debian = {"libvirt-python"}  # set-up links Debian's python3-libvirt: docs/decisions/libvirt.md
    assert from_debian.isdisjoint(pins)
    for name, floor in explained.items():
        if name in from_debian:
            continue
        pin = pins[re.sub(r"[-_.]+", "-", name)]
        assert [int(part) for part in pin.split(".")] >= [int(part) for part in floor.split(".")], name


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    allowed = re.compile(
        r"# Written by make lock: .*|[a-z0-9-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?|"
    )
    strange = [line for line in read("requirements.lock").splitlines() if not allowed.fullmatch(line)]
    assert strange == []


def test_the_package_list_has_one_package_a_line() -> None:
    lines = [line.split("#")[0].strip() for line in read("tools/debian-packages.txt").splitlines()]
    names = [line for line in lines if line]
    assert names
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in names)
    assert len(names) == len(set(names))


@pytest.fixture
def lacking(tmp_path: Path) -> Callable[..., set[str]]:
    """What set-up would install on a machine that has none of it, as it tells somebody who is not root."""
    for name in ("tools/setup", "tools/debian-packages.txt"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(read(name))
    for name, does in (("dpkg-query", "exit 1"), ("apt-get", "exit 1"), ("id", "echo 1000")):
        stand_in = tmp_path / name
        stand_in.write_text(f"#!/bin/sh\n{does}\n")
        stand_in.chmod(0o755)

    def ask(*words: str, code: int = 3) -> set[str]:
        told = subprocess.run(
            ["sh", tmp_path / "tools/setup", *words],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (code, "", 1)
        named = re.search(r"`apt-get install -y --no-install-recommends (.*)`", told.stderr)
        return set(named[1].split()) if named else set()

    return ask


def test_building_the_package_installs_no_qemu(lacking: Callable[..., set[str]]) -> None:
    deb, guests, tests = lacking("deb"), lacking(), lacking("tests")
    assert {"python3", "python3-venv", "ca-certificates", "binutils"} == deb
    assert "qemu-system-x86" in guests - deb
    assert "chromium" in tests - guests
    assert deb < guests < tests
    assert lacking("dbe", code=2) == set()
    assert re.search(r"^deb: ##.*\n\t@\$\(timed\) set-up tools/setup deb\n", read("Makefile"), re.MULTILINE)


def test_a_version_is_stated_once() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert f"## {version} " in read("CHANGELOG.md")


def test_the_configuration_in_the_readme_is_one() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", read("README.md"), re.DOTALL | re.MULTILINE)
    config = parse(example)
    assert config.qmp == ("/run/vms/*.qmp",)
    assert config.bounds("db-1").within(GIB)[0] > config.bounds("web-1").within(GIB)[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_named_in_pages_exist(page: Path) -> None:
    code = "\n".join(CODE.findall(page.read_text(encoding="utf-8")))
    verbs = set(re.findall(r"(?:^|[`/])autoballoon ([a-z]+)\b", code, re.MULTILINE))
    assert verbs <= set(main.list_commands(click.Context(main)))


def test_the_snapshot_in_the_reference_is_one() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", read("docs/reference/cli.md"), re.DOTALL | re.MULTILINE)
    given = read_snapshot(example.encode())
    assert [guest.name for guest in given.snapshot.guests] == ["web", "db"]
    assert given.unknown == ()


def test_every_reason_is_on_its_page() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ", read("docs/reference/reasons.md"), re.MULTILINE)
    reasons = [row for row in rows if row in {reason.value for reason in Reason}]
    assert sorted(set(reasons)) == sorted(reason.value for reason in Reason)


def test_the_manual_names_every_verb() -> None:
    manual = read("packaging/man/autoballoon.1")
    named = re.findall(r"^\.TP\n\.(?:B|BR|BI) \"?([a-z]+)", manual, re.MULTILINE)
    assert sorted(named) == sorted(main.list_commands(click.Context(main)))
    assert f'"autoballoon {tomllib.loads(read("pyproject.toml"))["project"]["version"]}"' in manual


@pytest.mark.parametrize("page", ["packaging/man/autoballoon.1", "docs/reference/cli.md"])
def test_every_option_of_a_verb_is_on_its_page(page: str) -> None:
    text = read(page).replace("\\-", "-")
    for verb in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), verb)
        assert command is not None
        for option in command.params:
            for word in option.opts:
                assert not word.startswith("--") or re.search(rf"{word}\b", text), (verb, word)


def test_every_verb_is_in_the_reference() -> None:
    headings = "\n".join(re.findall(r"^## (.+)$", read("docs/reference/cli.md"), re.MULTILINE))
    for verb in main.list_commands(click.Context(main)):
        assert re.search(rf"\b{verb}\b", headings), verb


RULE = re.compile(r"^\*\*(\d+\.\d+)\*\* .+\n\n- (.+)$", re.MULTILINE)
PLACE = r"\[[^]]+\]\(([^)]+)\) `(\w+)`"
EXAMPLE = r"(?:, (story|scenario) `([\w-]+)`)?(?:; [^.]+)?"
FOLLOWED = re.compile(rf"Code: (?:none yet|{PLACE}\. Test: (?:none yet|{PLACE}{EXAMPLE}))\.")


def test_every_proposed_rule_names_code_and_test_that_there_are_or_says_that_there_are_none() -> None:
    page = ROOT / "docs/reference/automatic-ballooning.md"
    text = page.read_text(encoding="utf-8")
    rules = dict(RULE.findall(text))
    assert list(rules) == re.findall(r"^\*\*(\d+\.\d+)\*\*", text, re.MULTILINE), "one tells nothing of code"
    for number, told in rules.items():
        found = FOLLOWED.fullmatch(told)
        assert found, f"{number}: {told}"
        code, name, test, function, kind, example = found.groups()
        if code:
            assert re.search(rf"\b{name}\b", (page.parent / code).read_text(encoding="utf-8")), number
        if test:
            tests = (page.parent / test).read_text(encoding="utf-8")
            assert f"def {function}(" in tests, number
            assert kind != "story" or f'"{example}"' in tests, number
        if kind == "scenario":
            assert (ROOT / f"src/autoballoon/sim/scenarios/{example}.toml").is_file(), number
