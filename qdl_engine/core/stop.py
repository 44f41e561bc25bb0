"""Stopping on request. Light, so that signals are heard before the model libraries are imported."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Set by SIGTERM, SIGINT, or SIGHUP of a terminal that closes; read once a step."""

    def __init__(self) -> None:
        self.requested = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    @contextmanager
    def installed(self) -> Iterator[StopRequest]:
        """Listen while the block runs. Only the main thread can; elsewhere nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        asked = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Under `nohup` it shall go on.
            asked.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._ask) for number in asked}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agreed(self, world_size: int, device: Any) -> bool:
        """Whether any process was asked: all must leave the loop at the same step."""
        if world_size == 1:
            return self.requested
        import torch

        flag = torch.tensor(int(self.requested), device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag)
