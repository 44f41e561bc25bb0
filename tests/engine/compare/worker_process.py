"""The worker as the app meets it: a process, pipes, JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qdl_engine.compare.ask import ModelSpec
from qdl_engine.compare.replies import Reply, from_line
from qdl_engine.settings import TeacherSettings


class Process:
    """A worker with its pipes."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qdl_engine.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )

    def ask(
        self, number: str, spec: ModelSpec, *, prompt: str = "Hello", max_new_tokens: int = 8, **more: Any
    ) -> None:
        values = {"prompt": prompt, "max_new_tokens": max_new_tokens, "temperature": 0.0, **more}
        self.send(op="ask", id=number, model=asdict(spec), **values)

    def send(self, **request: Any) -> None:
        self.write(json.dumps(request).encode() + b"\n")

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def receive(self) -> Any:
        """The next reply; Any, so that a test may read the fields of the kind that it expects."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the worker ended: {self.log.read_text()}"
        reply = from_line(line)
        assert reply is not None, f"not a reply: {line!r}"
        return reply

    def until(self, *kinds: type[Reply]) -> list[Any]:
        """The replies up to the first of these kinds."""
        replies = [self.receive()]
        while not isinstance(replies[-1], kinds):
            replies.append(self.receive())
        return replies

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


def teacher_spec(settings: TeacherSettings, root: Path) -> ModelSpec:
    """A teacher that is no checkpoint."""
    return ModelSpec("teacher", settings.place, "system1", teacher=settings.model_dump(), root=str(root))
