"""The documentation as a site: built without a warning, whole, and asking nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")

ROOT = Path(__file__).parents[1]
_FETCHED = re.compile(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"?([^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_it(site: Path) -> None:
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    for name in (*pages, "index", "contributing", "changelog", "models/en-small"):
        assert (site / f"{name}.html").is_file(), name


def test_every_link_leads_somewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue  # its addresses begin at the root of the server that it is read from
        for link in re.findall(r"(?:href|src)=\"?([^\s\">]+)", page.read_text("utf-8")):
            target = unquote(link.partition("#")[0])
            if target and not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), (page.name, link)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = _FETCHED.findall(page.read_text("utf-8"))
        assert [link for link in fetched if re.match(r"(https?:)?//", link)] == []
