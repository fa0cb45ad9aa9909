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
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "streamer"
CALLS = ("compile", "match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split")
LENGTH = 6_000  # characters
# The most that a linear one may cost, in the processor time of the expression below, which looks for a word
# of at most 253 characters at each place of a text. What grows with the square takes seventy times that.
MOST = 20
MEASURE = re.compile("(?:a{1,253}:)?b")
BUILT = {"training/dataset_layout.py": "names of the user's own files, 255 characters at most"}
FILLS = ("a", "A", "0", " ", "\t", "\n", '"', "'", "-", ".", "_", "=", ",", "@", "://", "a=", "a.", "a://",
         "/", "\\", "${", "{", "}", "%", "?", "&", "(", "<", ":", ";", "\u00e9")  # fmt: skip


def patterns() -> Iterator[tuple[str, re.Pattern[str], tuple[str, ...]]]:
    """Every pattern in the source: where it stands, what it is, and how it is used."""
    trees = {file: ast.parse(file.read_text("utf-8")) for file in sorted(ROOT.rglob("*.py"))}
    calls = {
        file: [node for node in ast.walk(tree) if isinstance(node, ast.Call)] for file, tree in trees.items()
    }
    uses = ways_by_name(itertools.chain.from_iterable(calls.values()))
    for file, tree in trees.items():
        names = {id(made.value): made.targets[0].id for made in tree.body
                 if isinstance(made, ast.Assign) and isinstance(made.targets[0], ast.Name)}  # fmt: skip
        place = file.relative_to(ROOT).as_posix()
        known: dict[str, object] = {"re": re}
        for statement in tree.body:  # constants that are built from others
            if isinstance(statement, ast.Assign):
                with contextlib.suppress(Exception):
                    exec(compile(ast.Module([statement], []), place, "exec"), known)
        for call in calls[file]:
            if not (isinstance(call.func, ast.Attribute) and call.args):
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
                used = uses.get(names.get(id(call), ""), {"fullmatch", "search"})
                ways = tuple(sorted(used)) if compiled else (call.func.attr,)
                if isinstance(source, str):
                    yield f"{place}:{call.lineno}", re.compile(source, bits), ways


def ways_by_name(calls: Iterable[ast.Call]) -> dict[str, set[str]]:
    """{name of a compiled pattern: what is called on it anywhere}."""
    uses: dict[str, set[str]] = {}
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in CALLS[1:]:
            owner = call.func.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            uses.setdefault(name, set()).add(call.func.attr)
    return uses


def inputs(pattern: str) -> Iterator[str]:
    """Long texts that a pattern may get lost in."""
    own = {left + right for left, right in itertools.pairwise(pattern) if left.isalnum() or right.isalnum()}
    words = set(re.findall(r"[\w:/=@.-]{2,20}", pattern))
    for fill in {*FILLS, *pattern, *own, *words}:
        yield fill * (LENGTH // len(fill)) + "\x00"  # whatever nearly matched fails at the end


def seconds(pattern: re.Pattern[str], ways: Iterable[str], text: str) -> float:
    """Processor time."""
    began = time.thread_time()
    for way in ways:
        getattr(pattern, way if way in ("match", "fullmatch") else "search")(text)
    return time.thread_time() - began


def slowest(pattern: re.Pattern[str], ways: tuple[str, ...]) -> tuple[float, str]:
    """How many times MEASURE's time the worst input takes, and its beginning; stops at one too slow."""
    worst, which = 0.0, ""
    usual = min(seconds(MEASURE, ["search"], "a" * LENGTH) for _ in range(3))
    for text in inputs(pattern.pattern):
        times = seconds(pattern, ways, text) / usual
        if times > MOST:  # or the machine was held up in one of the two moments: both again, thrice
            times = min(
                seconds(pattern, ways, text) / seconds(MEASURE, ["search"], "a" * LENGTH) for _ in range(3)
            )
        if times > worst:
            worst, which = times, repr(text[:12])
        if worst > MOST:
            break
    return worst, which


@pytest.mark.realtime
def test_every_expression_takes_linear_time() -> None:
    found = list(patterns())
    assert len(found) > 40
    found = [one for one in found if one[0].partition(":")[0] not in BUILT]
    slow = {where: (pattern.pattern, *slowest(pattern, ways)) for where, pattern, ways in found}
    assert not {where: told for where, told in slow.items() if told[1] > MOST}


@pytest.mark.parametrize("source", [r"(\w+)=(?:\"([^\"]*)\"|([^\s,]*))", r"[^\s]*@", r"\s+$"])
def test_an_expression_that_backtracks_is_found(source: str) -> None:
    """The first one was the digest parser's: each of its starts ran to the end of the header."""
    assert slowest(re.compile(source), ("search",))[0] > MOST
