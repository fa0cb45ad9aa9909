"""`streamer collect CAMERA --label NAME -o DATASET`: record labelled clips from a live camera.

Each clip becomes DATASET/LABEL/TIME-NNN.mp4, the layout that `streamer train` reads, at the camera's own size
and rate. Nothing is recorded but between "recording" and "saved", and it stays in that folder.

With --uncertain it is `streamer run` that saves what its model is not sure of (`uncertain.py`).
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError, SourceOpenError
from streamer.system.atomic_files import replacing
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.training.evaluation import make_folder, say

if TYPE_CHECKING:
    from streamer.types import CameraStatus, Frame

IDLE_LABEL = "background"
IDLE_SECONDS = 20.0  # of one file of idle footage
CLOCK_RATE = 90_000  # ticks a second of the files' time stamps
MOST_WAITING = 300  # frames between the camera and the encoder; more are dropped and make the clip useless
LOOK = 0.1  # seconds
PATIENCE = 15.0  # seconds until the first picture, and without any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "With a terminal, Enter records the next clip; --every N records by the clock."
    parser.add_argument("camera", metavar="CAMERA", help="a webcam's number, rtsp://..., a file, as in run")
    parser.add_argument("--label", action="append", default=[], metavar="NAME",
                        help="what the clips show; given again, Enter after a number chooses")  # fmt: skip
    parser.add_argument("--idle", action="store_true",
                        help=f"record footage without any action, as label {IDLE_LABEL}")  # fmt: skip
    parser.add_argument("-o", "--out", required=True, metavar="DATASET", help="folder of class folders")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a clip (4; idle 20)")
    parser.add_argument("--count", type=int, metavar="N", help="stop after so many clips")
    parser.add_argument("--every", type=float, metavar="S",
                        help="record by itself, with a pause of S seconds before each clip")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="a config file: its camera of that name")
    parser.add_argument("--uncertain", action="store_true",
                        help="run a model and save windows whose two best labels are close")  # fmt: skip
    parser.add_argument("--model", metavar="ID_OR_DIR", help="with --uncertain: the checkpoint (demo)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="with --uncertain: any key, such as uncertain.margin=0.1")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Record until the count is reached, the input ends, or Ctrl+C.

    Raises:
        ConfigError, SourceError, DatasetError: wrong options, no camera, nowhere to write.
    """
    from streamer.system.signals import INTERRUPTED, Stopper

    if args.uncertain:
        from streamer.cli.collect_uncertain import watch

        return watch(args)
    if args.model is not None or args.set:
        raise ConfigError("--model and --set go with --uncertain")
    labels = [IDLE_LABEL] if args.idle and not args.label else args.label
    seconds = args.seconds if args.seconds is not None else (IDLE_SECONDS if args.idle else 4.0)
    if not labels:
        raise ConfigError("name what the clips show: --label NAME, or --idle")
    if any("/" in label or label.strip() in ("", ".", "..") for label in labels):
        raise ConfigError("a label becomes a folder's name: it cannot be empty or hold a /")
    if not 0.2 <= seconds <= 3600 or (args.count is not None and args.count < 1):
        raise ConfigError("--seconds is 0.2 to 3600, --count at least 1")
    every = 0.0 if args.idle and args.every is None else args.every
    if every is None and len(labels) == 1 and not sys.stdin.isatty():
        every = 2.0
    if every is not None and (every < 0 or len(labels) > 1):
        raise ConfigError("--every is 0 or more, for one label at a time")
    out = Path(args.out).expanduser()
    for label in labels:
        make_folder(out / label)
    with Stopper() as stopper:
        recorder = Recorder(_camera(args), stopper.stop)
        with recorder:
            takes = _by_clock(every, labels[0], recorder) if every is not None else _by_key(labels, recorder)
            saved = _record(recorder, takes, (out, seconds, args.count))
        if stopper.interrupted and not saved:
            return INTERRUPTED
    say(f"{saved} clips in {out}")
    return 0


def _camera(args: argparse.Namespace) -> Any:
    from streamer.config import load_config

    if args.config:
        for camera in load_config(args.config).cameras:
            if camera.name == args.camera:
                return camera
        raise ConfigError(f"{args.config} has no camera {args.camera!r}")
    return load_config(None, {"cameras": [{"name": "camera", "source": args.camera}]}).cameras[0]


def _record(recorder: Recorder, takes: Iterator[str], how: tuple[Path, float, int | None]) -> int:
    out, seconds, count = how
    saved = 0
    say("waiting for the camera")
    recorder.wait_for_picture()
    for label in takes:
        path = _free_name(out / label)
        say(f"recording {label}, {seconds:g} s")
        problem = recorder.take(path, seconds)
        if recorder.over:
            break
        if problem is None:
            saved += 1
            say(f"saved {path} ({saved}{'' if count is None else f' of {count}'})")
        else:
            say(f"not saved: {problem}")
        if count is not None and saved >= count:
            break
    return saved


