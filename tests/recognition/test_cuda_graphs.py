"""CUDA graphs: when they are recorded, beside what, and what happens where they cannot be.

Recording is played by a stand-in of torch.cuda's functions (tests/helpers/fake_cuda.py); `test_on_a_gpu` is
for machines that have one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from streamer.errors import ModelError
from streamer.recognition.device_frames import DevicePool
from streamer.recognition.engines import pytorch
from streamer.recognition.engines.pytorch import BATCHES, CudaGraphs, RecordedForward
from streamer.types import Frame, Window
from tests.helpers.checkpoints import SIZE, shared
from tests.helpers.fake_cuda import FakeCuda
from tests.helpers.model_parts import load

PATIENCE = 20.0  # seconds; only a failing test waits so long


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """The stand-in; graphs count as faster than the model."""
    made = FakeCuda()
    made.install(monkeypatch)
    faster = {RecordedForward: 1.0}
    monkeypatch.setattr(pytorch, "_seconds", lambda run, values: faster.get(type(run), 2.0))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield made
    torch.set_num_threads(before)


class Model(torch.nn.Module):
    """Two layers; `before` is called first with the batch's size."""

    def __init__(self, before: Any = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(6, 3, generator=generator)
        self.before = before

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.before is not None:
            self.before(len(values))
        return (values @ self.weight).relu() + 1


def example(batch: int) -> torch.Tensor:
    return torch.randn(batch, 6)


def recorded(graphs: CudaGraphs) -> list[int]:
    return [shape[0] for shape in graphs._replays]


def test_every_size_is_recorded_in_warm_up_and_none_later(cuda: FakeCuda) -> None:
    model = Model()
    graphs = CudaGraphs(model)
    graphs.prepare(example)
    assert recorded(graphs) == list(BATCHES)
    assert cuda.recordings == len(BATCHES)
    kept = []
    for batch in (1, 2, 3, 4, 5, 8, 16, 1, 2):  # 3, 5, 16: no graph
        values = example(batch)
        answer = graphs(values)
        torch.testing.assert_close(answer, model(values))
        kept.append((answer, model(values)))
    for answer, expected in kept:  # each is the caller's own
        torch.testing.assert_close(answer, expected)
    assert cuda.recordings == len(BATCHES)


def test_without_warm_up_nothing_is_recorded(cuda: FakeCuda) -> None:
    graphs = CudaGraphs(Model())
    assert len(graphs(example(2))) == 2
    assert cuda.recordings == 0


def test_other_threads_may_use_the_device_while_one_records(cuda: FakeCuda) -> None:
    """Two models, or words that change: they pin and allocate memory at any moment."""
    failed: list[Exception] = []

    def use() -> None:
        try:
            cuda.allocate()
        except RuntimeError as error:
            failed.append(error)

    def beside() -> None:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(PATIENCE)

    cuda.during.append(beside)
    graphs = CudaGraphs(Model())
    graphs.prepare(example)
    assert (recorded(graphs), failed) == (list(BATCHES), [])
    assert set(cuda.modes) == {"thread_local"}


def test_two_models_never_record_at_once(cuda: FakeCuda) -> None:
    waiting = threading.Barrier(2)
    graphs = [CudaGraphs(Model()), CudaGraphs(Model())]

    def prepare(one: CudaGraphs) -> None:
        waiting.wait(PATIENCE)
        with torch.inference_mode():
            one.prepare(example)

    threads = [threading.Thread(target=prepare, args=(one,)) for one in graphs]
    pause = threading.Event()
    cuda.during.append(lambda: pause.wait(0.01))  # so that they would meet
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [recorded(one) for one in graphs] == [list(BATCHES)] * 2


def test_memory_that_is_not_enough_for_a_recording_is_no_error(cuda: FakeCuda) -> None:
    recording = threading.Event()

    def full(batch: int) -> None:
        if recording.is_set() and batch >= 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    cuda.during.append(recording.set)
    graphs = CudaGraphs(Model(full))
    graphs.prepare(example)
    assert recorded(graphs) == [1, 2]
    assert cuda.current_stream() is cuda.main
    recording.clear()
    assert len(graphs(example(4))) == 4


def test_what_cannot_be_recorded_runs_as_it_is(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    def copies(batch: int) -> None:
        if batch == 2:
            cuda.allocate()  # on the recording thread: not allowed

    graphs = CudaGraphs(Model(copies))
    with caplog.at_level("INFO", "streamer.recognition.engines.pytorch"):
        graphs.prepare(example)
    assert recorded(graphs) == [1, 4, 8]
    assert "no CUDA graph for batches of 2: CUDA error" in caplog.text
    assert cuda.current_stream() is cuda.main, "torch leaves the recording's stream behind"
    assert len(graphs(example(2))) == 2


@pytest.mark.parametrize(("answer", "seconds", "said"), [(1.0, 1.0, "another answer"), (0.0, 3.0, "")])
def test_a_wrong_or_slow_graph_is_not_used(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    answer: float, seconds: float, said: str,
) -> None:  # fmt: skip
    class Replay(RecordedForward):
        def __call__(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return super().__call__(pixel_values) + answer

    monkeypatch.setattr(pytorch, "_seconds", lambda run, _: seconds if isinstance(run, Replay) else 2.0)
    graphs = CudaGraphs(Model(), Replay)
    graphs.prepare(example)
    assert recorded(graphs) == []
    assert said in caplog.text


def test_a_recognizer_records_while_it_warms_up(cuda: FakeCuda) -> None:
    recognizer = load(shared("timesformer"))
    windows = [_window(recognizer, number) for number in range(4)]
    expected = recognizer.predict(windows)
    recognizer.use(CudaGraphs(recognizer.forward))
    recognizer.warm_up()
    assert cuda.recordings == len(BATCHES)
    found = recognizer.predict(windows)
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-6)
    assert cuda.recordings == len(BATCHES)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: unknown error"), torch.OutOfMemoryError("full")])
def test_frames_that_cannot_be_copied_are_one_window_lost(error: RuntimeError) -> None:
    recognizer = load(shared("timesformer"))
    pool = DevicePool(torch.device("cpu"), recognizer.spec.size)
    recognizer._pool = pool
    windows = [_window(recognizer, number) for number in range(2)]
    expected = recognizer.predict(windows[:1])
    send = pool._send

    def broken(frames: Any) -> torch.Tensor:
        raise error

    pool._send = broken  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="frames"):
        recognizer.predict(windows[1:])
    pool._send = send  # type: ignore[method-assign]
    again = recognizer.predict(windows)
    np.testing.assert_allclose(again[0], expected[0], atol=1e-6)
    recognizer._pool = None
    np.testing.assert_allclose(again[1], recognizer.predict(windows[1:])[0], atol=1e-6)


def _window(recognizer: Any, number: int) -> Window:
    images = np.random.default_rng(number).integers(0, 256, (recognizer.spec.frames, SIZE, SIZE, 3), np.uint8)
    frames = tuple(
        Frame("door", 100 * number + i, 0, i * 0.1, 0.0, 0.0, None, recognizer.reduce(image))
        for i, image in enumerate(images)
    )
    return Window("door", number, frames, 0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu() -> None:
    """The real thing: a TimeSformer on the device, recorded while it warms up, beside the host's answers."""
    host, there = load(shared("timesformer")), load(shared("timesformer"), device="cuda")
    there.warm_up()
    for count in (1, 2, 3, 8):
        windows = [_window(host, number) for number in range(count)]
        np.testing.assert_allclose(
            np.stack(there.predict(windows)), np.stack(host.predict(windows)), rtol=1e-3, atol=1e-3
        )
