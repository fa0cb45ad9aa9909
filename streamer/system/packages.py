"""What is installed here: versions, ranges, and whether it imports."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any


def requirements() -> list[tuple[str, str]]:
    """(name, version specifier) of each dependency that is not an extra's."""
    import tomllib

    from packaging.requirements import Requirement

    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:  # installed without its source
        lines = [line for line in metadata.requires("streamer") or () if "extra ==" not in line]
    found = [Requirement(line) for line in lines]
    return [(one.name, str(one.specifier)) for one in found]


def installed(names: Iterable[str]) -> list[str]:
    """Those of the distributions `names` that are installed."""
    found = {str(distribution.name).lower().replace("_", "-") for distribution in metadata.distributions()}
    return [name for name in names if name in found]


def in_range(version: str, specifier: str) -> bool:
    """Whether a version satisfies `>=A,<B`; what cannot be read as either counts as satisfied."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):  # a build of somebody's own
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
