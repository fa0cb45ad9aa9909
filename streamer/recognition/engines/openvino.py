"""The OpenVINO engine: fp32, bf16 or int8 on a CPU.

A model is exported from torch once, quantised where int8 is asked for, and kept on disk under a name made of
its weights, its shape, the precision, what it was calibrated on, and the versions of all that took part.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence, Sized
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from streamer.errors import ModelError, ModelLoadError
from streamer.recognition.engines.cache import Cache, entry_key, weights_hash
from streamer.system import library_telemetry

library_telemetry.switch_off()  # no other file imports openvino or nncf before this one
log = logging.getLogger(__name__)
Made = TypeVar("Made")

FEW_ROWS = 128
RECIPE = "3"  # part of the key: raise it when `_convert` or `_quantise` change
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVino:
    """An OpenVINO model as a forward: float (B, ...) -> float32 (B, L), on the CPU.

    Args:
        model: `openvino.Model` with one input and one output.
        shape: of one window, without B.
        precision: "fp32", "bf16" or "int8".
    """

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        try:
            self._run = compiled(model, precision)
            self._infer(torch.zeros(1, *shape))  # what cannot run here says so now
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {shape}: {one_line(error)}") from error

    @classmethod
    def of(
        cls,
        module: Any,
        shape: tuple[int, ...],
        precision: str,
        clips: Tensor | None = None,
        cache: Cache | None = None,
    ) -> OpenVino:
        """Take the converted model from the cache, or convert `module` and keep the result there.

        Args:
            module: fp32 torch module on the CPU, (B, ...) -> (B, L).
            shape: of one window, without B.
            precision: "fp32", "bf16" or "int8".
            clips: float32 (n, *shape); int8 is calibrated on them.
            cache: None: the user's.

        Raises:
            ModelLoadError: OpenVINO cannot compute this model, or int8 lacks clips.
        """
        return load_converted(
            lambda model: cls(model, shape, precision),
            module, (torch.zeros(1, *shape),), precision, clips, cache,
            samples=lambda: [window[None].numpy() for window in clips] if clips is not None else [],
        )  # fmt: skip

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Logits float32 (B, L), window by window.

        A window of a large model keeps all cores busy; several at once would delay the first, and each
        compiled batch size would hold a copy of the weights.
        """
        try:
            return torch.cat([self._infer(window[None]) for window in pixel_values])
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {tuple(pixel_values.shape)}: {one_line(error)}") from error

    def _infer(self, window: Tensor) -> Tensor:
        values = window.float().contiguous().numpy()
        return torch.from_numpy(self._run(values)[0].copy())  # its own memory is used again


def load_converted(
    make: Callable[[Any], Made],
    module: Any,
    examples: tuple[Tensor, ...],
    precision: str,
    clips: Tensor | None,
    cache: Cache | None,
    *,
    samples: Callable[[], Sized],
    floating: Sequence[str] = (),
) -> Made:
    """Take the converted model from the cache, or convert `module` and keep the result there.

    Args:
        make: what is wanted of an `openvino.Model`; it compiles it.
        module: fp32 torch module on the CPU.
        examples: its inputs, whose shapes are the model's.
        precision: "fp32", "bf16" or "int8".
        clips: real pictures that int8 is calibrated on; part of the key.
        cache: None: the user's.
        samples: one input (or dict by name) each, for calibrating on `clips`.
        floating: types of operations that int8 leaves alone, beside the usual ones.

    Raises:
        ModelLoadError: OpenVINO cannot compute this model, or int8 lacks clips.
    """
    if precision == "int8" and (clips is None or not len(clips)):
        raise ModelLoadError("int8 needs real pictures to be calibrated on (model.calibration)")
    cache = cache or Cache()
    key = _key(module, examples, precision, clips)
    if (entry := cache.find(key)) is not None:
        try:
            return make(_read(entry / "model.xml"))
        except (RuntimeError, ModelError) as error:  # a file of another version, or one nobody can run
            log.debug("cached model %s: %s", key, error)
            cache.discard(key)
    model = _convert(module, examples)
    if precision == "int8":
        try:
            model = _quantise(model, samples(), floating)
        except Exception as error:  # NNCF raises what its passes raise; chained, and said in one line
            raise ModelLoadError(
                f"int8 could not be made of this model ({one_line(error)}); use --precision auto"
            ) from error
    try:
        entry = cache.store(key, partial(_save, model))
    except OSError as error:
        log.warning("the converted model could not be kept for the next start: %s", error)
        return make(model)
    del model  # its weights are in the file, which is mapped, not copied
    return make(_read(entry / "model.xml"))


def compiled(model: Any, precision: str) -> Any:
    """For one input at a time, as soon as possible."""
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # set in one place (recognition/device.py)
        "PERFORMANCE_HINT": "LATENCY",
    }
    return _core().compile_model(model, "CPU", settings)


def _core() -> Any:
    import openvino

    return openvino.Core()


def _key(module: Any, examples: tuple[Tensor, ...], precision: str, clips: Tensor | None) -> str:
    """fp32 and bf16 are one file: the precision is chosen when it is compiled."""
    import openvino

    quantised: tuple[str, ...] = ()
    if precision == "int8":
        import nncf

        assert clips is not None
        pictures = hashlib.sha256(clips.contiguous().numpy().tobytes()).hexdigest()
        quantised = ("int8", nncf.__version__, str(tuple(clips.shape)), pictures)
    inputs = [(tuple(example.shape), example.dtype) for example in examples]
    return entry_key(
        RECIPE, weights_hash(module), inputs, openvino.__version__, torch.__version__, *quantised
    )


def _convert(module: Any, examples: tuple[Tensor, ...]) -> Any:
    """torch -> OpenVINO, static shapes."""
    import openvino

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about torch
            exported = torch.export.export(module, examples)
            model = openvino.convert_model(exported)
        shapes = [list(example.shape) for example in examples]
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
    except Exception as error:  # two compilers, each with errors of its own; chained, and said in one line
        raise ModelLoadError(
            f"OpenVINO cannot take this model ({one_line(error)}); use --engine torch"
        ) from error
    return model


def _quantise(model: Any, samples: Sized, floating: Sequence[str]) -> Any:
    """Post-training int8 (NNCF): weights per channel, activations from `samples`.

    Left in floating point, for a third of the error and next to no time: patch embedding, the attention
    products, and all products of few rows (the class token's last steps and the classifier). Smooth-quant is
    off: it does not help here (docs/performance.md has the table).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    off = nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    types = ["Convolution", "ScaledDotProductAttention", *floating]
    scope = nncf.IgnoredScope(types=types, names=_floating_products(model), validate=False)
    with redirect_stdout(StringIO()):  # progress bars; standard output is the product's
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=scope,
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=off),
        )


def _floating_products(model: Any) -> list[str]:
    """Names of the matrix products of at most FEW_ROWS rows, and of those without weights: attention's."""
    names = []
    for op in model.get_ordered_ops():
        if op.get_type_name() == "MatMul":
            *rows, _ = op.get_output_shape(0)
            if prod(rows) <= FEW_ROWS or not any(_is_weight(side.get_node()) for side in op.input_values()):
                names.append(op.get_friendly_name())
    return names


def _is_weight(node: Any, steps: int = 3) -> bool:
    """True for a constant, and for what a few operations make of constants alone."""
    if node.get_type_name() == "Constant":
        return True
    inputs = node.input_values() if steps else []
    return bool(inputs) and all(_is_weight(value.get_node(), steps - 1) for value in inputs)


def _save(model: Any, folder: Path) -> None:
    import openvino

    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _read(file: Path) -> Any:
    return _core().read_model(file)


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
