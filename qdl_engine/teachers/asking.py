"""Many questions to one server at once: paced, retried, within a budget, each with exactly one result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field

from qdl_engine.errors import ModelError
from qdl_engine.teachers.base import Failure, FailureKind, Question, Result, TeacherAnswer
from qdl_engine.teachers.budget import Budget, Need
from qdl_engine.teachers.chat import ChatClient
from qdl_engine.teachers.faults import HOPELESS, AskError
from qdl_engine.teachers.pace import Pace

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
