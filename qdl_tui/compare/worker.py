"""The process that holds the models (`python -m qdl_engine.compare.worker`): one JSON object a line each way.

The app never imports torch. However the app ends, the worker reads the end of its input and ends too.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.message import Message
from textual.message_pump import MessagePump

from qdl_engine.compare.replies import Reply, from_line

LINE_LIMIT = 16 * 1024 * 1024
"""A long answer is one line, longer than asyncio's own limit of 64 KiB."""
END_SECONDS = 3.0


@dataclass
class WorkerSaid(Message):
    """One reply of the worker process."""

    reply: Reply


@dataclass
class WorkerEnded(Message):
    """The worker process ended by itself, not by `kill`."""

    exit_code: int


class ModelWorker:
    """One worker process. All methods run in the app's event loop.

    Args:
        log: The file for the worker's stderr.
        screen: Gets a `WorkerSaid` for each reply, and a `WorkerEnded`.
    """

    def __init__(self, log: Path, screen: MessagePump) -> None:
        self.log = log
        self._screen = screen
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        """Two requests that come while there is no worker start one, not two."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _start(self) -> None:
        from qdl_engine.runs.launch import CHILD_ENVIRONMENT, python_command

        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *python_command("qdl_engine.compare.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **CHILD_ENVIRONMENT},
                limit=LINE_LIMIT,
                start_new_session=True,
            )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if process is not self._process:
                return
            reply = from_line(line)
            if reply is not None:
                self._screen.post_message(WorkerSaid(reply))
        code = await process.wait()
        if process is self._process:
            self._screen.post_message(WorkerEnded(code))

    async def send(self, request: dict[str, Any]) -> None:
        """Write one request; starts the worker when it is not running."""
        async with self._starting:
            if not self.running:
                await self._start()
        if self._process is None or self._process.stdin is None:
            return  # killed while it started
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # it has just ended; the reader reports that

    async def kill(self) -> None:
        """End the worker whatever it is doing, without a message; the next request starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """End the worker at once: it has nothing to lose, and quitting must not wait for torch."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
