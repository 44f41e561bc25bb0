"""The engine asked by its own command: what needs a heavy library stays out of the app."""

from __future__ import annotations

import asyncio
import os


async def ask_engine(*words: str) -> bytes:
    """What `qdl WORDS` prints. Cancelling the caller ends the process."""
    from qdl_engine.runs.launch import CHILD_ENVIRONMENT, python_command

    process = await asyncio.create_subprocess_exec(
        *python_command("qdl_engine.cli", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **CHILD_ENVIRONMENT},
        start_new_session=True,
    )
    try:
        told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return told
