"""The sections of a configuration, one pydantic model each. `configs/cameras.yaml` documents every key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import Field, SecretStr, field_validator, model_validator

from streamer.config.follow_section import FollowConfig
from streamer.config.section_parts import (
    CheckpointText,
    Count,
    Deadline,
    PathText,
    Pixels,
    Positive,
    Score,
    Seconds,
    Section,
    SourceText,
    Spacing,
    Temperature,
    WordsText,
    wrong,
)
from streamer.system.addresses import split_host_port
from streamer.system.redaction import redact_address

DEMO = "demo"  # the bundled checkpoint, where nobody says another


MOST_WEBCAMS = 9999


class Pace(StrEnum):
    """How files are played. `REALTIME` drops what it cannot do, `FAST` waits and drops nothing."""

    REALTIME = "realtime"
    FAST = "fast"


class Ui(StrEnum):
    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class LabelRule(Section):
    """One label's own thresholds; what is absent comes from `EventsConfig`."""

    enter: Score | None = None
    exit: Score | None = None
    min_on: Seconds | None = None
    min_off: Seconds | None = None


class EventsConfig(Section):
    """How scores become events (times in seconds, scores in [0, 1])."""

    half_life: Seconds = 0.2  # of the running average; 0 = no smoothing
    enter: Score = 0.5
    exit: Score = 0.35
    min_on: Seconds = 0.4
    min_off: Seconds = 0.6
    merge_gap: Seconds = 0.5
    include: tuple[str, ...] | None = None  # only these labels (after grouping); None = all
    ignore: tuple[str, ...] = ()  # never an event
    background: tuple[str, ...] | None = (
        None  # "no action": not shown, said or recorded; None = the model's own
    )
    groups: dict[str, tuple[str, ...]] = Field(default={})  # name -> labels whose scores are added
    thresholds: dict[str, LabelRule] = Field(default={})  # label or group -> its own rule

    @model_validator(mode="after")
    def _exit_below_enter(self) -> EventsConfig:
        rules: list[tuple[tuple[str, ...], float, float]] = [(("exit",), self.enter, self.exit)]
        for name, rule in self.thresholds.items():
            enter = self.enter if rule.enter is None else rule.enter
            leave = self.exit if rule.exit is None else rule.exit
            rules.append((("thresholds", name, "enter" if rule.exit is None else "exit"), enter, leave))
        for path, enter, leave in rules:
            if not leave < enter:
                raise wrong(path, f"exit ({leave:g}) must be below enter ({enter:g})")
        return self


class ModelConfig(Section):
    """The checkpoint and how it runs."""

    id: CheckpointText = DEMO  # "demo", "demo-streaming", a local folder, or a Hub id
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    calibration: PathText | None = None  # int8 is calibrated and checked on it; None = the bundled clip
    interval: Spacing | None = None  # seconds; None = the checkpoint's own
    labels: tuple[WordsText, ...] | None = None  # models that read words: what to look for, or one .yaml file
    frames: Annotated[int, Field(ge=1, le=1000)] | None = None  # of a window; frame families only
    aggregate: Literal["mean", "max", "recent"] = "mean"  # how a frame family's window joins its frames
    hop: Spacing | None = None  # seconds; None = 0.5, or less for short spans
    top: Annotated[int, Field(ge=1, le=1000)] = 5
    temperature: Temperature = 1.0  # logits are divided by it; `streamer calibrate` fits it
    motion_gate: bool = False  # no inference while a camera's picture does not change

    @field_validator("labels", mode="before")
    @classmethod
    def _one_label_is_a_list(cls, labels: Any) -> Any:
        return (labels,) if isinstance(labels, str) else labels or None


Corners = tuple[tuple[Score, Score], ...]  # two corners (box) or a polygon, in parts of the picture


class PrivacyConfig(Section):
    """What pictures that leave the program do not show; the model sees it nevertheless."""

    blur: tuple[Literal["people", "regions"], ...] = ()  # people who are followed, `regions`
    regions: tuple[Corners, ...] = ()

    @field_validator("blur", mode="before")
    @classmethod
    def _one_is_a_list(cls, blur: Any) -> Any:
        return (blur,) if isinstance(blur, str) else blur or ()

    @field_validator("regions")
    @classmethod
    def _have_area(cls, regions: tuple[Corners, ...]) -> tuple[Corners, ...]:
        for index, region in enumerate(regions):
            if not _has_area(region):
                raise wrong((index,), "give two opposite corners [x, y], or three or more of a polygon")
        return regions


