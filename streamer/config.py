"""The configuration: one pydantic model per section, and `load_config(path, overrides)`.

Precedence, weakest first: the defaults here, the file, `STREAMER_*` environment variables
(`STREAMER_BUS__BIND`), the command line. `configs/cameras.yaml` documents every key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Score = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """Unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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

    half_life: Seconds = 0.4  # of the running average; 0 = no smoothing
    enter: Score = 0.5
    exit: Score = 0.35
    min_on: Seconds = 0.4
    min_off: Seconds = 0.6
    merge_gap: Seconds = 0.5
    include: tuple[str, ...] | None = None  # only these labels (after grouping); None = all
    ignore: tuple[str, ...] = ()  # never an event
    groups: dict[str, tuple[str, ...]] = {}  # name -> labels whose scores are added
    thresholds: dict[str, LabelRule] = {}  # label or group -> its own rule

    @model_validator(mode="after")
    def _exit_below_enter(self) -> EventsConfig:
        rules = [("events", self.enter, self.exit)]
        for name, rule in self.thresholds.items():
            enter = self.enter if rule.enter is None else rule.enter
            rules.append((f"thresholds of {name!r}", enter, self.exit if rule.exit is None else rule.exit))
        for where, enter, leave in rules:
            if not leave < enter:
                raise ValueError(f"{where}: exit ({leave:g}) must be below enter ({enter:g})")
        return self


class ModelConfig(Section):
    """The checkpoint and how it runs."""

    id: str = "demo"  # "demo", a local folder, or a Hub id
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    interval: Positive | None = None  # seconds; None = the checkpoint's own
    hop: Positive | None = None  # seconds; None = 0.5, or less for short spans
    top: Annotated[int, Field(ge=1, le=1000)] = 5
    motion_gate: bool = False  # no inference while a camera's picture does not change


class CameraConfig(Section):
    """One camera."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    source: str | int  # 0, /dev/video0, rtsp://..., http://..., a file, "demo"
    enabled: bool = True
    user: str | None = None
    password: SecretStr | None = None
    password_file: str | None = None
    region: tuple[tuple[Score, Score], ...] | None = None  # two corners (box) or a polygon, parts of 1
    width: int | None = None  # asked of a webcam
    height: int | None = None
    fps: Positive | None = None  # asked of a webcam
    events: EventsConfig | None = None  # instead of the common one
    model: ModelConfig | None = None  # instead of the common one


class CaptureConfig(Section):
    """Deadlines of opening and reading (seconds)."""

    open_timeout: Positive = 5.0
    read_timeout: Positive = 2.0
    retry_min: Positive = 1.0  # first wait before a reconnect
    retry_max: Positive = 30.0
    healthy_after: Positive = 30.0  # running this long resets the back-off
    frozen_after: Positive = 2.0  # the same picture this long is a frozen one
    give_up: bool = False  # leave when no camera is left that a retry could mend (SOURCEs on the command line)


class BusConfig(Section):
    """ZeroMQ endpoints, history and keys."""

    bind: str = "tcp://127.0.0.1:5555"  # PUB; "" = no bus
    requests: str | None = None  # ROUTER; None = the next port (5556), "" = none
    high_water_mark: Annotated[int, Field(ge=1, le=100_000)] = 50  # messages kept for a slow subscriber
    heartbeat: Positive = 1.0  # seconds
    keys: str | None = None  # folder of the CURVE keys; None = no encryption
    insecure_bind: bool = False  # allow other interfaces without encryption


class JournalConfig(Section):
    """The event history on disk."""

    path: str | None = None  # SQLite file; None = in the user's state folder, "" = memory only
    max_days: Positive = 30.0
    max_mb: Positive = 100.0


class Config(Section):
    """Everything `run` needs."""

    cameras: tuple[CameraConfig, ...] = ()
    model: ModelConfig = ModelConfig()
    events: EventsConfig = EventsConfig()
    capture: CaptureConfig = CaptureConfig()
    bus: BusConfig = BusConfig()
    journal: JournalConfig = JournalConfig()
    ui: Ui = Ui.AUTO
    pace: Pace = Pace.REALTIME
    loop: bool = False  # play files again from the start
    duration: Positive | None = None  # seconds; None = until stopped

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [camera.name for camera in self.cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two cameras are called {', '.join(twice)}; names must differ")
        return self
