"""A server that others wrote: `transformers serve`, with a checkpoint of ours, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("fastapi", "uvicorn", "openai")
MISSING = [name for name in NEEDED if find_spec(name) is None]
INSTALL = f"transformers serve needs {', '.join(NEEDED)}: pip install -e '.[test]'"
START_SECONDS = 120.0


@contextmanager
def transformers_server(model: Path, scratch: Path, *options: str) -> Iterator[str]:
    """Serve `model` on a free port; gives the base address once the server says that it is healthy.

    Args:
        model: The checkpoint.
        scratch: A directory for its log and an empty cache of the hub's.
        options: More options of `transformers serve`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = scratch / "server.log"
    (scratch / "hub").mkdir()
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(scratch / "hub"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), *options],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_healthy(process, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as not_yet:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise AssertionError(f"The server did not start (exit {process.poll()}): {tail}") from not_yet
        time.sleep(0.05)
