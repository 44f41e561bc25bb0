"""Streamed replies: the events of a response, and their pieces as they stand in a completion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx2

from qdl_engine.prompts import THINK_CLOSE, THINK_OPEN
from qdl_engine.teachers.wire import event_data

HEARTBEAT_SECONDS = 0.5


async def events(response: httpx2.Response) -> AsyncIterator[str | None]:
    """The data of each event of a stream; None when nothing came for a while.

    A server that answers at once, although asked for a stream, gives its whole body as one.
    """
    lines = response.aiter_lines()
    whole: list[str] = []
    following = asyncio.ensure_future(anext(lines, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield None
                continue
            line = following.result()
            if line is None:
                break
            following = asyncio.ensure_future(anext(lines, None))
            data = event_data(line)
            if data == "[DONE]":
                return
            if data is not None:
                yield data
            elif line.startswith(("{", " ", "<")) or whole:
                whole.append(line)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError, httpx2.HTTPError):
            await following
    if whole:
        yield "\n".join(whole)


def tagged(before: tuple[str, str], reasoning: str, text: str) -> str:
    """A piece of a stream as it stands in the completion: reasoning between our tags."""
    shown = ""
    if reasoning:
        shown = reasoning if before[0] else f"{THINK_OPEN}\n{reasoning}"
    if text:
        closes = (before[0] or reasoning) and not before[1]
        shown += f"\n{THINK_CLOSE}\n{text}" if closes else text
    return shown
