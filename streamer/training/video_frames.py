"""Frames of files for training and measuring: opened, timed and decoded as live recognition does it."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from streamer.capture import open_source, opencv
from streamer.capture.media_times import MediaTimes
from streamer.capture.source import OpenedSource
from streamer.config import CameraConfig, CaptureConfig
from streamer.errors import DatasetError, SourceError
from streamer.training.dataset_layout import IMAGE_SUFFIXES

Image = NDArray[Any]
TOLERANCE = 1e-6  # seconds
SAMPLE = 1 << 18  # bytes of a file that are read for its digest, at both ends
FAR = 10.0  # seconds into a video from which jumping there is worth trying
PREROLL = 2.0  # seconds before the wanted frame at which a jump aims
SCANNERS = 4  # threads; decoding leaves Python's lock


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a file holds: the times of all frames that decode (seconds, growing), and a digest."""

    times: tuple[float, ...]
    digest: str

    @property
    def seconds(self) -> float:
        """From the first to the last frame."""
        return self.times[-1] - self.times[0]


def scan(path: Path) -> Scanned:
    """Look at every frame of a file.

    Raises:
        DatasetError: it cannot be opened or holds no picture; the message says why, without the path.
    """
    try:
        digest = _digest(path)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            _picture(path)
            return Scanned((0.0,), digest)
        source = _open(path)
    except OSError as error:
        raise DatasetError(error.strerror or str(error)) from error
    try:
        clock, times = MediaTimes(source.fps), []
        while source.grab():
            times.append(clock.next(source.position()))
    finally:
        source.release()
    if not times:
        raise DatasetError("it holds no picture that can be decoded")
    return Scanned(tuple(times), digest)


def scan_all(
    paths: Sequence[Path], cache: Path | None, progress: Callable[[int, int], None]
) -> tuple[dict[Path, Scanned], dict[Path, str]]:
    """Scan files on several threads: (what is readable, reason for what is not).

    Args:
        cache: a JSON file that remembers what did not change (size and time of change); None: none.
        progress: called with (done, all).
    """
    known = _load(cache)
    found: dict[Path, Scanned] = {}
    bad: dict[Path, str] = {}

    def one(path: Path) -> Scanned | str:
        remembered = known.get(_key(path))
        if remembered is not None:
            return remembered
        try:
            return scan(path)
        except DatasetError as error:
            return str(error)

    with ThreadPoolExecutor(SCANNERS, thread_name_prefix="scan") as pool:
        for number, (path, result) in enumerate(zip(paths, pool.map(one, paths), strict=True), 1):
            if isinstance(result, str):
                bad[path] = result
            else:
                found[path] = result
            progress(number, len(paths))
    if cache is not None:
        rows = {_key(path): [s.digest, [round(t, 4) for t in s.times]] for path, s in found.items()}
        cache.write_text(json.dumps(rows), "utf-8")
    return found, bad


def read_frames(
    path: Path, times: Sequence[float], wanted: Sequence[int], prepare: Callable[[Image], Image]
) -> list[Image]:
    """`prepare`d pictures (each gets uint8 BGR (H, W, 3)) of the frames with the indices `wanted`.

    Raises:
        DatasetError: the file is no longer what it was when it was scanned.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        picture = prepare(_picture(path))
        return [picture for _ in wanted]
    pictures: dict[int, Image] = {}
    needed = sorted(set(wanted))
    try:
        source = _open(path)
        try:
            index = _go_to(source, times, needed[0])
            if index > needed[0]:  # the jump went too far: once more from the beginning
                source.release()
                source, index = _open(path), -1
            for target in needed:
                while index < target:
                    if not source.grab():
                        raise DatasetError(f"{path} has fewer frames than before: was it changed meanwhile?")
                    index += 1
                image = source.retrieve()
                if image is None:
                    raise DatasetError(f"{path}: frame {target} is damaged; repair or remove the file")
                pictures[target] = prepare(image)
        finally:
            source.release()
    except (OSError, SourceError) as error:
        raise DatasetError(f"{path} cannot be read any more: {error}") from error
    return [pictures[index] for index in wanted]


def nearest(times: Sequence[float], wanted: float) -> int:
    """Index of the frame nearest in time; of two equally near ones the older, as in live windows."""
    after = bisect_left(times, wanted)
    if after == 0:
        return 0
    if after == len(times) or wanted - times[after - 1] <= times[after] - wanted + TOLERANCE:
        return after - 1
    return after


def _go_to(source: OpenedSource, times: Sequence[float], target: int) -> int:
    """Index of the frame that stands in the decoder, -1: none yet. Jumps only where it can tell where to."""
    goal = times[target] - PREROLL
    if times[target] - times[0] < FAR or not source.grab():
        return -1
    base = source.position() - times[0]
    source.seek(goal + base)
    if not source.grab():
        return len(times)
    at = source.position() - base
    index = nearest(times, at)
    # A stamp that is no frame's own, or B frames out of order: unknown, so begin again.
    return index if abs(times[index] - at) < 0.002 and index <= target else len(times)


def _open(path: Path) -> OpenedSource:
    try:
        return open_source(CameraConfig(name="file", source=str(path.absolute())), CaptureConfig())
    except SourceError as error:
        raise DatasetError(str(error).removeprefix("camera file: ")) from error


def _picture(path: Path) -> Image:
    import numpy as np

    cv2 = opencv.load()
    image: Image | None = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError("it is no picture that can be decoded")
    return image


def _digest(path: Path) -> str:
    """Of the size and both ends: enough to know a copy."""
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        state.update(file.read(SAMPLE))
        if size > 2 * SAMPLE:
            file.seek(-SAMPLE, 2)
            state.update(file.read(SAMPLE))
    return state.hexdigest()[:24]


def _key(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


def _load(cache: Path | None) -> Mapping[str, Scanned]:
    if cache is None or not cache.exists():
        return {}
    try:
        rows = json.loads(cache.read_text("utf-8"))
        return {key: Scanned(tuple(map(float, times)), str(digest)) for key, (digest, times) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # half-written by a kill: scanned again
