"""README and docs name files, folders, modules and sections that are there."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
READERS_OWN = {"verify.py"}  # what the reader of a page saves an example as

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def files() -> tuple[str, ...]:
    """Files of the repository, or of a copy of it without git."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and done.stdout:
        return tuple(done.stdout.splitlines())
    return tuple(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if ".venv" not in path.parts)


def is_there(name: str) -> bool:
    """A path from the root, or its last parts, as in `config/read_yaml.py`."""
    return any(file == name or file.endswith("/" + name) for file in files())


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@every_page
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./…-])(?:[\w-]+/)*[\w-]+\.(?:py|md)\b", page.read_text("utf-8")))
    assert not sorted(name for name in named - READERS_OWN if not is_there(name))


@every_page
def test_data_and_configurations_that_a_page_names_are_there(page: Path) -> None:
    """Paths from the root only: other names are files of the reader's own."""
    pattern = r"(?<![\w./…-])(?:streamer|tests|docs|configs)/[\w./-]*\.[a-z]\w*\b"
    for name in set(re.findall(pattern, page.read_text("utf-8"))):
        assert name in files(), f"{page.name} names {name}"


@every_page
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    for name in set(re.findall(r"python3? -m ((?:streamer|tests)[\w.]*\w)", page.read_text("utf-8"))):
        path = name.replace(".", "/")
        assert is_there(f"{path}.py") or is_there(f"{path}/__main__.py"), f"{page.name} names {name}"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for place, section in re.findall(
        r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text("utf-8")
    ):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name} links to {place}"
        assert not section or section in sections(target), f"{page.name} links to {place}#{section}"


def test_the_architectures_table_has_every_folder_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = text.partition("| folder of `streamer/` |")[2].partition("\n\n")[0]
    first = " ".join(re.findall(r"^\| ([^|]+) \|", table, re.M))
    folders = {path.parent.name for path in (ROOT / "streamer").glob("*/__init__.py")}
    assert set(re.findall(r"`(\w+)/`", first)) == folders
    modules = {path.name for path in (ROOT / "streamer").glob("[!_]*.py")}
    assert set(re.findall(r"`(\w+\.py)`", first)) == modules