_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's: control characters, half ones, ends of lines


PASSWORD_HERE = "{password}"  # where a camera wants its password in the address


class CameraConfig(Section):
    """One camera."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    source: SourceText | int  # 0, /dev/video0, rtsp://..., http://..., a file, "demo"
    enabled: bool = True
    user: str | None = None
    password: SecretStr | None = None
    password_file: PathText | None = None
    # of https and rtsps; "sha256:..." accepts that one certificate
    tls_verify: Annotated[bool | str, Field(union_mode="left_to_right")] = True
    region: Corners | None = None  # what the model sees of the picture
    width: Pixels | None = None  # pixels, asked of a webcam
    height: Pixels | None = None
    fps: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None  # asked of a webcam
    events: EventsConfig | None = None  # what differs from the common one
    privacy: PrivacyConfig | None = None  # what differs from the common one
    model: ModelConfig | None = None  # what differs from the common one
    models: tuple[ModelConfig, ...] = ()  # several at once, instead of model
    follow: FollowConfig | None = None  # what differs from the common one

    @field_validator("tls_verify")
    @classmethod
    def _is_a_fingerprint(cls, rule: bool | str) -> bool | str:
        if isinstance(rule, str) and not re.fullmatch(r"(?i)sha256:([0-9a-f]{2}:?){31}[0-9a-f]{2}", rule):
            raise wrong((), 'true, false, or "sha256:" and the 64 hexadecimal digits of a fingerprint')
        return rule

    @field_validator("name")
    @classmethod
    def _name_fits_a_topic(cls, name: str) -> str:
        if "/" in name or not name.strip() or any(category(char) in _UNPRINTABLE for char in name):
            raise wrong((), "a name may not be blank nor hold / or control characters (it is part of topics)")
        return name

    @field_validator("source")
    @classmethod
    def _digits_are_an_index(cls, source: str | int) -> str | int:
        return int(source) if isinstance(source, str) and source.isascii() and source.isdigit() else source

    @model_validator(mode="after")
    def _makes_sense(self) -> CameraConfig:
        if self.source == "" or (isinstance(self.source, int) and not 0 <= self.source <= MOST_WEBCAMS):
            raise wrong(("source",), "give an index from 0, a device, a URL, a file or demo")
        if self.password is not None and self.password_file is not None:
            raise wrong(("password_file",), "password is given too; keep one of the two")
        told = self.password is not None or self.password_file is not None
        if (
            isinstance(self.source, str)
            and "://" in self.source
            and PASSWORD_HERE in self.source
            and not told
        ):
            raise wrong(
                ("source",), f"it asks for {PASSWORD_HERE}, but no password or password_file is given"
            )
        if self.region is not None and not _has_area(self.region):
            raise wrong(("region",), "give two opposite corners [x, y], or three or more of a polygon")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Without the secrets that a source's URL may hold."""
        for key, value in super().__repr_args__():
            yield key, redact_address(value) if key == "source" and isinstance(value, str) else value


def _has_area(region: Corners) -> bool:
    return len(region) >= 2 and all(len({point[axis] for point in region}) > 1 for axis in (0, 1))


class CaptureConfig(Section):
    """Deadlines of opening and reading (seconds)."""

    open_timeout: Deadline = 5.0
    read_timeout: Deadline = 2.0
    retry_min: Deadline = 1.0  # first wait before a reconnect
    retry_max: Deadline = 30.0
    healthy_after: Deadline = 30.0  # running this long resets the back-off
    frozen_after: Deadline = 2.0  # the same picture this long is a frozen one
    max_megapixels: Annotated[float, Field(gt=0, le=10_000)] = 40.0  # larger pictures are refused
    give_up: bool = False  # leave when no camera is left that a retry could mend; --give-up


class BusConfig(Section):
    """ZeroMQ endpoints, history and keys."""

    bind: str = "tcp://127.0.0.1:5555"  # PUB; "" = no bus
    requests: str | None = None  # ROUTER; None = the next port (5556), "" = none
    high_water_mark: Annotated[int, Field(ge=1, le=100_000)] = 50  # messages kept for a slow subscriber
    heartbeat: Deadline = 1.0  # seconds
    keys: PathText | None = None  # folder of the CURVE keys; None = no encryption
    insecure_bind: bool = False  # allow other interfaces without encryption


