"""The worker: one question, one answer, whatever comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdl_engine.compare.ask import ModelSpec
from qdl_engine.compare.replies import Answered, AskFailed, Chunk, Loaded, LoadFailed, Loading, Ready
from tests.engine.compare.worker_process import Process
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    path = make_tiny_model(tmp_path_factory.mktemp("worker") / "model", seed=4, lively=True)
    return ModelSpec("system1", str(path), "system1")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, student: ModelSpec) -> Iterator[Process]:
    """A worker that holds the student."""
    process = Process(tmp_path_factory.mktemp("worker") / "stderr")
    assert isinstance(process.receive(), Ready)
    process.ask("0", student, max_new_tokens=1)
    loading, loaded, *_ = process.until(Answered)
    assert loading == Loading(id="0", name="system1")
    assert isinstance(loaded, Loaded) and loaded.parameters > 0 and loaded.seconds > 0
    yield process
    process.process.kill()
    process.process.wait()


def test_an_answer_streams_in_from_a_model_in_memory(worker: Process, student: ModelSpec) -> None:
    worker.ask("1", student, max_new_tokens=30)
    loaded, *chunks, answer = worker.until(Answered)
    assert isinstance(loaded, Loaded), "it was not loaded again"
    assert {type(chunk) for chunk in chunks} == {Chunk}
    assert {(reply.id, reply.name) for reply in (loaded, *chunks, answer)} == {("1", "system1")}
    assert "".join(chunk.text for chunk in chunks).strip() == answer.answer.answer
    assert (answer.answer.tokens, answer.answer.stopped, answer.answer.reason) == (30, "length", "cut")
    assert answer.answer.seconds >= answer.answer.first_token_seconds > 0
    assert answer.answer.tokens_per_second > 0


def test_a_cancel_stops_the_answer_and_those_that_wait(worker: Process, student: ModelSpec) -> None:
    worker.ask("2", student, max_new_tokens=4000)
    worker.ask("3", student, max_new_tokens=4000)
    worker.until(Chunk)
    worker.send(op="cancel", id="3")
    worker.send(op="cancel", id="2")
    answers = [worker.until(Answered)[-1], worker.until(Answered)[-1]]
    assert [(answer.id, answer.answer.stopped) for answer in answers] == [
        ("2", "cancelled"),
        ("3", "cancelled"),
    ]
    assert 0 < answers[0].answer.tokens < 4000
    assert answers[1].answer.tokens == 0


def test_a_question_cancelled_before_its_turn_loads_nothing(worker: Process, student: ModelSpec) -> None:
    worker.ask("busy", student, max_new_tokens=4000)
    worker.ask("later", ModelSpec("system2", student.path, "system2"))
    worker.until(Chunk)
    worker.send(op="cancel", id="later")
    worker.send(op="cancel", id="busy")
    assert worker.until(Answered)[-1].id == "busy"
    answer = worker.receive()
    assert (answer.id, answer.answer.stopped) == ("later", "cancelled")


def test_weights_that_were_written_again_are_loaded_again(worker: Process, tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "model")
    spec = ModelSpec("teacher", str(path), "system1")
    kinds = []
    for number in ("4", "5", "6"):
        worker.ask(number, spec, max_new_tokens=1)
        kinds.append(type(worker.until(Answered)[0]))
        if number == "5":
            os.utime(path / "config.json", (1, 1))
    assert kinds == [Loading, Loaded, Loading]


def test_a_model_that_is_not_there(worker: Process, tmp_path: Path) -> None:
    worker.ask("7", ModelSpec("system2", str(tmp_path / "gone"), "system2"))
    failed = worker.until(LoadFailed)[-1]
    assert (failed.id, failed.name) == ("7", "system2")
    assert failed.message == f"Model not found at {tmp_path / 'gone'}"
    assert failed.hint


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"not json", b"[1]", b'{"id": 1}', b'{"op": "dance"}', b'{"op": "ask", "id": "5"}']
)
def test_nonsense_is_answered_and_survived(worker: Process, line: bytes) -> None:
    worker.write(line + b"\n")
    assert isinstance(worker.receive(), AskFailed)


def test_a_prompt_no_tokenizer_takes_is_survived(worker: Process, student: ModelSpec) -> None:
    worker.ask("8", student, prompt="\ud800", max_new_tokens=3)
    assert worker.until(Answered, AskFailed)[-1].id == "8"
    worker.ask("9", student, max_new_tokens=3)
    assert worker.until(Answered)[-1].id == "9"


def test_quit_and_the_end_of_stdin_end_it(tmp_path: Path) -> None:
    first, second = Process(tmp_path / "a"), Process(tmp_path / "b")
    for process in (first, second):
        assert isinstance(process.receive(), Ready)
    first.send(op="quit")
    assert first.process.wait(20) == 0
    assert second.end() == 0


def test_the_end_of_stdin_ends_an_answer_too(worker: Process, student: ModelSpec) -> None:
    """Last of this module: it ends the shared worker in the middle of a long answer."""
    worker.ask("10", student, max_new_tokens=4000)
    worker.until(Chunk)
    assert worker.end() == 0
