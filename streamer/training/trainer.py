"""transformers' Trainer, with our sampler, learning rates by layer, and lines about what happens."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from streamer.errors import DatasetError
from streamer.training.clip_sampling import ClipDataset, Collate, EpochOrder
from streamer.training.clip_scores import by_label, confusion, top_k
from streamer.training.recipe import Recipe

_LAYER = re.compile(r"\.(?:layer|layers|blocks|stages)\.(\d+)\.")
NEEDED = ("trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt")  # of a whole checkpoint


def arguments(recipe: Recipe, folder: Path, steps: int) -> TrainingArguments:
    """The Trainer's settings for a recipe; checkpoints go to `folder`. `steps`: of the whole run."""
    every: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if recipe.save_steps:
        every = {
            "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": recipe.save_steps,
            "save_steps": recipe.save_steps,
        }  # fmt: skip
    workers: dict[str, Any] = {}
    if recipe.workers:  # spawned: a fork would inherit locks of decoding threads
        workers = {"dataloader_persistent_workers": True, "dataloader_multiprocessing_context": "spawn",
                   "dataloader_prefetch_factor": 4}  # fmt: skip
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine",
        warmup_steps=round(recipe.warmup * steps),
        weight_decay=recipe.weight_decay,
        bf16=recipe.bf16,
        use_cpu=recipe.device == "cpu"
        or not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        seed=recipe.seed,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="chosen",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.cuda.is_available() and recipe.device != "cpu",
        remove_unused_columns=False,
        label_names=["labels"],
        logging_strategy="epoch",
        report_to=_reporters(),
        disable_tqdm=not sys.stderr.isatty(),
        **_saving_memory(recipe),
        **every,
        **workers,
    )


def _saving_memory(recipe: Recipe) -> dict[str, Any]:
    """The switch has another name from transformers 5.2x on."""
    if not recipe.checkpointing:
        return {}
    known = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True}


def _reporters() -> list[str]:
    return ["tensorboard"] if find_spec("tensorboard") else []


def numbers(output: Any, metric: str = "macro_f1") -> dict[str, float]:
    """The Trainer's `compute_metrics`: of logits (N, L) and labels (N,).

    `chosen` is what the best weights have most of: the metric, or less loss; with few clips to check many
    weights are equally right, so the mean score of the true label decides between those.
    """
    logits = np.asarray(output.predictions, dtype=np.float64).reshape(len(output.label_ids), -1)
    truth = np.asarray(output.label_ids)
    matrix = confusion(truth, logits.argmax(1), logits.shape[1])
    precision, recall, f1 = by_label(matrix)
    occurs = np.flatnonzero(matrix.sum(1))
    shifted = logits - logits.max(1, keepdims=True)
    log_scores = (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(len(truth)), truth]
    found = {
        "top1": top_k(logits, truth, 1),
        "top5": top_k(logits, truth, min(5, logits.shape[1])),
        "macro_f1": float(f1[occurs].mean()),
        "macro_precision": float(precision[occurs].mean()),
        "macro_recall": float(recall[occurs].mean()),
    }
    tie = 1e-3 * float(np.exp(log_scores).mean())
    return {**found, "chosen": float(log_scores.mean()) if metric == "loss" else found[metric] + tie}


