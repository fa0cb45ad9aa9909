"""Extras that are not there."""

from __future__ import annotations

import pytest

from streamer.system import install_extras


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these modules were not installed, as far as extras are looked for."""
    there = install_extras._is_there
    monkeypatch.setattr(install_extras, "_is_there", lambda module: module not in modules and there(module))
