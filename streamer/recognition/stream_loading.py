"""From a streaming checkpoint to its recognizer: the window model's weights, and tensors of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.engines.stream_tuning import choose_stream_engine
from streamer.recognition.families.recognizers import LoadedModel
from streamer.recognition.families.stream_recognizer import StreamRecognizer
from streamer.recognition.families.streaming_timesformer import PREFIX, StreamingTimesformer
from streamer.recognition.model_config import one_line


def load_streaming(checkpoint: Checkpoint, loaded: LoadedModel, config: ModelConfig) -> StreamRecognizer:
    """A recognizer that computes one frame a hop.

    Args:
        checkpoint: its config.json has `streamer.streaming`.
        loaded: the window model; its `forward` is not used.
        config: asks for an engine and a precision, perhaps.

    Raises:
        ModelLoadError: it is no TimeSformer with divided attention, its own tensors are not there, or it is
            asked for what streams cannot do.
    """
    if checkpoint.family != "timesformer":
        raise ModelLoadError(
            f"{checkpoint.name}: only TimeSformers can be streamed, this is a {checkpoint.family}"
        )
    model = stream_of(checkpoint, loaded)
    spec = dataclasses.replace(loaded.spec, streaming=True, reach=model.reach)
    recognizer = StreamRecognizer(dataclasses.replace(loaded, spec=spec, model=None))
    choose_stream_engine(recognizer, model, config)
    return recognizer


def stream_of(checkpoint: Checkpoint, loaded: LoadedModel) -> StreamingTimesformer:
    """The model that computes one frame a hop, of a window model's weights. Raises ModelLoadError."""
    try:
        model = StreamingTimesformer(loaded.model, fused=True)
        model.adopt(streaming_tensors(checkpoint.folder))
    except (ValueError, OSError, SafetensorError) as error:
        raise ModelLoadError(
            f"{checkpoint.name} says that it is a streaming model, but {one_line(error)}: train it again "
            "(`streamer train --streaming`)"
        ) from error
    return model.to(loaded.placement.device, loaded.placement.dtype).eval().requires_grad_(False)


def streaming_tensors(folder: Path) -> dict[str, Tensor]:
    """What a checkpoint has beside the window model; see `StreamingTimesformer.adopt`.

    Raises:
        OSError, SafetensorError: it cannot be read.
    """
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys() if key.startswith(PREFIX)}  # noqa: SIM118
