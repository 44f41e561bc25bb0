"""A server's reply in the OpenAI-compatible chat protocol, read with suspicion.

A reply comes whole or as the events of a stream. Either way the key that the request carried is masked in it,
and what is not an answer becomes a `RequestError`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from qdl_engine.core.prompts import THINK_CLOSE, THINK_OPEN
from qdl_engine.core.words import is_unicode, one_line
from qdl_engine.settings.address import Masking, Secret
from qdl_engine.teachers.base import FailureKind, TeacherAnswer, reason_of

BYTES_PER_TOKEN = 4
"""For servers that do not count tokens: English text."""
HEARTBEAT_SECONDS = 0.5


class RequestError(Exception):
    """One request without an answer."""

    def __init__(
        self, kind: FailureKind, message: str, *, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        """Seconds that the server wants us to wait."""


def bad_reply(what: str) -> RequestError:
    return RequestError("bad reply", f"the reply is {what}")


@dataclass
class Reply:
    """An answer as it arrives, whole or in pieces; the key of the request is masked in it."""

    key: Secret = field(default_factory=Secret)
    text: str = ""
    reasoning: str = ""
    finish: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    counted: bool = False
    """Whether the server reported token counts."""

    def __post_init__(self) -> None:
        secret = self.key.in_answers
        self._masked_reasoning, self._masked_text = Masking(secret), Masking(secret)

    def take_json(self, text: str) -> str:
        """Read a completion, or one piece of it, and give the new part as it stands in the completion.

        Raises:
            RequestError: when it is not a completion.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as cause:
            raise bad_reply(f"not JSON: {one_line(self.key.mask(text), 60)!r}") from cause
        return self.take(value)

    def take(self, value: Any) -> str:
        """The same for a decoded value."""
        if not isinstance(value, dict):
            raise bad_reply(f"not an object but {type(value).__name__}")
        if value.get("error"):
            raise bad_reply(f"an error: {error_text(value, self.key)}")
        self._take_usage(value.get("usage"))
        choices = value.get("choices")
        if not isinstance(choices, list):
            raise bad_reply("without choices")
        if not choices:
            return ""
        choice = choices[0]
        if not isinstance(choice, dict):
            raise bad_reply("a choice that is not an object")
        self.finish = str(choice.get("finish_reason") or self.finish)
        message = choice.get("message") or choice.get("delta") or {}
        if not isinstance(message, dict):
            raise bad_reply("a message that is not an object")
        # vLLM, SGLang and DeepSeek write reasoning_content; newer vLLM and Ollama write reasoning.
        reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
        text = message.get("content") or ""
        if not isinstance(text, str) or not isinstance(reasoning, str):
            raise bad_reply("content that is not text")
        if not is_unicode(reasoning + text):
            raise bad_reply("not valid Unicode")
        reasoning = self._masked_reasoning.take(reasoning)
        if text:
            reasoning += self._masked_reasoning.end()
        return self._add(reasoning, self._masked_text.take(text))

    def end(self) -> str:
        """Nothing more comes: the last part of the completion, which the masking held back."""
        return self._add(self._masked_reasoning.end(), self._masked_text.end())

    def _add(self, reasoning: str, text: str) -> str:
        """Add new text, and give it as it stands in the completion: reasoning between our tags."""
        shown = reasoning if self.reasoning or not reasoning else f"{THINK_OPEN}\n{reasoning}"
        if text:
            closes = (self.reasoning or reasoning) and not self.text
            shown += f"\n{THINK_CLOSE}\n{text}" if closes else text
        self.reasoning += reasoning
        self.text += text
        return shown

    def _take_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        generated, prompt = usage.get("completion_tokens"), usage.get("prompt_tokens")
        if isinstance(generated, int) and generated >= 0:
            self.tokens, self.counted = generated, True
        if isinstance(prompt, int) and prompt >= 0:
            self.prompt_tokens = prompt

    def answer(self, prompt: str, seconds: float) -> TeacherAnswer:
        """The whole answer; tokens are estimated by length where the server reports none.

        Raises:
            RequestError: when the reply holds no choice, or the server's filter stopped it.
        """
        if self.finish == "content_filter":
            raise RequestError("refused", "the server's content filter removed the answer")
        if not self.finish and not self.text and not self.reasoning:
            raise bad_reply("without a choice")
        tokens = self.tokens if self.counted else -(-_size(self.reasoning + self.text) // BYTES_PER_TOKEN)
        prompt_tokens = self.prompt_tokens or _size(prompt) // BYTES_PER_TOKEN
        reason = reason_of(self.text, cut=self.finish == "length")
        return TeacherAnswer(self.text, tokens, reason, self.reasoning, prompt_tokens, seconds)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def parse_reply(body: bytes, key: Secret) -> Reply:
    """A whole body: JSON, or a stream of events although none was requested.

    Raises:
        RequestError: when it is neither, or was cut.
    """
    reply = Reply(key)
    text = body.decode("utf-8", errors="replace").strip()
    if not text.startswith(("data:", "event:", ":")):
        reply.take_json(text)
        reply.end()
        return reply
    ended = False
    for line in text.splitlines():
        data = _event_data(line)
        if data == "[DONE]":
            ended = True
            break
        if data is not None:
            reply.take_json(data)
    reply.end()
    if not ended and not reply.finish:
        raise bad_reply("a stream that was cut")
    return reply


def _event_data(line: str) -> str | None:
    """The data in a line of a server-sent stream; None for its comments, names and gaps."""
    return line[5:].strip() if line.startswith("data:") else None


async def events(response: httpx2.Response) -> AsyncIterator[str | None]:
    """The data of each event of a stream; None when nothing came for a while.

    A server that answers at once, although a stream was requested, gives its whole body as one.
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
            data = _event_data(line)
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


def error_text(value: Any, key: Secret) -> str:
    """A server's error message in one line without the key, whatever shape it has."""
    if isinstance(value, dict):
        inner = value.get("error") or value.get("message") or value.get("detail") or value
        if isinstance(inner, dict):
            inner = inner.get("message") or inner
        value = inner
    return one_line(key.mask(value if isinstance(value, str) else json.dumps(value, default=str)), 200)


def body_error(body: bytes, key: Secret) -> str:
    """The error message in a body, which may be a page of HTML or empty."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        return error_text(json.loads(text), key)
    except (ValueError, RecursionError):
        return one_line(key.mask(text), 200)