class JournalConfig(Section):
    """The event history on disk."""

    path: PathText | None = None  # SQLite file; None = in the user's state folder, "" = memory only
    max_days: Positive = 30.0
    max_mb: Positive = 100.0


class MetricsConfig(Section):
    """Numbers for Prometheus, and when the program counts as unhealthy (seconds)."""

    listen: str = ""  # HOST:PORT of /metrics, /healthz and /readyz; "" = none
    stuck_after: Deadline = 30.0  # nothing computed (or sent) for so long although there is work: unhealthy
    lost_after: Deadline = 30.0  # no camera has given a frame for so long: unhealthy
    every_camera: bool = False  # unhealthy too when one of several cameras is away

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        try:
            if listen:
                split_host_port(listen)
        except ValueError:
            raise wrong(
                (), "give HOST:PORT, such as 127.0.0.1:9464 (other machines reach 0.0.0.0:9464)"
            ) from None
        return listen


class UncertainConfig(Section):
    """Windows that are worth labelling, saved for `streamer train`."""

    folder: PathText = ""  # where to; "" = nothing is saved
    margin: Score = 0.15  # between the two best labels, below which a window is saved
    least: Score = 0.25  # of the second best: two labels must compete, not all of them
    scores: Literal["smoothed", "raw"] = "smoothed"  # which scores are compared
    every: Seconds = 60.0  # least seconds between two of one camera
    per_day: Count = 100  # of all cameras, in a UTC day; marked ones do not count
    max_mb: Positive = 500.0  # of the folder; then nothing more is saved
    events: Annotated[int, Field(ge=0, le=200)] = 20  # of each camera, whose peak can be marked as wrong


class RecordingConfig(Section):
    """Pictures of events on disk; nothing is written until `snapshots` or `clips` is on."""

    folder: PathText | None = None  # None = "recordings" in the user's state folder
    snapshots: bool = False  # a JPEG at each event's peak
    clips: bool = False  # an MP4 of each event
    pre_roll: Annotated[float, Field(ge=0.0, le=60.0)] = 5.0  # seconds before an event's start
    post_roll: Annotated[float, Field(ge=0.0, le=60.0)] = 5.0  # seconds after its end
    max_clip: Annotated[float, Field(ge=1.0, le=3600.0)] = 60.0  # seconds; a longer clip is cut
    fps: Annotated[float, Field(ge=1.0, le=60.0)] = 10.0
    max_height: Annotated[int, Field(ge=64, le=4320)] = 720  # pixels, of clips; snapshots are full size
    quality: Annotated[int, Field(ge=10, le=100)] = 85  # of JPEG
    overlay: bool = False  # the label is drawn into the pictures
    boxes: bool = True  # of people who are followed, with number and label, are drawn into the pictures
    labels: tuple[str, ...] | None = None  # only events of these; None = all
    cameras: tuple[str, ...] | None = None  # only of these; None = all
    memory_mb: Annotated[float, Field(ge=4.0, le=4096.0)] = 32.0  # of pictures kept in memory, each camera
    keep_days: Positive = 14.0
    keep_mb: Positive = 2000.0


class PreviewConfig(Section):
    """Small pictures on the bus, for a page to show."""

    fps: Annotated[float, Field(gt=0.0, le=10.0)] = 2.0  # pictures a second of each camera
    height: Annotated[int, Field(ge=32, le=1080)] = 360  # pixels
    boxes: bool = False  # of people who are followed are drawn into them; the page draws its own
    quality: Annotated[int, Field(ge=10, le=95)] = 70  # of JPEG


class Pictures(StrEnum):
    """The one choice about pictures; it goes before what `recording` and `preview` say."""

    OFF = "off"  # none leaves memory
    SHOW = "show"  # live pictures for pages, none is kept
    KEEP = "keep"  # live pictures, and a snapshot and a clip of each event are kept


class WebConfig(Section):
    """A page for browsers, served by a process of its own beside the run."""

    listen: str = ""  # HOST:PORT; "" = none
    token_file: PathText | None = None  # its only line is what readers must know; needed beyond loopback
    hosts: tuple[str, ...] = ()  # other names under which the page may be asked for
    alerts: tuple[str, ...] = ()  # labels that are alerts until a reader chooses others

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        try:
            if listen:
                split_host_port(listen)
        except ValueError:
            raise wrong((), "give HOST:PORT or PORT, such as 127.0.0.1:8080") from None
        return listen
