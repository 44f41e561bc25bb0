"""Replies read with suspicion: the key that a server quotes, and text that is none."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from qdl_engine.core.errors import ModelError
from qdl_engine.settings.address import Masking, Secret
from qdl_engine.teachers.base import NoAnswerError
from qdl_engine.teachers.client import status_error
from qdl_engine.teachers.reply import Reply, RequestError, parse_reply
from tests.engine.teachers.fault_server import FaultServer, completion
from tests.engine.teachers.test_client import stream

KEY = Secret('sk-SECRETKEY/0123456789"abcdef')
BEGINNING = "sk-SEC"


@pytest.mark.parametrize("cut", [60, 200])
def test_a_key_on_the_edge_of_a_cut_is_no_half_key(cut: int) -> None:
    for before in range(cut - len(KEY.value) - 1, cut + 1):
        text = "x" * before + KEY.value + "y" * 300
        bodies = [text.encode(), json.dumps({"error": text}).encode(), json.dumps({"seen": text}).encode()]
        for body in [*bodies, json.dumps({"error": json.dumps({"Authorization": text})}).encode()]:
            said = status_error(httpx2.Response(401), body, KEY).message
            assert BEGINNING not in said
        with pytest.raises(RequestError) as caught:
            parse_reply(text.encode(), KEY)
        assert BEGINNING not in str(caught.value)
        with pytest.raises(RequestError) as caught:
            parse_reply(json.dumps({"error": {"message": text}}).encode(), KEY)
        assert BEGINNING not in str(caught.value)


def test_an_answer_that_quotes_the_key_comes_without_it() -> None:
    text = f"Your key is {KEY.value}, sk-S"
    body = json.dumps(completion(text, reasoning_content=KEY.value)).encode()
    answer = parse_reply(body, KEY).answer("", 0.0)
    assert (answer.text, answer.reasoning) == ("Your key is ***, sk-S", "***")


def test_a_key_that_is_a_common_word_takes_nothing_from_an_answer() -> None:
    reply = parse_reply(json.dumps(completion("none of them")).encode(), Secret("none"))
    assert reply.text == "none of them"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_key_in_pieces_is_masked_and_nothing_is_lost(size: int) -> None:
    text = f"sk-S {KEY.value}{KEY.value} sk-"
    masking = Masking(KEY)
    pieces = [masking.take(text[start : start + size]) for start in range(0, len(text), size)]
    assert not any(BEGINNING in piece for piece in pieces)
    assert "".join(pieces) + masking.end() == "sk-S ****** sk-"


def test_a_key_in_the_pieces_of_a_stream_is_masked() -> None:
    reply = Reply(KEY)
    pieces: list[str] = []
    for name, text in (("reasoning_content", f"R {KEY.value} sk-"), ("content", f"T {KEY.value} sk-")):
        for character in text:
            event: dict[str, Any] = {"choices": [{"delta": {name: character}}]}
            pieces.append(reply.take(event))
    pieces.append(reply.end())
    assert (reply.reasoning, reply.text) == ("R *** sk-", "T *** sk-")
    assert "".join(pieces) == "<think>\nR *** sk-\n</think>\nT *** sk-"


def test_a_stream_that_ends_as_the_key_begins_is_whole(server: FaultServer) -> None:
    assert "".join(piece.text for piece in stream(server, "a b", key=Secret("B cccccccccccc"))) == "A B "


def test_a_model_named_like_the_key_is_not_named(server: FaultServer) -> None:
    server.models = [KEY.value, "another"]
    with pytest.raises(ModelError) as caught:
        stream(server, "hello", key=KEY)
    assert "***" in str(caught.value.hint) and BEGINNING not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_half_a_surrogate_pair_is_no_answer(field: str) -> None:
    value = completion("fine")
    value["choices"][0]["message"][field] = "a\ud800b"
    with pytest.raises(RequestError, match="not valid Unicode"):
        parse_reply(json.dumps(value).encode(), Secret())
    value["choices"][0]["message"][field] = "a\U0001f600b"
    assert parse_reply(json.dumps(value).encode(), Secret()).answer("", 0.0).tokens


def test_half_a_surrogate_pair_ends_a_stream_with_words(server: FaultServer) -> None:
    with pytest.raises(NoAnswerError, match="not valid Unicode"):
        stream(server, "half a pair")
