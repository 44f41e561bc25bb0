"""One model at one server, and how it is asked.

A client for an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, or a hosted one.

One request at a time is this module's matter; many at once, with retries, are `asking`'s. Redirects are
never followed, so the key goes to the one host that the settings name.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from qdl_engine.core.errors import ModelError
from qdl_engine.core.words import one_line
from qdl_engine.models.generate import Stopped, StreamChunk
from qdl_engine.settings.address import Secret, is_local
from qdl_engine.teachers.base import NoAnswerError, Question, TeacherAnswer
from qdl_engine.teachers.pace import HOPELESS, AskError, Retry, status_error, total_failure
from qdl_engine.teachers.wire import (
    BadReplyError,
    FilteredError,
    Reply,
    events,
    parse_reply,
    tagged,
    take_event,
)


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, what for, and how patiently."""

    url: str
    """As `server_url` returns it."""
    model: str = ""
    """Its name there; empty is the one model that is served."""
    key: Secret = field(default_factory=Secret)
    max_new_tokens: int = 1024
    temperature: float = 0.0
    timeout: float = 300.0
    """Seconds for one answer, from the request to its last byte."""
    concurrency: int = 8
    retry: Retry = field(default_factory=Retry)


CONNECT_SECONDS = 10.0
LONGEST_REPLY = 32 << 20
"""Bytes; a reply without end must not fill the memory before its time is up."""
TOO_LONG = ("context length", "context_length", "maximum context", "too many tokens", "exceeds the context")


class ChatClient:
    """Speaks to one endpoint; use it as an async context manager."""

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
            # A proxy for the world is none for this machine.
            trust_env=not is_local(endpoint.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def models(self) -> list[str]:
        """The models that the server says it has.

        Raises:
            AskError: when it does not say.
        """
        async with self._request("GET", "/models", None) as response:
            body = await _read(response)
        try:
            listed = json.loads(body)["data"]
            return [self._mask(str(entry["id"])) for entry in listed]
        except (ValueError, KeyError, TypeError, RecursionError) as broken:
            raise AskError("bad reply", "its list of models cannot be read") from broken

    async def choose_model(self) -> str:
        """The model that is asked: the named one, or the only one the server has.

        Raises:
            ModelError: when none is named and the server has none, or several, or does not say.
        """
        if self.model:
            return self.model
        try:
            names = await self.models()
        except AskError as error:
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
        """One question, sent once.

        Raises:
            AskError: when there is no answer.
        """
        started = time.perf_counter()
        while True:
            payload = self._payload(question)
            try:
                async with self._request("POST", "/chat/completions", payload) as response:
                    reply = parse_reply(await _read(response), self.endpoint.key)
                return reply.answer(question.prompt, time.perf_counter() - started)
            except AskError as error:
                if error.status == 400 and any(mark in error.message.lower() for mark in TOO_LONG):
                    return TeacherAnswer("", 0, "too long", seconds=time.perf_counter() - started)
                if not self._adapt(error):
                    raise
            except BadReplyError as error:
                raise AskError("bad reply", f"the reply is {error}") from error
            except FilteredError as error:
                raise AskError("refused", str(error)) from error

    async def stream(self, question: Question) -> AsyncGenerator[StreamChunk, None]:
        """One question, its answer piece by piece; an empty piece now and then while nothing comes.

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
                except AskError as error:
                    if not self._adapt(error):
                        raise
        except AskError as error:
            if error.kind in ("refused", "bad reply") and error.status not in HOPELESS:
                raise NoAnswerError(f"No answer from {self.model}: {error.message}") from error
            raise self.total_failure(error) from error
        except (BadReplyError, FilteredError) as error:
            raise NoAnswerError(f"No answer from {self.model}: {error}") from error

    async def _stream_once(self, question: Question) -> AsyncIterator[StreamChunk]:
        payload = self._payload(question) | {"stream": True}
        if self._stream_options:
            payload["stream_options"] = {"include_usage": True}
        reply, started, first, pieces = Reply(self.endpoint.key), time.perf_counter(), 0.0, 0
        async with self._request("POST", "/chat/completions", payload) as response:
            async for data in events(response):
                if data is None:
                    yield StreamChunk("", pieces, first, False, time.perf_counter() - started)
                    continue
                before = reply.reasoning, reply.text
                reasoning, text = take_event(reply, data)
                shown = tagged(before, reasoning, text)
                if shown:
                    pieces += 1
                    seconds = time.perf_counter() - started
                    first = first or seconds
                    yield StreamChunk(shown, pieces, first, False, seconds)
        before = reply.reasoning, reply.text
        held = tagged(before, *reply.end())
        seconds = time.perf_counter() - started
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

    def _adapt(self, error: AskError) -> bool:
        """Send it otherwise where a server wants that; True when it is worth another try."""
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
        """The response, its body not read yet; what goes wrong on the way is an AskError."""
        # A lone surrogate from a data set cannot be sent as UTF-8; ASCII escapes can.
        content = None if payload is None else json.dumps(payload).encode("ascii")
        headers = {"Content-Type": "application/json"} if content else {}
        request = self._http.build_request(method, self.endpoint.url + path, content=content, headers=headers)
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self._http.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        raise status_error(response, await _read(response), self.endpoint.key)
                    yield response
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException) as late:
            raise AskError("timeout", f"no answer within {self.endpoint.timeout:g} s") from late
        except httpx2.DecodingError as broken:
            raise AskError("bad reply", "the reply cannot be decompressed") from broken
        except httpx2.RequestError as broken:
            raise AskError("connection", one_line(self._mask(_cause(broken)), 160)) from broken

    def total_failure(self, error: AskError) -> ModelError:
        """What to tell a person when not this question but the server is the trouble."""
        return total_failure(error, self.endpoint.url, self.model)

    def _mask(self, text: str) -> str:
        return self.endpoint.key.mask(text)


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LONGEST_REPLY:
            raise AskError("bad reply", f"the reply is longer than {LONGEST_REPLY >> 20} MiB")
    return bytes(body)
