"""One client: streams, and what it sends where."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from qdl_engine.core.errors import ModelError
from qdl_engine.models.generate import StreamChunk
from qdl_engine.teachers.base import Question
from qdl_engine.teachers.client import ChatClient, Endpoint, Retry, retry_after
from qdl_engine.teachers.server import iterate
from tests.engine.teachers.fault_server import FaultServer


def stream(server: FaultServer, instruction: str, **values: Any) -> list[StreamChunk]:
    async def pieces() -> Any:
        async with ChatClient(Endpoint(server.url, **values)) as client:
            async for piece in client.stream(Question(instruction, "")):
                yield piece

    return list(iterate(pieces))


def test_an_answer_streams(server: FaultServer) -> None:
    pieces = stream(server, "one two three")
    assert "".join(piece.text for piece in pieces) == "ONE TWO THREE "
    assert [piece.done for piece in pieces] == [False, False, False, True]
    last = pieces[-1]
    assert (last.tokens, last.stopped, last.reason) == (3, "eos", "")
    assert 0 < last.first_token_seconds <= last.seconds


def test_streamed_reasoning_stands_between_our_tags(server: FaultServer) -> None:
    text = "".join(piece.text for piece in stream(server, "a reasoning stream"))
    assert text == "<think>\nsix\n</think>\n42 "


def test_a_server_that_does_not_stream_answers_as_one_piece(server: FaultServer) -> None:
    pieces = stream(server, "plain text type")
    assert [piece.text for piece in pieces] == ["fine", ""]


@pytest.mark.parametrize("fault", ["rubbish", "500 always", "html", "half a body", "no choices"])
def test_no_answer_is_an_error_a_person_can_read(server: FaultServer, fault: str) -> None:
    with pytest.raises(ModelError, match="No answer from"):
        stream(server, fault)


def test_a_silent_server_gives_empty_pieces_until_its_time_is_up(server: FaultServer) -> None:
    """So whoever reads can stop: the app's cancel must not wait for a server that hangs."""
    pieces = []
    with pytest.raises(ModelError, match=r"no answer within 1\.2 s"):
        for piece in _slow(server):
            pieces.append(piece)
    assert pieces and not any(piece.text or piece.done for piece in pieces)


def _slow(server: FaultServer) -> Any:
    async def pieces() -> Any:
        async with ChatClient(Endpoint(server.url, timeout=1.2)) as client:
            async for piece in client.stream(Question("silence", "")):
                yield piece

    return iterate(pieces)


def test_a_server_that_knows_the_limit_by_its_new_name(server: FaultServer) -> None:
    pieces = stream(server, "new name", max_new_tokens=7)
    assert pieces[0].text == "limit 7"


def test_a_lone_surrogate_can_be_asked(server: FaultServer) -> None:
    # This server echoes it, which makes it no answer.
    with pytest.raises(ModelError, match="not valid Unicode"):
        stream(server, "broken \ud800 text")
    assert server.payloads[-1]["messages"][-1]["content"] == "broken \ud800 text"


def test_a_retry_waits_longer_each_time_within_bounds() -> None:
    retry = Retry(base=1.0, longest=4.0)
    for attempt, most in enumerate([1.0, 2.0, 4.0, 4.0]):
        delays = [retry.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) <= max(delays) <= most
        assert max(delays) - min(delays) > most / 4


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0)])
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date_or_nothing() -> None:
    wait = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert wait is not None and 0 < wait <= 60
    assert retry_after(formatdate(0, usegmt=True)) == 0.0
    assert [retry_after(header) for header in (None, "", "soon", "nan?")] == [None] * 4
