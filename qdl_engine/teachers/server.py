"""An async generator read by plain code, in a thread of its own: it goes on while the reader works.

Many questions to one server at once: paced, retried, within a budget, each with exactly one result.

A teacher at an OpenAI-compatible server. No template is rendered here: the server has its model's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink
from qdl_engine.models.generate import Meter, StreamChunk
from qdl_engine.teachers.base import Asking, Failure, FailureKind, Logits, Question, Result, TeacherAnswer
from qdl_engine.teachers.budget import Budget, Need
from qdl_engine.teachers.chat import ChatClient, Endpoint
from qdl_engine.teachers.pace import HOPELESS, AskError, Pace

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


RETRIED: frozenset[FailureKind] = frozenset({"rate limited", "server error", "timeout", "connection"})
"""The server's troubles; all else is the question's own and would come again."""
BAD_REPLY_RETRIES = 1
"""Rubbish may be a gateway's hiccup, but it may be paid for too."""
SLOWS: frozenset[FailureKind] = frozenset({"rate limited", "timeout"})

FAILED_IN_A_ROW = 20
"""So many questions in a row without an answer, each retried, are a server that is gone."""
FAILED_AT_FIRST = 3
"""The same where it has never answered."""
Item = tuple[int, Result]


async def ask_each(
    client: ChatClient, questions: Sequence[Question], budget: Budget
) -> AsyncGenerator[Item, None]:
    """Yield each result with its question's index as it comes.

    A question that fails is tried again where the fault is the server's; at last it yields a `Failure`.
    When the budget is spent nothing more is asked (`budget.exhausted`), and those indexes never come.

    Raises:
        ModelError: when the server does not answer at all, refuses the key, or does not know the model.
    """
    await client.choose_model()
    run = _Run(client, budget, iter(list(enumerate(questions))))
    workers = [
        asyncio.create_task(run.work()) for _ in range(min(client.endpoint.concurrency, len(questions)))
    ]
    closer = asyncio.create_task(run.close_after(workers))
    try:
        while (item := await run.results.get()) is not None:
            if isinstance(item, ModelError):
                raise item
            yield item
    finally:
        for task in [*workers, closer]:
            task.cancel()
        await asyncio.gather(*workers, closer, return_exceptions=True)


@dataclass
class _Run:
    """What the workers of one `ask_each` share."""

    client: ChatClient
    budget: Budget
    waiting: Iterator[tuple[int, Question]]
    results: asyncio.Queue[Item | ModelError | None] = field(default_factory=asyncio.Queue)
    settled: asyncio.Condition = field(default_factory=asyncio.Condition)
    answered: bool = False
    failed_in_a_row: int = 0

    def __post_init__(self) -> None:
        self.pace = Pace(self.client.endpoint.concurrency)

    async def work(self) -> None:
        """Take one question after the other until none is left, or none fits the budget."""
        for index, question in self.waiting:
            need = Need.of(question.prompt, self.client.endpoint.max_new_tokens)
            if not await self._reserve(need):
                return
            try:
                result = await self._ask(question)
            finally:
                await self._release(need)
            self.results.put_nowait((index, result))

    async def close_after(self, workers: list[asyncio.Task[None]]) -> None:
        """Say when all is done, and pass on what stopped a worker."""
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
        """Keep room in the budget for one answer of the greatest length; False when there is none.

        Where only what is under way stands in the way it waits: most of those answers turn out shorter.
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

    async def _ask(self, question: Question) -> Result:
        """One question to its end."""
        retry, attempt = self.client.endpoint.retry, 0
        while True:
            try:
                return await self._try(question)
            except AskError as error:
                if not self.answered and error.status in HOPELESS:
                    raise self.client.total_failure(error) from error
                times = BAD_REPLY_RETRIES if error.kind == "bad reply" else retry.times
                waits_too_long = (error.after or 0.0) > retry.longest_asked
                if (
                    error.kind not in RETRIED | {"bad reply"}
                    or attempt >= min(times, retry.times)
                    or waits_too_long
                ):
                    return self._failure(error)
                if error.after is not None:
                    self.pace.hold(error.after)
                await asyncio.sleep(max(error.after or 0.0, retry.delay(attempt)))
                attempt += 1

    async def _try(self, question: Question) -> TeacherAnswer:
        """One attempt; its place among the requests is free again while a retry waits."""
        async with self.pace.turn() as ticket:
            try:
                answer = await self.client.ask(question)
            except AskError as error:
                if error.kind in SLOWS:
                    self.pace.trouble(ticket)
                raise
        self.pace.success()
        self.budget.spend(answer.prompt_tokens, answer.tokens)
        self.answered, self.failed_in_a_row = True, 0
        return answer

    def _failure(self, error: AskError) -> Failure:
        if error.kind in RETRIED:
            self.failed_in_a_row += 1
            never = not self.answered
            if self.failed_in_a_row >= (FAILED_AT_FIRST if never else FAILED_IN_A_ROW) or (
                never and error.kind == "connection"
            ):
                raise self.client.total_failure(error) from error
        return Failure(error.kind, error.message)


class ServerTeacher:
    """Asks over HTTP, many questions at once."""

    logits: Logits = "top-k"
    """By `top_logprobs`, at most 20 a token."""
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
        """The model's name at the server, looked up there when the settings name none."""

        async def look() -> AsyncGenerator[str, None]:
            async with ChatClient(self.endpoint) as client:
                yield await client.choose_model()

        if not self._model:
            (self._model,) = iterate(look)
        return self._model

    def key(self, question: Question) -> str:
        place = self.endpoint
        parts = [
            "server",
            place.url,
            self.model,
            question.system_prompt,
            question.instruction,
            place.max_new_tokens,
            place.temperature,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def load(self, on_event: EventSink) -> None:
        """See that it is there, where the settings do not name its model."""
        _ = self.model

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
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

    def stream(self, question: Question, asking: Asking) -> Generator[StreamChunk, None, None]:
        endpoint = replace(
            self.endpoint, max_new_tokens=asking.max_new_tokens, temperature=asking.temperature
        )

        async def pieces() -> AsyncGenerator[StreamChunk, None]:
            async with ChatClient(endpoint) as client:
                async for piece in client.stream(question):
                    yield piece

        return iterate(pieces)

    def close(self) -> None:
        """Nothing is held between two askings."""
