"""What `import streamer` promises: these names, and nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import streamer

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "cv2", "zmq", "rich", "transformers", "av", "numpy", "pydantic", "ruamel", "yaml"}
EXPORTED = """
    BusError Camera CameraState CameraStatus Config ConfigError DatasetError Event Frame LabelScore ModelError
    ModelLoadError ModelSpec Phase Pipeline Prediction Publisher RunResult SourceError SourceLostError
    SourceOpenError Stats StreamerError Subscriber Window WindowShapeError __version__ load_config
    load_recognizer
"""
NAMES = EXPORTED.split()


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(streamer.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_had_and_is_listed(name: str) -> None:
    found = getattr(streamer, name)
    assert name in dir(streamer)
    if isinstance(found, type):
        assert found.__module__.startswith("streamer.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Streamer'"):
        _ = streamer.Streamer


def test_editors_see_the_same_names_as_the_running_program() -> None:
    tree = ast.parse(Path(streamer.__file__).read_text(encoding="utf-8"))
    typing = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name for node in ast.walk(typing) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == set(NAMES) - {"__version__"}


@pytest.mark.parametrize(
    "code", ["import streamer", "import streamer.cli; streamer.cli.main(['--help'])"], ids=["import", "help"]
)
def test_nothing_heavy_is_imported(code: str) -> None:
    code += "; import sys; print('modules', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "streamer" in loaded
    assert not loaded & HEAVY
