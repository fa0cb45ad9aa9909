"""Parts that tests of speech share: whether a voice is here, and whether a file is speech."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

ESPEAK = shutil.which("espeak-ng")


espeak = pytest.mark.skipif(ESPEAK is None, reason="needs espeak-ng")


def sound_of(file: Path) -> tuple[float, np.ndarray]:
    """Seconds, and the samples in [-1, 1]."""
    with wave.open(str(file), "rb") as found:
        data = np.frombuffer(found.readframes(found.getnframes()), np.int16)
        return len(data) / found.getframerate(), data / 32768


def is_speech(file: Path) -> bool:
    """Loud for a good part, and neither a tone nor noise without pauses: loudness goes up and down."""
    seconds, samples = sound_of(file)
    frames = samples[: len(samples) // 441 * 441].reshape(-1, 441)
    loud = np.sqrt((frames**2).mean(axis=1))
    return seconds > 0.3 and 0.2 < (loud > 0.02).mean() < 1.0 and float(loud.std()) > 0.01
