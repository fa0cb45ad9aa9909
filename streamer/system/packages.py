"""What is installed here: versions, ranges, and whether it imports."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any


def requirements() -> list[tuple[str, str]]:
    """(name, version specifier) of each dependency that is not an extra's."""
    import tomllib

    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:  # installed without its source
        lines = [line for line in metadata.requires("streamer") or () if "extra ==" not in line]
    found = []
    for line in lines:
        plain = line.split(";")[0].strip()
        end = next((i for i, c in enumerate(plain) if c in "<>=!~ "), len(plain))
        found.append((plain[:end], plain[end:].strip()))
    return found


def installed(names: Iterable[str]) -> list[str]:
    """Those of the distributions `names` that are installed."""
    found = {str(distribution.name).lower().replace("_", "-") for distribution in metadata.distributions()}
    return [name for name in names if name in found]


def in_range(version: str, specifier: str) -> bool:
    """Whether a version satisfies `>=A,<B`; clauses that cannot be read count as satisfied."""
    for clause in filter(None, (part.strip() for part in specifier.split(","))):
        sign = clause.rstrip("0123456789.abcrdevpost*+")
        limit = _numbers(clause[len(sign) :])
        here = _numbers(version)
        length = max(len(limit), len(here))
        here, limit = (part + (0,) * (length - len(part)) for part in (here, limit))
        wrong: dict[str, bool] = {
            ">=": here < limit,
            "<": here >= limit,
            ">": here <= limit,
            "<=": here > limit,
        }
        if wrong.get(sign, False):
            return False
    return True


def import_error(module: str) -> str | None:
    """Why a module does not import; None when it does."""
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken binary package raises anything
        return one_line(error)
    return None


def one_line(error: Any) -> str:
    """An error as one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _numbers(version: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not part[:1].isdigit():
            break
        numbers.append(int(digits[: len(part) - len(part.lstrip("0123456789"))] or 0))
    return tuple(numbers)