class FineTuner(Trainer):  # type: ignore[misc, unused-ignore]
    """The Trainer with our order of clips, our loss and a learning rate for each layer."""

    def __init__(self, recipe: Recipe, order: EpochOrder, **more: Any) -> None:
        super().__init__(**more)
        self._recipe = recipe
        self._order = order
        self.model_accepts_loss_kwargs = False  # so that accumulated batches are averaged

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        return self._order

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross entropy; some families add a dimension to their logits."""
        outputs = model(pixel_values=inputs["pixel_values"])
        labels = inputs["labels"]
        logits = outputs.logits.view(len(labels), -1).float()
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        return (loss, {"logits": logits}) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW in groups: one learning rate for each layer, no weight decay for biases and norms."""
        optimizer: Any = getattr(self, "optimizer", None)
        if optimizer is None:
            groups = parameter_groups(self.model if model is None else model, self._recipe)
            optimizer = torch.optim.AdamW(groups, lr=self._recipe.lr, betas=(0.9, 0.98))
            self.optimizer = optimizer
        return optimizer


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """The head learns at `lr`, layer i of n at lr x layer_decay^(n - 1 - i), embeddings below layer 0."""
    names = [name for name, _ in model.named_parameters()]
    depth = 1 + max((int(found[1]) for name in names if (found := _LAYER.search(name))), default=-1)
    body = f"{model.base_model_prefix}."
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found = _LAYER.search(name)
        below = 0
        if name.startswith(body):
            last_norm = "embedding" not in name
            below = depth - 1 - int(found[1]) if found else (0 if last_norm else depth)
        rate = recipe.lr * recipe.layer_decay**below
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


class ProgressReporter(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """One line for each check, with the share of time that training waited for clips."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: float | None = None
        self._loss = float("nan")
        self.waited = 0.0
        self.worked = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._lap("waited")

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._lap("worked")

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._last = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        self._loss = (logs or {}).get("loss", self._loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        found = metrics or {}
        self._say(
            f"epoch {state.epoch:.4g} of {args.num_train_epochs:g}, step {state.global_step}: "
            f"loss {self._loss:.3f}, checked {found.get('eval_loss', float('nan')):.3f}, "
            f"top-1 {found.get('eval_top1', 0.0):.1%}, macro F1 {found.get('eval_macro_f1', 0.0):.3f}; "
            f"waited for clips {self.share:.0%} of the time"
        )
        self._last = None  # checking is neither waiting nor working

    @property
    def share(self) -> float:
        """Part of the training time spent waiting for clips, 0 to 1."""
        whole = self.waited + self.worked
        return self.waited / whole if whole else 0.0

    def _lap(self, name: str) -> None:
        now = time.perf_counter()
        if self._last is not None:
            setattr(self, name, getattr(self, name) + now - self._last)
        self._last = now


def make_trainer(
    recipe: Recipe,
    model: Any,
    data: tuple[ClipDataset, ClipDataset],
    folder: Path,
    reporter: ProgressReporter,
) -> FineTuner:
    """Everything put together; `data`: training and checking."""
    if recipe.freeze:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(f"{model.base_model_prefix}."))
    train, val = data
    labels = [train.view.labels.index(timed_clip.clip.label) for timed_clip in train.timed_clips]
    steps = recipe.max_steps
    if steps < 0:
        steps = recipe.epochs * -(-len(train) // (recipe.batch * recipe.accumulate))
    callbacks: list[Any] = [reporter]
    if recipe.patience:
        callbacks.append(EarlyStoppingCallback(recipe.patience))
    trainer = FineTuner(
        recipe,
        EpochOrder(labels, recipe.seed, recipe.balance),
        model=model,
        args=arguments(recipe, folder, steps),
        train_dataset=train,
        eval_dataset=val,
        data_collator=Collate(train.view.preprocessor, train.view.single),
        compute_metrics=partial(numbers, metric=recipe.metric),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; what a kill left half-written is passed over."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        number = path.name.partition("-")[2]
        if number.isdigit() and _whole(path):
            found.append((int(number), path))
    return max(found)[1] if found else None


def _whole(path: Path) -> bool:
    try:
        json.loads((path / NEEDED[0]).read_text("utf-8"))  # written last
    except (OSError, ValueError):
        return False
    return all((path / name).exists() for name in NEEDED)


def own_error(error: BaseException) -> DatasetError | None:
    """Our own error out of one that a worker process sent, with its remote traceback as text."""
    if not isinstance(error, DatasetError):
        return None
    lines: Sequence[str] = str(error).strip().splitlines()
    return DatasetError(lines[-1].partition("DatasetError: ")[2] or lines[-1]) if len(lines) > 1 else error
