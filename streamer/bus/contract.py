"""The contract of the bus, written once: what a message's JSON object holds.

Messages are checked against these types when they arrive (messages.py), type checkers hold their making
(wire.py) to them, and the JSON Schema (contract_schema.py) and the tables of docs/bus.md are made of them:

    python -m streamer.bus.contract_tables              prints the schema
    python -m streamer.bus.contract_tables docs/bus.md  writes the page's tables anew

Every number has bounds, so that what arrives can be counted with, printed and sent on. Keys that are not here
are ignored. A state or phase of a newer publisher is let through: the schema names those of this version.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Meta
from msgspec.json import Decoder

from streamer.types import CameraState, Phase

VERSION: Final = 1
LARGEST: Final = 2**63 - 1
LATEST: Final = 253_370_764_800.0  # Unix seconds of the year 9999: the last that calendars know

Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST)]
Pixels: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]  # of a picture, in pixels
Unix: TypeAlias = Annotated[float, Meta(ge=0, le=LATEST)]  # seconds, UTC
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
FileSeconds: TypeAlias = Annotated[float, Meta(ge=-1e12, le=1e12)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1e6)]  # frames a second
Score: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Part: TypeAlias = Annotated[float, Meta(ge=-1, le=2)]  # of the picture's width or height
Text: TypeAlias = Annotated[str, Meta(max_length=65_536)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
State: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [str(state) for state in CameraState]})]
PhaseName: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [str(phase) for phase in Phase]})]
Version: TypeAlias = Annotated[int, Meta(extra_json_schema={"const": VERSION})]
Kind: TypeAlias = Annotated[
    Name, Meta(description="`prediction`, `event`, `status`, `heartbeat` or `preview`")
]


Raw: TypeAlias = dict[str, Any]  # a message inside a reply: checked for itself, so that one bad one is one
Events: TypeAlias = Annotated[list[Raw], Meta(extra_json_schema={"items": {"$ref": "#/$defs/event"}})]
Predictions: TypeAlias = Annotated[
    list[Raw], Meta(extra_json_schema={"items": {"$ref": "#/$defs/prediction"}})
]


def _schema_of_one(kind: str) -> Meta:
    return Meta(extra_json_schema={"anyOf": [{"$ref": f"#/$defs/{kind}"}, {"type": "null"}]})


class LabelScoreJson(TypedDict):
    label: Text
    score: Score
    display: NotRequired[Annotated[Text, Meta(description="what people call it")]]


class TrackJson(TypedDict):
    id: Annotated[Count | str, Meta(description="the same as long as it is followed")]
    box: Annotated[tuple[Part, Part, Part, Part], Meta(description="left, top, width, height")]


class HeadJson(TypedDict):
    """What every message begins with, beside its type."""

    v: Annotated[Version, Meta(description="1")]
    session: Annotated[Name, Meta(description="new at each start of the publisher")]
    seq: Annotated[
        int,
        Meta(
            ge=1,
            le=LARGEST,
            description="grows by 1 for each message of its kind: a jump is a loss. Events: the number in the"
            " history, see below",
        ),
    ]
    sent_at: Annotated[Unix, Meta(description="Unix seconds (UTC) by the publisher's clock")]


class WindowJson(TypedDict):
    id: Annotated[Count, Meta(description="counts the camera's windows")]
    start: Annotated[Unix, Meta(description="Unix seconds of its first frame")]
    end: Annotated[Unix, Meta(description="and of its last")]
    frames: Annotated[int, Meta(ge=1, le=LARGEST, description="how many frames")]
    span: Annotated[Seconds, Meta(description="over how many seconds")]
    missing: Annotated[Count, Meta(description="how many positions had no frame of their own")]
    media_start: NotRequired[
        Annotated[
            FileSeconds, Meta(description="files only: seconds in the file; begin again at 0 with `--loop`")
        ]
    ]
    media_end: NotRequired[Annotated[FileSeconds, Meta(description="files only")]]


class LatencyJson(TypedDict):
    capture_to_publish: Annotated[
        Milliseconds, Meta(description="milliseconds from the newest frame's capture to sending")
    ]
    preprocess: Annotated[Milliseconds, Meta(description="of that preparing the frames")]
    inference: Annotated[Milliseconds, Meta(description="and the model")]


class PredictionBody(TypedDict):
    type: Kind
    camera: Name
    model: Annotated[Text, Meta(description="which of the models")]
    window: WindowJson
    top: Annotated[list[LabelScoreJson], Meta(description="best labels first, scores in [0, 1]")]
    stable: Annotated[
        LabelScoreJson | None, Meta(description="what is believed after smoothing; `null` = unknown")
    ]
    latency_ms: LatencyJson
    held: NotRequired[
        Annotated[bool, Meta(description="true where nothing moved: the scores before are still valid")]
    ]
    track: NotRequired[
        Annotated[TrackJson | None, Meta(description="of whom, in parts of the picture; `null` = all of it")]
    ]
    worker: NotRequired[Annotated[Name, Meta(description="behind a front: who recognised it")]]


class EventPhaseJson(TypedDict):
    id: Annotated[Name, Meta(description="the same in all phases, unique over restarts")]
    phase: Annotated[PhaseName, Meta(description="`start`, `update`, `end`")]
    label: Annotated[Text, Meta(description="what happens")]
    display: NotRequired[Annotated[Text, Meta(description="what people call it")]]
    background: NotRequired[
        Annotated[bool, Meta(description='`true`: it means "no action"; people are not told of it')]
    ]
    score: Annotated[Score, Meta(description="smoothed score now")]
    peak: Annotated[Score, Meta(description="the highest so far")]
    started_at: Annotated[Unix, Meta(description="first window over the threshold")]
    decided_at: Annotated[Unix, Meta(description="when it was sure enough to say")]
    ended_at: Annotated[Unix | None, Meta(description="`null` until the end")]
    published_at: NotRequired[
        Annotated[
            Unix,
            Meta(
                description="when this phase was first sent (replayed messages are what was sent then,"
                " unchanged)"
            ),
        ]
    ]
    media_started_at: NotRequired[Annotated[FileSeconds | None, Meta(description="files only")]]
    media_decided_at: NotRequired[Annotated[FileSeconds | None, Meta(description="files only")]]
    media_ended_at: NotRequired[Annotated[FileSeconds | None, Meta(description="files only")]]
    reason: NotRequired[
        Annotated[
            Text | None,
            Meta(
                description="why it ended where it was not the scores: `camera stalled`, "
                "`camera reconnecting`, `picture black` (`grey`, `frozen`), `no predictions`, "
                "`video interrupted`, `restarted` (a file), "
                "`video ended`, `labels changed`, `track lost`, `stopped`, "
                "`program stopped` (found open by the next run)"
            ),
        ]
    ]


class OriginJson(TypedDict):
    worker: Name
    journal: Text
    session: Name
    seq: Count


class EventBody(TypedDict):
    type: Kind
    camera: Name
    model: NotRequired[Annotated[Text, Meta(description="which of the models")]]
    event: EventPhaseJson
    track: NotRequired[
        Annotated[TrackJson | None, Meta(description="of whom, in parts of the picture; `null` = all of it")]
    ]
    worker: NotRequired[Annotated[Name, Meta(description="behind a front: who recognised it")]]
    lease: NotRequired[Annotated[Count, Meta(description="of a worker: the lease that it held")]]
    origin: NotRequired[Annotated[OriginJson, Meta(description="behind a front: its place there")]]


class StatusBody(TypedDict):
    type: Kind
    camera: Name
    state: Annotated[
        State,
        Meta(description="`connecting`, `running`, `stalled`, `reconnecting`, `ended`, `failed`"),
    ]
    since: Annotated[Unix, Meta(description="Unix seconds since when")]
    detail: Annotated[Text, Meta(description="one line for people")]
    code: NotRequired[
        Annotated[
            Text,
            Meta(
                description="when something is wrong: `auth_failed`, `not_found`, `permission`, `codec`,"
                " `unreachable`, `timeout`, `lost`, `unknown`, `unplaced` (behind a front: nobody watches it)"
            ),
        ]
    ]
    fps: Annotated[Rate | None, Meta(description="measured")]
    width: Annotated[Pixels | None, Meta(description="pixels")]
    height: Annotated[Pixels | None, Meta(description="pixels")]
    dropped: Annotated[dict[str, Count], Meta(description="cause -> frames")]
    captured: NotRequired[Annotated[Count, Meta(description="frames")]]
    stored: NotRequired[Annotated[Count, Meta(description="of these, frames kept for windows")]]
    picture: NotRequired[Annotated[Text, Meta(description="`ok`, `frozen`, `black`, `grey`")]]
    reconnects: NotRequired[Annotated[Count, Meta(description="how often")]]
    age: NotRequired[Annotated[Seconds | None, Meta(description="seconds since the newest frame")]]
    labels_changed: NotRequired[
        Annotated[dict[str, Any], Meta(description="the last change of its words while it runs")]
    ]
    following: NotRequired[
        Annotated[Count, Meta(description="people followed now; only where a camera follows people")]
    ]


class WorkerJson(TypedDict):
    state: Text
    age: Seconds | None


class HeartbeatBody(TypedDict):
    type: Kind
    last_event_seq: Annotated[Count, Meta(description="number of the newest event")]
    cameras: Annotated[dict[str, State], Meta(description="name -> state")]
    requests: NotRequired[
        Annotated[Text | None, Meta(description="where requests are answered, `null` = nowhere")]
    ]
    journal: NotRequired[Annotated[Text, Meta(description="which history event numbers count in")]]
    started_at: NotRequired[Annotated[Unix, Meta(description="when the publisher was started")]]
    workers: NotRequired[
        Annotated[dict[str, WorkerJson], Meta(description="of a front: name -> `state`, `age`")]
    ]


class PreviewBody(TypedDict):
    type: Kind
    camera: Name
    width: Annotated[Side, Meta(description="pixels")]
    height: Annotated[Side, Meta(description="pixels")]
    jpeg: Annotated[
        str,
        Meta(
            description="the picture in base64",
            extra_json_schema={"contentEncoding": "base64", "contentMediaType": "image/jpeg"},
        ),
    ]
    tracks: NotRequired[
        Annotated[
            list[TrackJson],
            Meta(
                max_length=1000,
                description="who is followed in this very picture; left out where nobody is to be",
            ),
        ]
    ]


class PredictionJson(HeadJson, PredictionBody):
    pass


class EventJson(HeadJson, EventBody):
    pass


class StatusJson(HeadJson, StatusBody):
    pass


class HeartbeatJson(HeadJson, HeartbeatBody):
    pass


class PreviewJson(HeadJson, PreviewBody):
    pass


class OtherJson(HeadJson):
    """A message of a kind that this version does not know."""

    type: Kind


class EventsReplyJson(TypedDict):
    """The answer to `op: events`."""

    v: Version
    type: Literal["events"]
    session: Name
    journal: Text
    after: Count
    last_event_seq: Count
    events: Events
    more: bool


class CameraSnapshotJson(TypedDict):
    status: Annotated[Raw | None, _schema_of_one("status")]
    events: Events
    prediction: Annotated[Raw | None, _schema_of_one("prediction")]
    predictions: NotRequired[Predictions]


class SnapshotJson(TypedDict):
    """The answer to `op: snapshot`."""

    v: Version
    type: Literal["snapshot"]
    session: NotRequired[Name]
    journal: NotRequired[Text]
    sent_at: NotRequired[Unix]
    last_event_seq: Count
    cameras: dict[str, CameraSnapshotJson]


class ErrorJson(TypedDict):
    """The answer to a request that cannot be served."""

    v: NotRequired[Version]
    type: Literal["error"]
    code: Name
    message: Text


MESSAGES: Final[dict[str, type]] = {
    "prediction": PredictionJson,
    "event": EventJson,
    "status": StatusJson,
    "heartbeat": HeartbeatJson,
    "preview": PreviewJson,
}
REPLIES: Final[dict[str, type]] = {
    "events": EventsReplyJson, "snapshot": SnapshotJson, "error": ErrorJson,
}  # fmt: skip

# msgspec works out what a type is at its first use, and leaves that where other threads find it half done:
# two threads that took their first message at once ended the process by a segmentation fault (0.22). An
# import is one thread's, so all types are worked out here.
for _told in (*MESSAGES.values(), *REPLIES.values(), OtherJson):
    Decoder(_told)
