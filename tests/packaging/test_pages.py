"""The pages that the Debian package ships: whole, in their folders, and without a link that leads nowhere."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^]]+\]\(([^)\s#]+)[^)\s]*\)")


def test_every_link_of_a_shipped_page_leads_to_a_shipped_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "packaging/deb/pages.py", tmp_path], cwd=ROOT, check=True)
    pages = [path for path in tmp_path.rglob("*.md")]
    for folder in ("how-to", "reference", "tutorial", "explanation"):
        names = {path.name for path in (ROOT / "docs" / folder).iterdir()}
        assert {path.name for path in (tmp_path / "docs" / folder).iterdir()} == names
    assert not (tmp_path / "docs/decisions").exists()
    for page in pages:
        links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == [], page
    assert "](docs/tutorial/first-host.md)" in (tmp_path / "README.md").read_text(encoding="utf-8")
    agent = "guest/agent/autoballoon_agent.py"
    assert (tmp_path / agent).read_bytes() == (ROOT / agent).read_bytes()
    assert (tmp_path / "guest/agent/autoballoon-agent.service").exists()
