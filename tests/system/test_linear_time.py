"""No regular expression of the program takes longer than its input's length asks for.

An expression that backtracks holds the interpreter, and with it every thread: 48 kB of a camera's header once
stopped the program for 17 s. Every pattern in the source is tried, for nobody can be sure which one will
never see foreign text, on inputs made of what the pattern itself is made of.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "streamer"
CALLS = ("compile", "match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split")
LENGTH = 6_000  # characters; what grows with the square takes tenths of a second at this length
MOST = 0.05  # seconds of processor time; a linear one takes less than a thousandth
BUILT = {"training/dataset_layout.py": "names of the user's own files, 255 characters at most"}
FILLS = ("a", "A", "0", " ", "\t", "\n", '"', "'", "-", ".", "_", "=", ",", "@", "://", "a=", "a.", "a://",
         "/", "\\", "${", "{", "}", "%", "?", "&", "(", "<", ":", ";", "\u00e9")  # fmt: skip


def patterns() -> Iterator[tuple[str, re.Pattern[str], tuple[str, ...]]]:
    """Every pattern in the source: where it stands, what it is, and how it is used."""
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        place = file.relative_to(ROOT).as_posix()
        known: dict[str, object] = {"re": re}
        for statement in tree.body:  # constants that are built from others
            if isinstance(statement, ast.Assign):
                with contextlib.suppress(Exception):
                    exec(compile(ast.Module([statement], []), place, "exec"), known)
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id == "re" and call.func.attr in CALLS:
                try:
                    source = eval(compile(ast.Expression(call.args[0]), place, "eval"), known)
                except NameError:  # built from what comes in
                    assert place in BUILT, f"{place}:{call.lineno}: a pattern that is not constant"
                    continue
                compiled = call.func.attr == "compile"
                flags = [word.value for word in call.keywords if word.arg == "flags"]
                flags += call.args[1:] if compiled else []
                bits = eval(compile(ast.Expression(flags[0]), place, "eval"), known) if flags else 0
                ways = ("fullmatch", "search") if compiled else (call.func.attr,)
                if isinstance(source, str):
                    yield f"{place}:{call.lineno}", re.compile(source, bits), ways


def inputs(pattern: str) -> Iterator[str]:
    """Long texts that a pattern may get lost in."""
    own = {left + right for left, right in itertools.pairwise(pattern) if left.isalnum() or right.isalnum()}
    words = set(re.findall(r"[\w:/=@.-]{2,20}", pattern))
    for fill in {*FILLS, *pattern, *own, *words}:
        yield fill * (LENGTH // len(fill)) + "\x00"  # whatever nearly matched fails at the end


def slowest(pattern: re.Pattern[str], ways: tuple[str, ...]) -> tuple[float, str]:
    """Seconds of the worst input, and its beginning; stops at the first that is too slow."""
    worst, which = 0.0, ""
    for text in inputs(pattern.pattern):
        began = time.thread_time()
        for way in ways:
            getattr(pattern, "match" if way == "match" else "fullmatch" if way == "fullmatch" else "search")(
                text
            )
        took = time.thread_time() - began
        if took > worst:
            worst, which = took, repr(text[:12])
        if worst > MOST:
            break
    return worst, which


@pytest.mark.realtime
def test_every_expression_takes_linear_time() -> None:
    found = list(patterns())
    assert len(found) > 40
    found = [(where, *rest) for where, *rest in found if where.partition(":")[0] not in BUILT]
    slow = {where: (pattern.pattern, *slowest(pattern, ways)) for where, pattern, ways in found}
    assert not {where: told for where, told in slow.items() if told[1] > MOST}


@pytest.mark.parametrize("source", [r"(\w+)=(?:\"([^\"]*)\"|([^\s,]*))", r"[^\s]*@", r"\s+$"])
def test_an_expression_that_backtracks_is_found(source: str) -> None:
    """The first one was the digest parser's: each of its starts ran to the end of the header."""
    assert slowest(re.compile(source), ("search",))[0] > MOST
