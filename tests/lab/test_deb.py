"""The Debian package: built, installed, run and purged in a copy of this machine's root that lives in memory only."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from autoballoon.lab.host import LabHost

from .conftest import StartGuest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
COPY = """
set -eu
mount -t tmpfs none "$work"
mkdir "$work/up" "$work/work" "$work/root"
root=$work/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/up,workdir=$work/work" "$root"
mount -t proc none "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mkdir "$root/run/vms"
mount --bind "$vms" "$root/run/vms"
cp "$deb" "$root/tmp/a.deb"
mkdir -p "$root/run/systemd/system" # as if systemd ran, and could not start the daemon
printf '#!/bin/sh\\ntest "$1" != try-restart\\n' >"$root/usr/sbin/systemctl"
chmod 755 "$root/usr/sbin/systemctl"
mkdir -p "$root$checkout" # it may lie in what was just hidden
mount -t tmpfs none "$root$checkout"    # what it needs, it must bring along
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$root" sh -euc "$inside"
echo "--- left:"
cd "$work/up"
find . -iname '*autoballoon*' | LC_ALL=C sort
"""
INSIDE = """
dpkg-deb -R /tmp/a.deb /tmp/old
sed -i 's/^Version: .*/Version: 0.0.1/' /tmp/old/DEBIAN/control
dpkg-deb --root-owner-group -Zgzip -z1 -b /tmp/old /tmp/old.deb >/dev/null
dpkg -i /tmp/old.deb
autoballoon version
autoballoon check /etc/autoballoon.toml
grep -q 'dry_run = true' /etc/autoballoon.toml
(
    cd /tmp/old/usr/share/doc/autoballoon
    grep -q 'docs/how-to/agent.md' README.md
    python3 guest/agent/autoballoon_agent.py --once >/dev/null
    ls guest/agent/autoballoon-agent.service docs/how-to/agent.md docs/reference/config.md examples/alerts.yml
)
code=0; autoballoon doctor || code=$?
echo "doctor ended with $code"
code=0; autoballoon top 2>&1 || code=$? # as far as it goes without a terminal: textual is there
echo "top ended with $code"
trap 'kill -KILL $daemon 2>/dev/null || true' EXIT
begin() {
    autoballoon run --config /etc/autoballoon.toml 2>>/tmp/log &
    daemon=$!
    for tick in $(seq 100); do
        if autoballoon status >/tmp/status 2>/dev/null && grep -q '^web ' /tmp/status; then break; fi
        sleep 0.2
    done
}
leave() { kill -TERM $daemon; wait $daemon; }
begin
cat /tmp/status
autoballoon hold web
echo '# mine' >>/etc/autoballoon.toml
dpkg -i /tmp/a.deb 2>&1
test "$(dpkg-query -W -f '${db:Status-Status}' autoballoon)" = installed
grep -q '# mine' /etc/autoballoon.toml
autoballoon status >/dev/null # it still runs, whatever has become of its files
leave
begin
echo "--- upgraded:"
autoballoon status --json | grep -o '"held":true' # what the one before kept
autoballoon unhold web
leave
cat /tmp/log
dpkg -r autoballoon
test -e /etc/autoballoon.toml
test ! -e /usr/bin/autoballoon
test ! -e /usr/lib/autoballoon
dpkg -P autoballoon
dpkg --audit
"""


@pytest.fixture(scope="session")
def deb() -> Path:
    built = subprocess.run([ROOT / "tools/deb"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return ROOT / built.stdout.partition(":")[0]


def in_a_copy(deb: Path, vms: Path, work: Path) -> subprocess.CompletedProcess[str]:
    words = {"work": work, "vms": vms, "deb": deb, "checkout": ROOT, "inside": INSIDE}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", COPY],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **{name: str(word) for name, word in words.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


async def test_it_is_installed_looked_at_run_upgraded_and_purged(
    deb: Path, start_guest: StartGuest, lab_host: LabHost, tmp_path: Path
) -> None:
    guest = await start_guest("web")
    done = await asyncio.to_thread(in_a_copy, deb, guest.ctl.parent, tmp_path)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    told, _, left = done.stdout.partition("--- left:\n")
    assert "doctor ended with 0" in told
    assert "top draws on a terminal, and this is none" in told
    assert "top ended with 3" in told
    assert "web: its statistics are switched off" in told
    assert told.count("DRY RUN: nothing is moved") == 3  # by status, and twice in the log
    assert "over (0.0.1)" in told
    assert "autoballoon did not start: journalctl -u autoballoon tells why" in told
    assert '--- upgraded:\n"held":true\n' in told
    assert "Traceback" not in told + done.stderr
    assert left == ""


def test_the_same_commit_makes_the_same_file(deb: Path, soak_minutes: float) -> None:
    if not soak_minutes:
        pytest.skip("a second build; part of `make soak`")
    first = deb.read_bytes()
    subprocess.run([ROOT / "tools/deb"], check=True, capture_output=True)
    assert deb.read_bytes() == first
