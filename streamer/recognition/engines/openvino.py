"""The OpenVINO engine: fp32, bf16 or int8 on a CPU.

A model is exported from torch once, quantised where int8 is asked for, and kept on disk under a name made of
its weights, its shape, the precision, what it was calibrated on, and the versions of all that took part.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamer.errors import ModelError, ModelLoadError
from streamer.recognition.engines.cache import Cache, entry_key, weights_hash

log = logging.getLogger(__name__)

FEW_ROWS = 128
RECIPE = "1"  # part of the key: raise it when `_convert` or `_quantise` change
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVino:
    """An OpenVINO model as a forward: float (B, ...) -> float32 (B, L), on the CPU.

    Args:
        model: `openvino.Model` with one input and one output.
        shape: of one window, without B.
        precision: "fp32", "bf16" or "int8".
    """

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        self._precision = precision
        try:
            self._run = self._compile(model)
            self._infer(torch.zeros(1, *shape))  # what cannot run here says so now
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {shape}: {_one_line(error)}") from error

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
        if precision == "int8" and (clips is None or not len(clips)):
            raise ModelLoadError("int8 needs real pictures to be calibrated on (model.calibration)")
        cache = cache or Cache()
        key = _key(module, shape, precision, clips)
        if (entry := cache.find(key)) is not None:
            try:
                return cls(_read(entry / "model.xml"), shape, precision)
            except (RuntimeError, ModelError) as error:  # a file of another version, or one nobody can run
                log.debug("cached model %s: %s", key, error)
                cache.discard(key)
        model = _convert(module, shape)
        if precision == "int8":
            assert clips is not None
            try:
                model = _quantise(model, clips)
            except Exception as error:  # NNCF raises what its passes raise; chained, and said in one line
                raise ModelLoadError(
                    f"int8 could not be made of this model ({_one_line(error)}); use --precision auto"
                ) from error
        try:
            entry = cache.store(key, partial(_save, model))
        except OSError as error:
            log.warning("the converted model could not be kept for the next start: %s", error)
            return cls(model, shape, precision)
        del model  # its weights are in the file, which is mapped, not copied
        return cls(_read(entry / "model.xml"), shape, precision)

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Logits float32 (B, L), window by window.

        A window of a large model keeps all cores busy; several at once would delay the first, and each
        compiled batch size would hold a copy of the weights.
        """
        try:
            return torch.cat([self._infer(window[None]) for window in pixel_values])
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {tuple(pixel_values.shape)}: {_one_line(error)}") from error

    def _infer(self, window: Tensor) -> Tensor:
        values = window.float().contiguous().numpy()
        return torch.from_numpy(self._run(values)[0].copy())  # its own memory is used again

    def _compile(self, model: Any) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # set in one place (recognition/device.py)
            "PERFORMANCE_HINT": "LATENCY",
        }
        return _core().compile_model(model, "CPU", settings)


def _core() -> Any:
    import openvino

    return openvino.Core()


def _key(module: Any, shape: tuple[int, ...], precision: str, clips: Tensor | None) -> str:
    """fp32 and bf16 are one file: the precision is chosen when it is compiled."""
    import openvino

    quantised: tuple[str, ...] = ()
    if precision == "int8":
        import nncf

        assert clips is not None
        pictures = hashlib.sha256(clips.contiguous().numpy().tobytes()).hexdigest()
        quantised = ("int8", nncf.__version__, str(tuple(clips.shape)), pictures)
    return entry_key(RECIPE, weights_hash(module), shape, openvino.__version__, torch.__version__, *quantised)


def _convert(module: Any, shape: tuple[int, ...]) -> Any:
    """torch -> OpenVINO, static shape of one window."""
    import openvino

    example = torch.zeros(1, *shape)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about torch
            exported = torch.export.export(module, (example,))
            model = openvino.convert_model(exported)
        model.reshape([1, *shape])
    except Exception as error:  # two compilers, each with errors of its own; chained, and said in one line
        raise ModelLoadError(
            f"OpenVINO cannot take this model ({_one_line(error)}); use --engine torch"
        ) from error
    return model


def _quantise(model: Any, clips: Tensor) -> Any:
    """Post-training int8 (NNCF): weights per channel, activations from `clips`.

    Left in floating point, for a third of the error and next to no time: patch embedding, the attention
    products, and all products of few rows (the class token's last steps and the classifier). Smooth-quant is
    off: it does not help here (docs/performance.md has the table).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    off = nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    floating = ["Convolution", "ScaledDotProductAttention"]
    scope = nncf.IgnoredScope(types=floating, names=_small(model), validate=False)
    with redirect_stdout(StringIO()):  # progress bars; standard output is the product's
        return nncf.quantize(
            model,
            nncf.Dataset([clip[None].numpy() for clip in clips]),
            subset_size=len(clips),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=scope,
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=off),
        )


def _small(model: Any) -> list[str]:
    """Names of the matrix products of at most FEW_ROWS rows."""
    names = []
    for op in model.get_ordered_ops():
        if op.get_type_name() == "MatMul":
            *rows, _ = op.get_output_shape(0)
            if prod(rows) <= FEW_ROWS:
                names.append(op.get_friendly_name())
    return names


def _save(model: Any, folder: Path) -> None:
    import openvino

    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _read(file: Path) -> Any:
    return _core().read_model(file)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
