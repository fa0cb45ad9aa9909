"""How many threads a forward uses: its model's own number, whatever other models have set before."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from streamer.recognition import device
from tests.helpers.checkpoints import shared
from tests.helpers.model_parts import load, score

MANY = 3  # threads of a model that is not tiny, on any machine


def made(monkeypatch: pytest.MonkeyPatch, tiny: bool) -> Any:
    """A recognizer of a small checkpoint that counts as tiny or not; `seen` gets its forwards' threads."""
    monkeypatch.setattr(device, "TINY", 10**9 if tiny else 0)
    monkeypatch.setattr(device, "for_model", lambda: MANY)
    recognizer = load(shared("timesformer"))
    forward, recognizer.seen = recognizer.forward, []

    def noted(pixel_values: torch.Tensor) -> torch.Tensor:
        recognizer.seen.append(torch.get_num_threads())
        logits: torch.Tensor = forward(pixel_values)
        return logits

    recognizer.forward = noted
    return recognizer


def computed(recognizer: Any) -> int:
    """Threads of a forward on a thread that has never used torch, as an inference thread."""
    thread = threading.Thread(target=score, args=(recognizer,))
    thread.start()
    thread.join()
    found: int = recognizer.seen.pop()
    return found


@pytest.fixture(autouse=True)
def _threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("tiny_first", [True, False])
def test_a_tiny_and_a_large_model_have_each_their_own_number(
    monkeypatch: pytest.MonkeyPatch, tiny_first: bool
) -> None:
    first = made(monkeypatch, tiny_first)
    second = made(monkeypatch, not tiny_first)
    tiny, large = (first, second) if tiny_first else (second, first)
    for _ in range(2):
        assert computed(tiny) == 1
        assert computed(large) == MANY


def test_one_thread_that_computes_two_models_changes_between_their_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny, large = made(monkeypatch, True), made(monkeypatch, False)
    for recognizer in (tiny, large, tiny, large):
        score(recognizer)
    assert (tiny.seen, large.seen) == ([1, 1], [MANY, MANY])


def test_the_number_that_the_user_asked_for_holds_after_a_tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_ASKED_FOR", 2)
    torch.set_num_threads(1)  # by a tiny model that was loaded before
    monkeypatch.setattr(device, "for_model", lambda: None)  # OMP_NUM_THREADS is set
    assert device.model_threads(10**8, torch.device("cpu")) == 2
    assert device.model_threads(10**3, torch.device("cpu")) == 1
