"""What mkdocs does to the pages: those outside docs/ join the site, links to files become names.

On disk the pages link as GitHub follows them, to each other and to source files. In the site
README, CONTRIBUTING, CHANGELOG and the models' cards are pages, too; a link to any other file of
the repository has nowhere to lead there and stays as its text.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)

# Address in the site -> file of the repository.
_JOINED = {
    "index.md": ROOT / "README.md",
    "contributing.md": ROOT / "CONTRIBUTING.md",
    "changelog.md": ROOT / "CHANGELOG.md",
    **{
        f"models/{card.parent.name}.md": card
        for card in sorted((ROOT / "models" / "pretrained").glob("*/README.md"))
    },
}
_PLACES = {path.resolve(): address for address, path in _JOINED.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that mkdocs.yml does not name at the end of the navigation: none is ever lost."""
    named = str(config.nav)
    pages = [path.name for path in sorted((ROOT / "docs").glob("*.md"))]
    others = [page for page in (*pages, *_JOINED) if f"'{page}'" not in named]
    assert config.nav is not None
    for section, is_in in (("Models", True), ("More", False)):
        found = [page for page in others if page.startswith("models/") is is_in]
        if found:
            config.nav.append({section: found})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, and the pictures that they show."""
    for address, path in _JOINED.items():
        files.append(File.generated(config, address, abs_src_path=str(path)))
        for picture in _PICTURE.finditer(path.read_text("utf-8")):
            source = (path.parent / picture["target"]).resolve()
            place = _address(source)
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Rewrite links and pictures, code apart, to where they lead in the site."""
    address = page.file.src_uri
    source = _JOINED.get(address, Path(config.docs_dir) / address)
    parts = _FENCE.split(markdown)
    for place in range(0, len(parts), 2):
        for pattern in (_LINK, _PICTURE):
            parts[place] = pattern.sub(lambda found: _rewrite(found, source, address), parts[place])
    return "".join(parts)


def _rewrite(found: re.Match[str], source: Path, address: str) -> str:
    target, hash_, anchor = found["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return found[0]
    place = _address((source.parent / target).resolve())
    if not place:
        return found["text"]
    up = "../" * address.count("/")
    mark = "!" if found[0].startswith("!") else ""
    return f"{mark}[{found['text']}]({up}{place}{hash_}{anchor})"


def _address(path: Path) -> str:
    """Where a file of the repository is in the site; empty where it is not in it."""
    if path in _PLACES:
        return _PLACES[path]
    if path.is_relative_to(ROOT / "docs") and path.is_file() and path.suffix != ".py":
        return path.relative_to(ROOT / "docs").as_posix()
    if path.suffix in (".png", ".svg"):
        return f"pictures/{path.parent.name}-{path.name}"
    return ""
