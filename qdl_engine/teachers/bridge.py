"""An async generator read by plain code, in a thread of its own: it goes on while the reader works."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def iterate(source: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
    """Yield what `source` yields, and raise what it raises.

    When the reader stops early, by an exception, ctrl-c or `close`, the generator is cancelled and its own
    `finally` blocks have run before this returns.
    """
    results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    started = threading.Event()
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def pump() -> None:
        task = asyncio.current_task()
        assert task is not None
        control.append((asyncio.get_running_loop(), task))
        started.set()
        async with aclosing(source()) as items:
            async for item in items:
                results.put(item)

    def work() -> None:
        end = _End()
        try:
            asyncio.run(pump())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader raises it
            end = _End(error)
        finally:
            started.set()
            results.put(end)

    thread = threading.Thread(target=work, name="qdl-teacher", daemon=True)
    thread.start()
    try:
        while not isinstance(item := results.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        started.wait()
        for loop, task in control:
            # The loop may have closed by itself in this moment.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        thread.join()