def _free_name(folder: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (folder / f"{stamp}-{number:03d}.mp4" for number in range(1000))
    return next(path for path in names if not path.exists())


def _by_clock(every: float, label: str, recorder: Recorder) -> Iterator[str]:
    while not recorder.over:
        if every:
            say(f"next clip in {every:g} s")
        if recorder.pause(every):
            return
        yield label


def _by_key(labels: Sequence[str], recorder: Recorder) -> Iterator[str]:
    """A label for each line that is entered; q or the end of input ends."""
    choice = "Enter records" if len(labels) == 1 else "Enter after a number records"
    names = "" if len(labels) == 1 else ": " + ", ".join(f"{n} {label}" for n, label in enumerate(labels, 1))
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put("q")

    threading.Thread(target=read, name="keys", daemon=True).start()
    say(f"{choice}{names}; q and Enter ends")
    while not recorder.over:
        try:
            line = lines.get(timeout=LOOK)
        except queue.Empty:
            continue
        if line.lower() == "q":
            return
        number = int(line) if line.isdigit() else (1 if len(labels) == 1 and not line else 0)
        if 1 <= number <= len(labels):
            yield labels[number - 1]
        else:
            say(f"{line!r} is none of 1 to {len(labels)}")


class Recorder:
    """A camera whose frames go to a file while a take lasts. Used from one thread; a context manager."""

    def __init__(self, camera: Any, stop: threading.Event, clock: Clock = SYSTEM_CLOCK) -> None:
        from streamer.capture import Camera
        from streamer.config import CaptureConfig, Pace

        self._stop = stop
        self._clock = clock
        self._frames: queue.Queue[Frame] = queue.Queue(MOST_WAITING)
        self._wanted = threading.Event()
        self._lost = threading.Event()
        self._camera = Camera(
            camera,
            reduce=lambda image: image[..., ::-1].copy(),  # whole, in RGB
            deliver=self._deliver,
            capture=CaptureConfig(),
            pace=Pace.REALTIME,
            loop=False,
            on_status=self._changed,
        )
        self._status: CameraStatus | None = None

    def __enter__(self) -> Recorder:
        self._camera.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._camera.stop()
        self._camera.join(1.0)

    @property
    def over(self) -> bool:
        """True when there is nothing more to record: stopped, or the camera has ended."""
        return self._stop.is_set() or (self._status is not None and self._status.state in ("ended", "failed"))

    def pause(self, seconds: float) -> bool:
        """Wait; True when it is over."""
        self._clock.wait(self._stop, seconds)
        return self.over

    def wait_for_picture(self) -> None:
        """Raises SourceError where none comes in time."""
        until = self._clock.monotonic() + PATIENCE
        while not self._stop.is_set():
            status = self._camera.status
            if status.captured:
                return
            if status.state in ("failed", "ended") or self._clock.monotonic() > until:
                raise SourceOpenError(status.detail or f"camera {status.camera} gives no picture", "timeout")
            self._clock.wait(self._stop, LOOK)

    def take(self, path: Path, seconds: float) -> str | None:
        """Record one clip; why it was not saved, or None.

        Raises:
            DatasetError: it cannot be written, or the package `av` is missing.
        """
        self._lost.clear()
        self._wanted.set()
        try:
            with replacing(path) as part:
                if _encode(part, self._during(seconds)) and not self._lost.is_set():
                    return None
                part.unlink(missing_ok=True)
        except ModuleNotFoundError as error:
            raise DatasetError('recording needs PyAV: pip install "streamer[video]"') from error
        except OSError as error:
            raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            self._wanted.clear()
            while not self._frames.empty():
                self._frames.get_nowait()
        return "frames were lost; the machine is too slow" if self._lost.is_set() else "the camera broke off"

    def _during(self, seconds: float) -> Iterator[Frame | None]:
        """The take's frames; a last None: it was cut short."""
        first: Frame | None = None
        patience = PATIENCE
        while True:
            try:
                frame = self._frames.get(timeout=LOOK)
            except queue.Empty:
                patience -= LOOK
                if self.over or patience <= 0:
                    yield None
                    return
                continue
            first = first or frame
            if frame.epoch != first.epoch or self._stop.is_set():
                yield None
                return
            yield frame
            if frame.time - first.time >= seconds:
                return

    def _deliver(self, frame: Frame) -> bool:
        if not self._wanted.is_set():
            return False
        try:
            self._frames.put_nowait(frame)
        except queue.Full:
            self._lost.set()
            return False
        return True

    def _changed(self, status: CameraStatus) -> None:
        self._status = status


def _encode(path: Path, frames: Iterator[Frame | None]) -> bool:
    """H.264 with the frames' own times; False where it was cut short."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = None
        begin = 0.0
        for frame in frames:
            if frame is None:
                return False
            image = frame.image[: frame.image.shape[0] // 2 * 2, : frame.image.shape[1] // 2 * 2]
            if stream is None:
                stream, begin = container.add_stream("libx264", rate=30), frame.time
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                stream.codec_context.time_base = Fraction(1, CLOCK_RATE)
            picture = av.VideoFrame.from_ndarray(image.copy(), format="rgb24")
            picture.pts = round((frame.time - begin) * CLOCK_RATE)
            picture.time_base = Fraction(1, CLOCK_RATE)
            container.mux(stream.encode(picture))
        if stream is None:
            return False
        container.mux(stream.encode())
    return True
