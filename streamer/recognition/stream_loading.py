"""From a streaming checkpoint to its recognizer: the window model's weights, and tensors of its own."""

from __future__ import annotations

import dataclasses

from safetensors import SafetensorError, safe_open

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.families.recognizers import LoadedModel
from streamer.recognition.families.stream_recognizer import StreamRecognizer, TorchStream
from streamer.recognition.families.streaming_timesformer import PREFIX, StreamingTimesformer
from streamer.recognition.model_config import one_line


def load_streaming(checkpoint: Checkpoint, loaded: LoadedModel) -> StreamRecognizer:
    """A recognizer that computes one frame a hop.

    Args:
        checkpoint: its config.json has `streamer.streaming`.
        loaded: the window model; its `forward` is not used.

    Raises:
        ModelLoadError: it is no TimeSformer with divided attention, or its own tensors are not there.
    """
    if checkpoint.family != "timesformer":
        raise ModelLoadError(
            f"{checkpoint.name}: only TimeSformers can be streamed, this is a {checkpoint.family}"
        )
    placement = loaded.placement
    try:
        model = StreamingTimesformer(loaded.model, fused=True)
        with safe_open(checkpoint.folder / "model.safetensors", framework="pt") as file:
            model.adopt({key: file.get_tensor(key) for key in file.keys() if key.startswith(PREFIX)})  # noqa: SIM118
    except (ValueError, OSError, SafetensorError) as error:
        raise ModelLoadError(
            f"{checkpoint.name} says that it is a streaming model, but {one_line(error)}: train it again "
            "(`streamer train --streaming`)"
        ) from error
    model.to(placement.device, placement.dtype).eval().requires_grad_(False)
    spec = dataclasses.replace(loaded.spec, streaming=True)
    return StreamRecognizer(dataclasses.replace(loaded, spec=spec), TorchStream(model))
