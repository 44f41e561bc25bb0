"""A teacher at an OpenAI-compatible server: many questions at once, paced, retried, within a budget.

Each question gets exactly one result. No template is rendered here: the server has its model's own.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink
from qdl_engine.models.generate import Meter, StreamChunk
from qdl_engine.teachers.base import (
    Decoding,
    Failure,
    FailureKind,
    Logits,
    Question,
    Result,
    TeacherAnswer,
    answer_key,
)
from qdl_engine.teachers.budget import Budget, Need
from qdl_engine.teachers.client import HOPELESS, ChatClient, Endpoint
from qdl_engine.teachers.reply import RequestError

T = TypeVar("T")
Item = tuple[int, Result]

RETRIED: frozenset[FailureKind] = frozenset({"rate limited", "server error", "timeout", "connection"})
"""The server's troubles; all others are the question's own and would come again."""
BAD_REPLY_RETRIES = 1
"""Garbage may be a gateway's hiccup, but it may be paid for too."""
SLOWS: frozenset[FailureKind] = frozenset({"rate limited", "timeout"})
FAILED_IN_A_ROW = 20
"""After so many questions in a row without an answer, each retried, the server counts as gone."""
FAILED_AT_FIRST = 3
"""The same for a server that has never answered."""
START_WIDTH = 2


class ServerTeacher:
    """Asks over HTTP, many questions at once."""

    logits: Logits = "top-k"
    """With `top_logprobs`, at most 20 a token."""
    parameters = 0
    device = "server"

    def __init__(self, endpoint: Endpoint, budget: Budget | None = None) -> None:
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self._model = endpoint.model

    @property
    def name(self) -> str:
        return f"{self._model or 'the model'} at {self.endpoint.url}"

    @property
    def model(self) -> str:
        """The model's name at the server, requested from it when the settings name none."""

        async def look() -> AsyncGenerator[str, None]:
            async with ChatClient(self.endpoint) as client:
                yield await client.choose_model()

        if not self._model:
            (self._model,) = iterate(look)
        return self._model

    def key(self, question: Question) -> str:
        place = self.endpoint
        return answer_key(
            "server",
            place.url,
            self.model,
            question.system_prompt,
            question.instruction,
            place.max_new_tokens,
            place.temperature,
        )

    def load(self, on_event: EventSink) -> None:
        """See whether the server is there, where the settings do not name its model."""
        _ = self.model

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[Item, None, None]:
        async def items() -> AsyncGenerator[Item, None]:
            async with ChatClient(self.endpoint) as client:
                async for item in ask_each(client, questions, self.budget):
                    yield item

        meter = Meter(len(questions), on_event)
        for index, result in iterate(items):
            meter.row_done(result.tokens if isinstance(result, TeacherAnswer) else 0)
            yield index, result
            meter.step(0)
        meter.finish()

    def stream(self, question: Question, decoding: Decoding) -> Generator[StreamChunk, None, None]:
        endpoint = replace(
            self.endpoint, max_new_tokens=decoding.max_new_tokens, temperature=decoding.temperature
        )

        async def pieces() -> AsyncGenerator[StreamChunk, None]:
            async with ChatClient(endpoint) as client:
                async for piece in client.stream(question):
                    yield piece

        return iterate(pieces)

    def close(self) -> None:
        """Nothing stays open between two calls."""


# Many questions ----------------------------------------------------------------------------------


async def ask_each(
    client: ChatClient, questions: Sequence[Question], budget: Budget
) -> AsyncGenerator[Item, None]:
    """Yield each result with its question's index as it comes.

    A question that fails is sent again where the fault is the server's; in the end it yields a `Failure`.
    When the budget is spent nothing more is sent (`budget.exhausted`), and those indexes never come.

    Raises:
        ModelError: when the server does not answer at all, rejects the key, or does not know the model.
    """
    await client.choose_model()
    batch = _Batch(client, budget, iter(list(enumerate(questions))), Pace(client.endpoint.concurrency))
    count = min(client.endpoint.concurrency, len(questions))
    workers = [asyncio.create_task(batch.work()) for _ in range(count)]
    closer = asyncio.create_task(batch.close_after(workers))
    try:
        while (item := await batch.results.get()) is not None:
            if isinstance(item, ModelError):
                raise item
            yield item
    finally:
        for task in [*workers, closer]:
            task.cancel()
        await asyncio.gather(*workers, closer, return_exceptions=True)


