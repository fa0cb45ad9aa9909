"""A model that several pipelines use one after the other."""

from __future__ import annotations

from streamer.recognition.loaded_models import SharedRecognizer
from streamer.testing import FakeRecognizer


class Forgetting(FakeRecognizer):
    """Says what it was told to forget."""

    def __init__(self) -> None:
        super().__init__(lambda window: [0.1, 0.9])
        self.forgotten: list[tuple[str, int | None]] = []

    def forget(self, camera: str, track: int | None = None) -> None:
        self.forgotten.append((camera, track))


def test_who_leaves_is_forgotten_and_nobody_else_of_the_camera() -> None:
    model = Forgetting()
    shared = SharedRecognizer(model)
    shared.forget("door", 3)
    shared.forget("door")
    assert model.forgotten == [("door", 3), ("door", None)]
