"""How many requests at once, and how long to wait after one that failed.

What can go wrong with one request, and what a person is told when it goes wrong with all of them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx2

from qdl_engine.core.errors import ModelError
from qdl_engine.core.words import one_line
from qdl_engine.settings.address import Secret
from qdl_engine.teachers.base import FailureKind
from qdl_engine.teachers.wire import body_error

START_WIDTH = 2


@dataclass
class Pace:
    """Requests under way: more while all goes well, half as many after trouble (AIMD, as TCP does it).

    The width starts at 2, grows by one for each window of as many successes as it is wide, and is halved
    once for each burst of trouble: what was asked before the halving cannot halve it again.
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


@dataclass(frozen=True)
class Retry:
    """How often a failed request is sent again, and when."""

    times: int = 5
    base: float = 0.5
    """Seconds; doubled for each attempt."""
    longest: float = 30.0
    longest_asked: float = 120.0
    """A server that asks for a longer wait is not waited for: the row fails and is asked next time."""

    def delay(self, attempt: int) -> float:
        """Seconds before attempt `attempt` + 1: exponential, with full jitter.

        Source: Brooker, "Exponential Backoff and Jitter" (2015): uniform(0, min(cap, base * 2^attempt)).
        """
        return random.uniform(0, min(self.longest, self.base * 2**attempt))


def retry_after(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, written as seconds or as a date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


HOPELESS = frozenset({401, 402, 403, 404, *range(300, 400)})
"""From a server that has not answered yet these are wrong settings, not a wrong question."""


class AskError(Exception):
    """One request without an answer."""

    def __init__(
        self, kind: FailureKind, message: str, *, status: int = 0, after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.status = status
        self.after = after
        """Seconds after which the server wants to be asked again."""


def status_error(response: httpx2.Response, body: bytes, key: Secret) -> AskError:
    """What a status other than 200 means for the question."""
    status, said = response.status_code, body_error(body, key)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    after = retry_after(response.headers.get("Retry-After"))
    if status == 429:
        if "insufficient_quota" in body.decode("utf-8", errors="replace"):
            return AskError("refused", message, status=402)
        return AskError("rate limited", message, status=status, after=after)
    if status == 408:
        return AskError("timeout", message, status=status)
    if status >= 500:
        return AskError("server error", message, status=status, after=after)
    if 300 <= status < 400:
        place = one_line(key.mask(response.headers.get("Location", "")), 120)
        return AskError("refused", f"HTTP {status}: redirected to {place or 'nowhere'}", status=status)
    return AskError("refused", message, status=status)


def total_failure(error: AskError, url: str, model: str) -> ModelError:
    """What to tell a person when not this question but the server is the trouble."""
    said = error.message
    if error.status in (401, 403):
        return ModelError(
            f"The server at {url} refuses the key: {said}",
            "Set teacher.api_key_env to the variable that holds it, or teacher.api_key_file.",
        )
    if error.status == 402:
        return ModelError(f"No credit left at {url}: {said}", "What is answered stays. Go on later.")
    if error.status == 404:
        return ModelError(
            f"The server at {url} does not know {model or 'its models'}: {said}",
            "Set teacher.model to a name it serves (empty: its only one), or mend teacher.url.",
        )
    if 300 <= error.status < 400:
        return ModelError(
            f"The server at {url} wants to be asked elsewhere: {said}",
            "Redirects are not followed, for the key's sake. Set teacher.url to that address.",
        )
    return ModelError(
        f"No answer from the server at {url}: {said}",
        "Look whether it runs and teacher.url is right. What is answered stays: go on with the same command.",
    )
