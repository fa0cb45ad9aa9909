"""Frames on the device: each one travels once, however many windows it stands in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from streamer.recognition.preprocessing import stack_frames
from streamer.types import Frame, Square

POOL_BYTES = 128_000_000  # uint8 frames kept on the device: 850 of 224 x 224

FrameKey = tuple[str, int, int, Square | None]  # camera, epoch, index, part of the picture


def frame_key(frame: Frame) -> FrameKey:
    """What makes a frame the same frame."""
    return frame.camera, frame.epoch, frame.index, frame.part


class DevicePool:
    """A fixed block of uint8 frames on a device, the least recently used replaced first.

    Works the same on a CPU, where it is only of use to tests. Not thread-safe: the inference thread owns it.

    Args:
        device: where.
        size: (H, W) of the frames.
        capacity: most frames kept; None = as many as fit into POOL_BYTES.
    """

    def __init__(self, device: torch.device, size: tuple[int, int], capacity: int | None = None) -> None:
        self.device = device
        self.capacity = capacity or max(1, POOL_BYTES // (size[0] * size[1] * 3))
        self._block = torch.empty((self.capacity, *size, 3), dtype=torch.uint8, device=device)
        self._slots: OrderedDict[FrameKey, int] = OrderedDict()
        self._free = list(range(self.capacity - 1, -1, -1))
        self.uploaded = 0  # frames that travelled

    def gather(self, frames: Sequence[Frame]) -> Tensor:
        """uint8 (N, H, W, 3) on the device, in order; only frames that are not there yet are sent.

        Raises RuntimeError: the device is out of memory or fails; nothing of these frames is kept then.
        """
        wanted = {frame_key(frame): frame for frame in frames}
        if len(wanted) > self.capacity:  # one huge batch: past the pool, so that nothing is replaced in use
            self.uploaded += len(frames)
            return self._send(frames)
        for key in wanted:
            if key in self._slots:
                self._slots.move_to_end(key)
        new = {key: frame for key, frame in wanted.items() if key not in self._slots}
        if new:
            slots = [self._slot(key) for key in new]
            try:
                self._block[torch.tensor(slots, device=self.device)] = self._send(list(new.values()))
            except RuntimeError:  # nothing may be found there that was never written
                self._free += [self._slots.pop(key) for key in new]
                raise
            self.uploaded += len(new)
        return self._block[
            torch.tensor([self._slots[frame_key(frame)] for frame in frames], device=self.device)
        ]

    def forget(self, camera: str) -> None:
        """Free the slots of a camera's frames."""
        for key in [key for key in self._slots if key[0] == camera]:
            self._free.append(self._slots.pop(key))

    def _slot(self, key: FrameKey) -> int:
        """A slot for a new frame; frames of the batch in hand stand at the end and so are never replaced."""
        slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1]
        self._slots[key] = slot
        return slot

    def _send(self, frames: Sequence[Frame]) -> Tensor:
        stacked = stack_frames(frames)
        if self.device.type != "cuda":
            return stacked.to(self.device)
        # Pinned memory lets the copy run beside the host; torch keeps the block until the copy is done.
        return stacked.pin_memory().to(self.device, non_blocking=True)