@dataclass
class _Batch:
    """What the workers of one `ask_each` share."""

    client: ChatClient
    budget: Budget
    waiting: Iterator[tuple[int, Question]]
    pace: Pace
    results: asyncio.Queue[Item | ModelError | None] = field(default_factory=asyncio.Queue)
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)
    answered: bool = False
    failed_in_a_row: int = 0

    async def work(self) -> None:
        """Take one question after the other until none is left, or none fits the budget."""
        for index, question in self.waiting:
            need = Need.of(question.prompt, self.client.endpoint.max_new_tokens)
            if not await self._reserve(need):
                return
            try:
                result = await self._result(question)
            finally:
                await self._release(need)
            self.results.put_nowait((index, result))

    async def close_after(self, workers: list[asyncio.Task[None]]) -> None:
        """End the results when every worker has ended, with the error that stopped one if there is any."""
        done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION) if workers else ((), ())
        for task in done:
            error = task.exception()
            if isinstance(error, ModelError):
                self.results.put_nowait(error)
                return
            if error is not None:
                raise error
        self.results.put_nowait(None)

    async def _reserve(self, need: Need) -> bool:
        """Reserve budget for one answer of the greatest length; False when none is left.

        While only requests under way stand in the way it waits: most answers turn out shorter.
        """
        budget = self.budget
        async with self.settled:
            await self.settled.wait_for(lambda: budget.exhausted or budget.fits(need) or not budget.reserved)
            if budget.exhausted or not budget.fits(need):
                budget.exhausted = True
                self.settled.notify_all()
                return False
            budget.reserved.append(need)
            return True

    async def _release(self, need: Need) -> None:
        self.budget.reserved.remove(need)
        async with self.settled:
            self.settled.notify_all()

    async def _result(self, question: Question) -> Result:
        """One question, through its retries."""
        retry, attempt = self.client.endpoint.retry, 0
        while True:
            try:
                return await self._try(question)
            except RequestError as error:
                if not self.answered and error.status in HOPELESS:
                    raise self.client.total_failure(error) from error
                wait = error.retry_after or 0.0
                times = min(BAD_REPLY_RETRIES, retry.times) if error.kind == "bad reply" else retry.times
                retried = error.kind in RETRIED or error.kind == "bad reply"
                if not retried or attempt >= times or wait > retry.longest_requested:
                    return self._failure(error)
                self.pace.hold(wait)
                await asyncio.sleep(max(wait, retry.delay(attempt)))
                attempt += 1

    async def _try(self, question: Question) -> TeacherAnswer:
        """One attempt; its place among the requests is free again while a retry waits."""
        async with self.pace.turn() as ticket:
            try:
                answer = await self.client.ask(question)
            except RequestError as error:
                if error.kind in SLOWS:
                    self.pace.trouble(ticket)
                raise
        self.pace.success()
        self.budget.spend(answer.prompt_tokens, answer.tokens)
        self.answered, self.failed_in_a_row = True, 0
        return answer

    def _failure(self, error: RequestError) -> Failure:
        if error.kind in RETRIED:
            self.failed_in_a_row += 1
            never = not self.answered
            if self.failed_in_a_row >= (FAILED_AT_FIRST if never else FAILED_IN_A_ROW) or (
                never and error.kind == "connection"
            ):
                raise self.client.total_failure(error) from error
        return Failure(error.kind, error.message)


@dataclass
class Pace:
    """How many requests are under way: more while all goes well, half as many after trouble (AIMD, as TCP).

    The width starts at 2, grows by one for each window of as many successes as it is wide, and halves once
    for each burst of trouble: requests sent before the halving cannot halve it again.
    """

    limit: int
    width: int = field(init=False)
    _active: int = 0
    _good: int = 0
    _cuts: int = 0
    _held_until: float = 0.0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.width = min(START_WIDTH, self.limit)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """Wait for a place among the requests; gives the ticket that `trouble` takes."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._active < self.width)
            self._active += 1
        try:
            while (wait := self._held_until - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield self._cuts
        finally:
            self._active -= 1
            # Not awaited under the lock: a cancelled request must give its place back too.
            async with self._changed:
                self._changed.notify_all()

    def success(self) -> None:
        self._good += 1
        if self._good >= self.width:
            self._good, self.width = 0, min(self.limit, self.width + 1)

    def trouble(self, ticket: int) -> None:
        self._good = 0
        if ticket == self._cuts:
            self._cuts += 1
            self.width = max(1, self.width // 2)

    def hold(self, seconds: float) -> None:
        """Start nothing for so long: the server said when to come again."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)


# From a coroutine to plain code -------------------------------------------------------------------


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def iterate(source: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
    """Yield what an async generator yields and raise what it raises, while it runs in a thread of its own.

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
