"""Small pictures of every camera on the bus, a few each second, where `preview` is on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from streamer.config import PreviewConfig
from streamer.recording.pixels import Image, encode_jpeg, scaled
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Track

log = logging.getLogger(__name__)

# camera -> its newest full-size picture, uint8 BGR (H, W, 3), with its time on the time line
NewestPicture = Callable[[str], tuple[Image, float] | None]
Show = Callable[[str, Image, float], Image]  # camera, picture, time -> what may be shown of it
DrawPeople = Callable[[Image, str, float], None]  # into a picture of a camera at a time
Who = Callable[[str, float], tuple[Track, ...] | None]  # is followed in a picture; None: nobody is to be
Publish = Callable[[str, bytes, int, int, tuple[Track, ...] | None], None]  # camera, JPEG, width, height, who


class Previews:
    """Looks at each camera's newest picture on a thread of its own; one that has not changed is not sent."""

    def __init__(
        self,
        config: PreviewConfig,
        cameras: Callable[[], Sequence[str]],
        newest: NewestPicture,
        publish: Publish,
        clock: Clock = SYSTEM_CLOCK,
        show: Show = lambda camera, image, time: image,
        draw_people: DrawPeople | None = None,
        who: Who = lambda camera, time: None,
    ) -> None:
        self._who = who
        self._draw_people = draw_people
        self._config, self._cameras, self._clock, self._show = config, cameras, clock, show
        self._newest, self._publish = newest, publish
        self._stop = threading.Event()
        self._sent: dict[str, Image] = {}
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="preview", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """End; False where the thread still runs after `timeout` seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._sent.clear()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._clock.wait(self._stop, 1.0 / self._config.fps):
            try:
                for camera in self._cameras():
                    self._send_if_new(camera)
            except Exception:  # the thread's top: said once, and tried again
                if not self._failed:
                    log.exception("a preview could not be made")
                self._failed = True

    def _send_if_new(self, camera: str) -> None:
        newest = self._newest(camera)
        if newest is None or newest[0] is self._sent.get(camera) or self._stop.is_set():
            return
        image, time = newest
        small = scaled(self._show(camera, image, time), self._config.height)
        if self._draw_people is not None:
            small = small.copy() if small is image else small  # that is left alone, for the others
            self._draw_people(small, camera, time)
        jpeg = encode_jpeg(small, self._config.quality)
        self._publish(camera, jpeg, small.shape[1], small.shape[0], self._who(camera, time))
        self._sent[camera] = image
