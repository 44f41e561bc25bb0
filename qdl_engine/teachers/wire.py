"""The words of the OpenAI-compatible chat protocol: replies read with suspicion.

Streamed replies: the events of a response, and their pieces as they stand in a completion.
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
from qdl_engine.models.generate import REPEAT_LIMIT, Reason
from qdl_engine.settings.address import Masking, Secret
from qdl_engine.teachers.base import TeacherAnswer

BYTES_PER_TOKEN = 4
"""For servers that do not count: English text."""


class BadReplyError(ValueError):
    """A reply that is no answer; the message says what it is instead."""


class FilteredError(ValueError):
    """The server's own filter took the answer away."""


@dataclass
class Reply:
    """An answer as it comes in, whole or in pieces; the key it was asked with is masked in it."""

    key: Secret = field(default_factory=Secret)
    text: str = ""
    reasoning: str = ""
    finish: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    counted: bool = False
    """Whether the server said how many tokens it were."""

    def __post_init__(self) -> None:
        secret = self.key.in_answers
        self._masked_reasoning, self._masked_text = Masking(secret), Masking(secret)

    def take(self, value: Any) -> tuple[str, str]:
        """Take in a completion, or one piece of it; gives the new reasoning and text."""
        if not isinstance(value, dict):
            raise BadReplyError(f"no object but {type(value).__name__}")
        if value.get("error"):
            raise BadReplyError(f"an error: {error_text(value, self.key)}")
        self._take_usage(value.get("usage"))
        choices = value.get("choices")
        if not isinstance(choices, list):
            raise BadReplyError("no choices")
        if not choices:
            return "", ""
        choice = choices[0]
        if not isinstance(choice, dict):
            raise BadReplyError("a choice that is no object")
        self.finish = str(choice.get("finish_reason") or self.finish)
        return self._take_message(choice.get("message") or choice.get("delta") or {})

    def _take_message(self, message: Any) -> tuple[str, str]:
        if not isinstance(message, dict):
            raise BadReplyError("a message that is no object")
        # vLLM, SGLang and DeepSeek write reasoning_content; newer vLLM and Ollama write reasoning.
        reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
        text = message.get("content") or ""
        if not isinstance(text, str) or not isinstance(reasoning, str):
            raise BadReplyError("content that is no text")
        if not is_unicode(reasoning + text):
            raise BadReplyError("not valid Unicode")
        reasoning = self._masked_reasoning.take(reasoning)
        if text:
            reasoning += self._masked_reasoning.end()
        return self._add(reasoning, self._masked_text.take(text))

    def end(self) -> tuple[str, str]:
        """Take in that no more comes; gives the reasoning and text that the masking held back."""
        return self._add(self._masked_reasoning.end(), self._masked_text.end())

    def _add(self, reasoning: str, text: str) -> tuple[str, str]:
        self.reasoning += reasoning
        self.text += text
        return reasoning, text

    def _take_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        generated, prompt = usage.get("completion_tokens"), usage.get("prompt_tokens")
        if isinstance(generated, int) and generated >= 0:
            self.tokens, self.counted = generated, True
        if isinstance(prompt, int) and prompt >= 0:
            self.prompt_tokens = prompt

    def answer(self, prompt: str, seconds: float) -> TeacherAnswer:
        """The whole answer.

        Raises:
            BadReplyError: when it never said that it ended, or holds no choice.
            FilteredError: when the server's filter stopped it.
        """
        if self.finish == "content_filter":
            raise FilteredError("the server's content filter took the answer")
        if not self.finish and not self.text and not self.reasoning:
            raise BadReplyError("no choice")
        prompt_tokens = self.prompt_tokens or len(prompt.encode(errors="replace")) // BYTES_PER_TOKEN
        return TeacherAnswer(
            self.text, self.token_count, self._reason(), self.reasoning, prompt_tokens, seconds
        )

    @property
    def token_count(self) -> int:
        """As the server counts, or an estimate by length."""
        if self.counted:
            return self.tokens
        return -(-len((self.reasoning + self.text).encode(errors="replace")) // BYTES_PER_TOKEN)

    def _reason(self) -> Reason:
        text = self.text.strip()
        if self.finish == "length":
            return "repeated" if len(text) >= REPEAT_LIMIT and len(set(text)) == 1 else "cut"
        return "" if text else "empty"


def parse_reply(body: bytes, key: Secret) -> Reply:
    """A whole body: JSON, or a stream of events although none was asked for.

    Raises:
        BadReplyError: when it is neither, or was cut.
    """
    reply = Reply(key)
    text = body.decode("utf-8", errors="replace").strip()
    if not text.startswith(("data:", "event:", ":")):
        reply.take(_json(text, key))
        reply.end()
        if not reply.finish and not reply.text and not reply.reasoning:
            raise BadReplyError("no choice")
        return reply
    ended = False
    for line in text.splitlines():
        piece = event_data(line)
        if piece is None:
            continue
        if piece == "[DONE]":
            ended = True
            break
        reply.take(_json(piece, key))
    reply.end()
    if not ended and not reply.finish:
        raise BadReplyError("a stream that was cut")
    return reply


def event_data(line: str) -> str | None:
    """What a line of a server-sent stream carries; None for its comments, names and gaps."""
    return line[5:].strip() if line.startswith("data:") else None


def take_event(reply: Reply, data: str) -> tuple[str, str]:
    """Take in one event of a stream; gives the new reasoning and text."""
    return reply.take(_json(data, reply.key))


def _json(text: str, key: Secret) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise BadReplyError(f"not JSON: {one_line(key.mask(text), 60)!r}") from broken


def error_text(value: Any, key: Secret) -> str:
    """What a server says is wrong, in one line without the key, whatever shape it has."""
    if isinstance(value, dict):
        inner = value.get("error") or value.get("message") or value.get("detail") or value
        if isinstance(inner, dict):
            inner = inner.get("message") or inner
        value = inner
    return one_line(key.mask(value if isinstance(value, str) else json.dumps(value, default=str)), 200)


def body_error(body: bytes, key: Secret) -> str:
    """The same out of a body, which may be a page of HTML or nothing."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        return error_text(json.loads(text), key)
    except (ValueError, RecursionError):
        return one_line(key.mask(text), 200)


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
