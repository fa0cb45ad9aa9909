"""What is installed here: versions, ranges, and whether it imports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.system import library_telemetry

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "streamer-actions"  # pyproject.toml's name; "streamer" on the public index is another project
CHECKOUT = Path(__file__).resolve().parents[2]  # where there is a pyproject.toml in it
_PACKED = Path(__file__).with_name("constraints.txt")  # setup.py puts it into wheels


def requirements(extra: str = "") -> list[Requirement]:
    """The dependencies of an extra; without one, those that every part of streamer has."""
    import tomllib

    from packaging.requirements import Requirement

    project = CHECKOUT / "pyproject.toml"
    if project.is_file():
        told = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        lines = told["optional-dependencies"][extra] if extra else told["dependencies"]
        return [Requirement(line) for line in lines]
    try:  # installed without its source
        found = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:  # a copy of the folder alone: nothing is known
        return []
    own = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return own
    return [one for one in found if one not in own and one.marker and one.marker.evaluate({"extra": extra})]


def constraints_file() -> Path | None:
    """The versions that streamer was tested with, as pip reads them; None where they are not at hand."""
    files = (CHECKOUT / "configs" / "constraints.txt", _PACKED)
    return next((file for file in files if file.is_file()), None)


def pinned(wanted: Sequence[Requirement]) -> list[str]:
    """Requirements as arguments for pip: with the tested version where it is known, else with their range."""
    file = constraints_file()
    text = "" if file is None else file.read_text(encoding="utf-8")
    tested = {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)}
    ranges = {one.name: f"=={tested[one.name.lower()]}" for one in wanted if one.name.lower() in tested}
    return [f"{one.name}{ranges.get(one.name, one.specifier)}" for one in wanted]


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
    library_telemetry.switch_off()
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken binary package raises anything
        return one_line(error)
    return None


def one_line(error: Any) -> str:
    """An error as one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
