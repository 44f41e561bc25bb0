"""The process that holds the models (`python -m qdl_engine.compare.worker`): one JSON object a line each way.

The app never imports torch. When the app is gone, however it went, the worker reads the end of its input
and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINE_LIMIT = 16 * 1024 * 1024
"""A long answer is one line; asyncio's own limit of 64 KiB would break it."""
END_SECONDS = 3.0

Said = dict[str, Any]


class ModelWorker:
    """One worker process. All methods run in the app's event loop; `on_event` is called there too.

    Args:
        log: Where what the worker writes to stderr goes.
        on_event: Called for each event; the last one is `{"event": "gone"}` with the exit code, unless it
            was killed.
    """

    def __init__(self, log: Path, on_event: Callable[[Said], object]) -> None:
        self.log = log
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
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
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._on_event(event)
        code = await process.wait()
        if process is self._process:
            self._on_event({"event": "gone", "exit_code": code})

    async def send(self, request: Said) -> None:
        """Write one request, starting the worker when it is not there."""
        if not self.running:
            await self.start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # it has just gone; the reader says so

    async def kill(self) -> None:
        """End the worker whatever it does, and say no more of it; the next request starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """End the worker at once: it holds nothing to lose, and leaving must not wait for torch."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
