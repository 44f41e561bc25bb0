"""The output of a running EasyDistill 1.x: handed on as it comes, and told as events."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from qdl_engine.easydistill.version1.output import ConsoleParser
from qdl_engine.events import Event, EventSink
from qdl_engine.runs.reader import FileTail

_SHORTEST_SECONDS = 0.1
"""Lines that are read together have no time between them."""


class Watch:
    """Follows the output: hands it on, and writes events."""

    def __init__(self, log: Path, sink: EventSink, started: dict[str, Any]) -> None:
        self.log = log
        self.parser = ConsoleParser()
        self.last: dict[str, Any] = {}
        """The last metrics that had a loss."""
        self._tail = FileTail(log)
        self._sink = sink
        self._started = started
        self._counted: tuple[float, float] | None = None
        """Tokens so far, and when they were counted."""
        self._rate: float | None = None

    def read(self) -> None:
        output = self._tail.read()
        _hand_on(output, sys.stdout.buffer)
        for event in self.parser.feed(output):
            self._take(event)

    def close(self) -> None:
        for event in self.parser.close():
            self._take(event)

    def _take(self, event: Event) -> None:
        if event["event"] == "started":
            event |= {"step": 0, **self._started}
        elif "loss" in event:
            tokens = event.pop("num_tokens", None)
            event["tokens_per_second"] = self._tokens_per_second(tokens)
            self.last = event
        self._sink(event)

    def _tokens_per_second(self, tokens: float | None) -> float | None:
        now = time.monotonic()
        before, self._counted = self._counted, None if tokens is None else (tokens, now)
        if tokens is None or before is None:
            return None
        # Several lines read at once have no time between them.
        if now - before[1] < _SHORTEST_SECONDS:
            self._counted = before
            return self._rate
        self._rate = (tokens - before[0]) / (now - before[1])
        return self._rate

    def metrics(self, seconds: float) -> dict[str, Any]:
        """The final ones, by the built-in runtime's names."""
        return {
            "steps": self.parser.step,
            "loss": self.last.get("loss"),
            "held_out_loss": None,
            "tokens_per_second": self.last.get("tokens_per_second"),
            "seconds": seconds,
        }


def _hand_on(output: bytes, stream: BinaryIO) -> None:
    stream.write(output)
    stream.flush()
