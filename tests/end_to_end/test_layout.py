"""What keeps things easy to find: few folders, small files, one name for one thing, imports one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "streamer"
LOOSE = {"__init__.py", "__main__.py", "py.typed", "errors.py", "testing.py"}
MOST_ENTRIES = 26  # people/ and cluster/ among them
MOST_LINES = 350
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

LIFE = {"start", "stop", "close", "run", "end", "kill"}  # that something ends in time is no result


def test_the_package_has_few_entries_and_only_named_loose_modules() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert len(entries - {"py.typed"}) <= MOST_ENTRIES, "what a reader looks through"
    assert {name for name in entries if (PACKAGE / name).is_file()} == LOOSE


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "tests" / "helpers"], ids=["streamer", "helpers"])
def test_no_file_is_too_long(folder: Path) -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*.py")}
    assert not {str(path): lines for path, lines in lengths.items() if lines > MOST_LINES}


def test_no_two_files_have_one_name() -> None:
    """A command's file is called as the command is, whatever else has that name."""
    commands = PACKAGE / "cli"
    names = Counter(path.name for path in MODULES if path.name != "__init__.py" and path.parent != commands)
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.name == "__init__.py"],
    ids=lambda path: str(path.parent.relative_to(ROOT)),
)
def test_packages_only_say_what_they_hold(path: Path) -> None:
    """A docstring, imports, `__all__`, `__version__`, and names that load on first use; nothing else."""
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "says what the folder holds"
    for statement in tree.body[1:]:
        if isinstance(statement, ast.If):
            assert ast.unparse(statement.test) == "TYPE_CHECKING"
            assert all(isinstance(inner, ast.ImportFrom) for inner in statement.body)
        elif isinstance(statement, ast.Assign):
            told = ast.unparse(statement)
            assert told.startswith(("__all__ = [", "__version__ = '", "__getattr__, __dir__ = lazy_names("))
        else:
            assert isinstance(statement, ast.Import | ast.ImportFrom), ast.unparse(statement)


def test_imports_keep_their_contracts() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_contract_has_exceptions() -> None:
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text("utf-8")


# --- the tests themselves ---


def test_tests_share_through_helpers() -> None:
    imported = re.compile(r"^\s*(?:from|import)\s.*\btest_\w+", re.MULTILINE)
    for path in TESTS:
        assert not (found := imported.search(path.read_text("utf-8"))), f"{path}: {found}"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_every_test_asserts_something(path: Path) -> None:
    """Itself, or in a function or class of its file or of the helpers that it uses."""
    tree = ast.parse(path.read_text("utf-8"))
    asserting = _asserting(tree, _asserting_helpers())
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and node.name not in asserting
    ]
    assert not silent


@cache
def _asserting_helpers() -> frozenset[str]:
    known: frozenset[str] = frozenset()
    for path in [*(ROOT / "tests" / "helpers").rglob("*.py"), *(ROOT / "tests").rglob("conftest.py")]:
        known |= _asserting(ast.parse(path.read_text("utf-8")), frozenset())
    return known


def _asserting(tree: ast.Module, known: frozenset[str]) -> frozenset[str]:
    """Names of functions and classes that assert, or use by name what does."""
    nodes = [
        n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    while True:
        more = {node.name for node in nodes if node.name not in known and _asserts(node, known)}
        if not more:
            return known
        known |= more


def _asserts(node: ast.AST, known: frozenset[str]) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Attribute):
            name = part.attr
            if name in ("raises", "fail", "warns") or name.startswith("assert_") or name in known - LIFE:
                return True
        elif isinstance(part, ast.Name | ast.arg):
            name = part.id if isinstance(part, ast.Name) else part.arg
            if name in known:
                return True
    return False
