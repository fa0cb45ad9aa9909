"""What the pipeline uses of recording: events on disk, previews on the bus. Off, both cost nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.config import Config, Pace
from streamer.errors import ConfigError
from streamer.recording import files
from streamer.recording.privacy import Privacy
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.install_extras import need
from streamer.system.private_files import folder_exposure
from streamer.types import RecordingStats

if TYPE_CHECKING:
    from streamer.recording.disk_thread import DiskWriter
    from streamer.recording.followed_people import SeenPerson
    from streamer.recording.pixels import Image
    from streamer.recording.preview import NewestPicture, Previews, Publish
    from streamer.recording.recorder import PictureReceiver, Recorder
    from streamer.types import LaneResult

log = logging.getLogger(__name__)

_STOP = 1.0  # seconds for what is being recorded at the end
_STOP_PREVIEWS = 0.3


class EventPictures:
    """Made with the pipeline, before anything runs.

    Raises:
        ConfigError: the folder cannot be used, a camera is not one of the config's, or PyAV is missing.
    """

    def __init__(
        self,
        config: Config,
        *,
        name: Callable[[str], str] = str,
        note: Callable[[str], None] = log.warning,
        clock: Clock = SYSTEM_CLOCK,
        privacy: Privacy | None = None,
    ) -> None:
        self._config, self._note, self._clock = config, note, clock
        self._disk: DiskWriter | None = None
        self.privacy, self._name = privacy or Privacy(config), name
        self._recorder = self._made(name) if config.recording.snapshots or config.recording.clips else None
        self._previews: Previews | None = None
        self._stopped = False

    @property
    def stats(self) -> RecordingStats:
        """How it goes; any thread."""
        return RecordingStats() if self._recorder is None else self._recorder.stats

    @property
    def counts(self) -> Mapping[str, int]:
        """What was written and what was lost, by cause; empty where nothing is recorded."""
        return self._recorder.counts if self._recorder is not None else {}

    def receiver(self, camera: str) -> PictureReceiver | None:
        """What wants a camera's full-size pictures; None where nobody does."""
        if self._recorder is None or not self._recorder.wants(camera):
            return None
        return self._recorder.receiver(camera)

    def start(self, cameras: Callable[[], Sequence[str]], newest: NewestPicture, publish: Publish) -> None:
        """Begin; `cameras` names those of now, `newest` gives a newest picture, `publish` sends a preview."""
        if self._recorder is not None:
            self._recorder.start()
        if self._config.preview is not None:
            from streamer.recording.preview import Previews

            self._previews = Previews(
                self._config.preview, cameras, newest, publish, self._clock,
                self.privacy.picture, self._draw_people if self._config.preview.boxes else None,
                self.privacy.followed.who,
            )  # fmt: skip
            self._previews.start()

    def drawn(self, camera: str, time: float) -> Sequence[SeenPerson]:
        """Who is drawn into the picture of a time that is recorded."""
        return self.privacy.followed.people(camera, time) if self._config.recording.boxes else ()

    def _draw_people(self, image: Image, camera: str, time: float) -> None:
        from streamer.recording.overlay import draw_people

        draw_people(image, self.privacy.followed.people(camera, time), self._name)

    def result(self, result: LaneResult) -> None:
        """A window was recognised, events changed, or both. Does not block."""
        if self._recorder is None:
            return
        if result.prediction is not None:
            self._recorder.scored(result.prediction, result.smoothed, result.open_events)
        for event in result.changes:
            self._recorder.event(event)

    def snapshot(self, camera: str, image: Image | None) -> Path | None:
        """Keep a picture that somebody asked for, as it may be shown: its file, which the disk's thread
        writes; None where this camera is not recorded or the disk is too far behind.
        """
        wanted = self._recorder is not None and self._recorder.wants(camera)
        if self._disk is None or image is None or not wanted:
            return None
        from streamer.recording.pixels import encode_jpeg

        now = self._clock.wall()
        at = time.strftime("%H%M%S", time.gmtime(now)) + f"-{int(now * 1000) % 1000:03}"
        path = files.place(self._disk.folder, camera, f"asked-{at}", now, files.SNAPSHOT)
        kept = self._disk.put(path, encode_jpeg(image, self._config.recording.quality))
        return path if kept else None

    def stop_previews(self) -> bool:
        """Before the cameras go; False where a thread was left behind."""
        previews, self._previews = self._previews, None
        return previews is None or previews.close(_STOP_PREVIEWS)

    def stop(self) -> bool:
        """After the last event: finish what is being recorded. False where a disk hangs."""
        if self._recorder is None or self._stopped:
            return True
        self._stopped = True
        ended = self._recorder.close(_STOP)
        told = ", ".join(f"{cause} {count}" for cause, count in sorted(self.counts.items()) if count)
        log.info("recording: %s", told or "nothing")
        return ended

    def _made(self, name: Callable[[str], str]) -> Recorder:
        from streamer.recording.disk_thread import DiskWriter
        from streamer.recording.recorder import Recorder
        from streamer.recording.retention import default_folder, prepare

        recording = self._config.recording
        if recording.clips:
            _need_encoder()
        known = [camera.name for camera in self._config.cameras]
        for camera in recording.cameras or ():
            if camera not in known:
                raise ConfigError(
                    f"recording.cameras: there is no camera {camera!r}; known: {', '.join(known)}"
                )
        named = recording.folder
        folder = Path(named).expanduser().absolute() if named else default_folder()
        if (hindered := prepare(folder)) is not None:
            self._note(
                f"{folder} cannot be written to at the moment ({hindered}): pictures of events are lost"
            )
        if (exposure := folder_exposure(folder, "the pictures of events")) is not None:
            self._note(f"recording: {exposure}")
        kinds = " and ".join(kind for kind in ("snapshots", "clips") if getattr(recording, kind))
        self._note(
            f"{kinds} of events are written to {folder}, kept for {recording.keep_days:g} days,"
            f" {recording.keep_mb:g} MB at most; up to {recording.memory_mb:g} MB of memory a camera"
        )
        self._disk = DiskWriter(folder, recording, self._note, self._clock)
        return Recorder(
            recording,
            self._disk,
            folder,
            complete=self._config.pace is Pace.FAST,
            name=name,
            note=self._note,
            clock=self._clock,
            show=self.privacy.picture,
            people=self.drawn,
        )


def _need_encoder() -> None:
    need("video", "recording.clips")
    from av.codec import Codec

    try:
        Codec("libx264", "w")
    except ValueError as error:  # av.codec.codec.UnknownCodecError
        raise ConfigError("recording.clips needs a PyAV with libx264, such as PyPI's wheels have") from error
