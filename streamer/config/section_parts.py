"""What the sections of a configuration are made of: kinds of values, and how they say what is wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Score = Annotated[float, Field(ge=0.0, le=1.0)]
# no number is so large or small that a timer, a counter or a division chokes on it
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Deadline = Annotated[float, Field(ge=0.001, le=86_400.0)]  # seconds, at most a day
Spacing = Annotated[float, Field(ge=0.001, le=3600.0)]  # seconds between frames or windows
Temperature = Annotated[float, Field(ge=0.01, le=100.0)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Pixels = Annotated[int, Field(ge=1, le=65_536)]

# what a text means, for paths that are relative to the file they stand in
PathText = Annotated[str, Field(json_schema_extra={"format": "path"})]
SourceText = Annotated[str, Field(json_schema_extra={"format": "source"})]  # a path, an address, a number
WordsText = Annotated[str, Field(json_schema_extra={"format": "words"})]  # words, or the path of a .yaml file
CheckpointText = Annotated[str, Field(json_schema_extra={"format": "checkpoint"})]  # a folder, or a Hub id


class Section(BaseModel):
    """Unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def wrong(path: tuple[str | int, ...], text: str) -> PydanticCustomError:
    """An error about the key at `path` below the validated section, for `load_config` to place."""
    return PydanticCustomError("streamer", "{text}", {"text": text, "path": path})
