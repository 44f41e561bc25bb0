"""The worker's replies: one line each in the pipe, and back as they were."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from qdl_engine.compare.comparison import Answer
from qdl_engine.compare.replies import (
    Answered,
    AskFailed,
    Chunk,
    Loaded,
    LoadFailed,
    Loading,
    Ready,
    Reply,
    from_line,
    to_line,
)


def test_every_kind_comes_back_as_it_was() -> None:
    about = {"id": "3-teacher", "name": "teacher"}
    replies: list[Reply] = [
        Ready(),
        Loading(**about),
        Loaded(2.5, 7, "CPU", **about),
        Chunk("one\ntwo ü", **about),
        Answered(Answer("why", "yes", 3, 1.0, 3.0, 0.1, "eos"), **about),
        LoadFailed("no model", "train", **about),
        AskFailed("too long", **about),
    ]
    assert {type(reply) for reply in replies} == set(get_args(Reply))
    for reply in replies:
        line = to_line(reply)
        assert line.count(b"\n") == 1 and line.endswith(b"\n")
        assert from_line(line) == reply


def test_text_that_no_encoding_holds_still_makes_a_line() -> None:
    assert from_line(to_line(Chunk("a\ud800"))) == Chunk("a?")
    assert isinstance(from_line(to_line(Loaded(math.nan, 1, "CPU"))), Loaded)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"[1]",
        b"7",
        b'{"event": "dance"}',
        b'{"event": "chunk"}',
        b'{"event": "ready", "x": 1}',
        b'{"event": ["chunk"], "text": "a"}',
        b'{"event": "answer", "answer": {"tokens": 1}}',
    ],
)
def test_what_is_no_reply_reads_as_none(line: bytes) -> None:
    assert from_line(line) is None
