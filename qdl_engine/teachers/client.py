"""A client for one OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, or a hosted one.

It sends one request at a time; `server` sends many, with retries. It follows no redirect, so the key goes to
the one host that the settings name. Why httpx2 and not the `openai` package: masking the key, bounding a
reply in bytes and in time, and retries that free their place would remain ours; `import openai` takes 1.4 s.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx2

from qdl_engine.core.errors import ModelError
from qdl_engine.core.words import one_line
from qdl_engine.models.generate import Stopped, StreamChunk
from qdl_engine.settings.address import Secret, is_local
from qdl_engine.teachers.base import NoAnswerError, Question, TeacherAnswer
from qdl_engine.teachers.reply import Reply, RequestError, body_error, events, parse_reply

CONNECT_SECONDS = 10.0
LONGEST_REPLY = 32 << 20
"""Bytes; an endless reply must not fill the memory before its time is up."""
TOO_LONG = ("context length", "context_length", "maximum context", "too many tokens", "exceeds the context")
HOPELESS = frozenset({401, 402, 403, 404, *range(300, 400)})
"""From a server that has not answered yet, these mean wrong settings, not a wrong question."""


@dataclass(frozen=True)
class Retry:
    """How often a failed request is sent again, and when."""

    times: int = 5
    base: float = 0.5
    """Seconds; doubled for each attempt."""
    longest: float = 30.0
    longest_requested: float = 120.0
    """We do not wait longer for a server that wants it: the row fails, and the next labelling asks again."""

    def delay(self, attempt: int) -> float:
        """Seconds before attempt `attempt` + 1: exponential, with full jitter.

        Source: Brooker, "Exponential Backoff and Jitter" (2015): uniform(0, min(cap, base * 2^attempt)).
        """
        return random.uniform(0, min(self.longest, self.base * 2**attempt))


@dataclass(frozen=True)
class Endpoint:
    """One model at one server, and how to ask it."""

    url: str
    """As `server_url` returns it."""
    model: str = ""
    """Its name there; empty for the only model that the server has."""
    key: Secret = field(default_factory=Secret)
    max_new_tokens: int = 1024
    temperature: float = 0.0
    timeout: float = 300.0
    """Seconds for one answer, from the request to its last byte."""
    concurrency: int = 8
    retry: Retry = field(default_factory=Retry)


class ChatClient:
    """Speaks to one endpoint; an async context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.model = endpoint.model
        self._limit_field = "max_tokens"
        self._stream_options = True
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {endpoint.key.value}"} if endpoint.key else {},
            follow_redirects=False,
            timeout=httpx2.Timeout(endpoint.timeout, connect=min(CONNECT_SECONDS, endpoint.timeout)),
            limits=httpx2.Limits(max_connections=None),
            # A proxy to the outside does not lead back to this machine.
            trust_env=not is_local(endpoint.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def models(self) -> list[str]:
        """The models that the server lists.

        Raises:
            RequestError: when it lists none that can be read.
        """
        async with self._request("GET", "/models", None) as response:
            body = await _read(response)
        try:
            listed = json.loads(body)["data"]
            return [self.endpoint.key.mask(str(entry["id"])) for entry in listed]
        except (ValueError, KeyError, TypeError, RecursionError) as cause:
            raise RequestError("bad reply", "its list of models cannot be read") from cause

    async def choose_model(self) -> str:
        """The model to ask: the named one, or the only one the server has.

        Raises:
            ModelError: when the settings name none and the server lists none, or several.
        """
        if self.model:
            return self.model
        try:
            names = await self.models()
        except RequestError as error:
            raise self.total_failure(error) from error
        if len(names) != 1:
            listed = ", ".join(one_line(name, 80) for name in names[:10]) or "none"
            raise ModelError(
                f"The server at {self.endpoint.url} has {len(names)} models; name one",
                f"Set teacher.model to one of: {listed}.",
            )
        self.model = names[0]
        return self.model

    async def ask(self, question: Question) -> TeacherAnswer:
        """The answer to one question, sent once.

        Raises:
            RequestError: when there is no answer.
        """
        started = time.perf_counter()
        while True:
            try:
                async with self._request("POST", "/chat/completions", self._payload(question)) as response:
                    reply = parse_reply(await _read(response), self.endpoint.key)
                return reply.answer(question.prompt, time.perf_counter() - started)
            except RequestError as error:
                if error.status == 400 and any(mark in error.message.lower() for mark in TOO_LONG):
                    return TeacherAnswer("", 0, "too long", seconds=time.perf_counter() - started)
                if not self._adapt(error):
                    raise

    async def stream(self, question: Question) -> AsyncGenerator[StreamChunk, None]:
        """The answer to one question, piece by piece; an empty piece now and then while nothing comes.

        Raises:
            NoAnswerError: when this question has no answer.
            ModelError: when the server does not answer.
        """
        try:
            await self.choose_model()
            while True:
                try:
                    async for piece in self._stream_once(question):
                        yield piece
                    return
                except RequestError as error:
                    if not self._adapt(error):
                        raise
        except RequestError as error:
            if error.kind in ("refused", "bad reply") and error.status not in HOPELESS:
                raise NoAnswerError(f"No answer from {self.model}: {error.message}") from error
            raise self.total_failure(error) from error

    async def _stream_once(self, question: Question) -> AsyncIterator[StreamChunk]:
        payload = self._payload(question) | {"stream": True}
        if self._stream_options:
            payload["stream_options"] = {"include_usage": True}
        reply, started, first, pieces = Reply(self.endpoint.key), time.perf_counter(), 0.0, 0
        async with self._request("POST", "/chat/completions", payload) as response:
            async for data in events(response):
                shown = reply.take_json(data) if data is not None else ""
                seconds = time.perf_counter() - started
                if shown:
                    pieces += 1
                    first = first or seconds
                if shown or data is None:
                    yield StreamChunk(shown, pieces, first, False, seconds)
        held, seconds = reply.end(), time.perf_counter() - started
        answer = reply.answer(question.prompt, seconds)
        stopped: Stopped = "length" if reply.finish == "length" else "eos"
        tokens = reply.tokens if reply.counted else pieces
        yield StreamChunk(held, tokens, first, True, seconds, stopped, answer.reason)

    def _payload(self, question: Question) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": question.messages,
            self._limit_field: self.endpoint.max_new_tokens,
            "temperature": self.endpoint.temperature,
        }

    def _adapt(self, error: RequestError) -> bool:
        """Change a field that this server rejects; True when another try is worth it."""
        if error.status not in (400, 422):
            return False
        if self._limit_field == "max_tokens" and "max_completion_tokens" in error.message:
            self._limit_field = "max_completion_tokens"
            return True
        if self._stream_options and "stream_options" in error.message:
            self._stream_options = False
            return True
        return False

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, payload: dict[str, Any] | None
    ) -> AsyncIterator[httpx2.Response]:
        """The response, its body not read yet; whatever goes wrong becomes a `RequestError`."""
        # A lone surrogate from a data set cannot be sent as UTF-8; ASCII escapes can.
        content = None if payload is None else json.dumps(payload).encode("ascii")
        headers = {"Content-Type": "application/json"} if content else {}
        request = self._http.build_request(method, self.endpoint.url + path, content=content, headers=headers)
        try:
            # httpx2's own limit is on each read: a server that drips bytes would never meet it.
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self._http.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        raise status_error(response, await _read(response), self.endpoint.key)
                    yield response
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException) as cause:
            raise RequestError("timeout", f"no answer within {self.endpoint.timeout:g} s") from cause
        except httpx2.DecodingError as cause:
            raise RequestError("bad reply", "the reply cannot be decompressed") from cause
        except httpx2.RequestError as cause:
            said = self.endpoint.key.mask(str(cause) or type(cause).__name__)
            raise RequestError("connection", one_line(said, 160)) from cause

    def total_failure(self, error: RequestError) -> ModelError:
        """What to tell a person when the trouble is the server and not this question."""
        url, said = self.endpoint.url, error.message
        if error.status in (401, 403):
            return ModelError(
                f"The server at {url} rejects the key: {said}",
                "Set teacher.api_key_env to the variable that holds it, or teacher.api_key_file.",
            )
        if error.status == 402:
            return ModelError(f"No credit left at {url}: {said}", "The answers so far are kept.")
        if error.status == 404:
            return ModelError(
                f"The server at {url} does not know {self.model or 'its models'}: {said}",
                "Set teacher.model to a name it serves (empty: its only one), or correct teacher.url.",
            )
        if 300 <= error.status < 400:
            return ModelError(
                f"The server at {url} redirects to another address: {said}",
                "qdl does not follow it, to protect the key. Set teacher.url to that address.",
            )
        return ModelError(
            f"No answer from the server at {url}: {said}",
            "Check that it runs and that teacher.url is right. The answers so far are kept: the same command "
            "resumes.",
        )


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LONGEST_REPLY:
            raise RequestError("bad reply", f"the reply is longer than {LONGEST_REPLY >> 20} MiB")
    return bytes(body)


def status_error(response: httpx2.Response, body: bytes, key: Secret) -> RequestError:
    """What a status other than 200 means for the question."""
    status, said = response.status_code, body_error(body, key)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    wait = retry_after(response.headers.get("Retry-After"))
    if status == 429:
        if "insufficient_quota" in body.decode("utf-8", errors="replace"):
            return RequestError("refused", message, status=402)
        return RequestError("rate limited", message, status=status, retry_after=wait)
    if status == 408:
        return RequestError("timeout", message, status=status)
    if status >= 500:
        return RequestError("server error", message, status=status, retry_after=wait)
    if 300 <= status < 400:
        place = one_line(key.mask(response.headers.get("Location", "")), 120)
        message = f"HTTP {status}: redirected to {place or 'nowhere'}"
    return RequestError("refused", message, status=status)


def retry_after(header: str | None) -> float | None:
    """Seconds in a `Retry-After` header, written as seconds or as a date (RFC 9110, 10.2.3)."""
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
