"""The worker as the app meets it: a process, pipes, JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_tiny_model


class Process:
    """A worker with its pipes."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qdl_engine.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )

    def send(self, **request: Any) -> None:
        self.write(json.dumps(request).encode() + b"\n")

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the worker ended: {self.log.read_text()}"
        event: dict[str, Any] = json.loads(line)
        return event

    def until(self, *kinds: str) -> list[dict[str, Any]]:
        events = [self.receive()]
        while events[-1]["event"] not in kinds:
            events.append(self.receive())
        return events

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("worker") / "model", seed=4, lively=True)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("worker") / "stderr")
    assert process.receive()["event"] == "ready"
    process.send(op="load", name="system1", path=str(model))
    loaded = process.receive()
    assert (loaded["event"], loaded["name"]) == ("loaded", "system1")
    yield process
    process.process.kill()
    process.process.wait()


def ask(worker: Process, number: str, **more: Any) -> None:
    worker.send(op="ask", id=number, name="system1", prompt="Hello", mode="system1", **more)


def test_an_answer_streams_in(worker: Process) -> None:
    ask(worker, "1", max_new_tokens=30)
    *chunks, answer = worker.until("answer")
    assert {chunk["event"] for chunk in chunks} == {"chunk"}
    assert {(event["id"], event["name"]) for event in (*chunks, answer)} == {("1", "system1")}
    assert "".join(chunk["text"] for chunk in chunks).strip() == answer["answer"]
    assert (answer["tokens"], answer["stopped"], answer["reason"]) == (30, "length", "cut")
    assert answer["seconds"] >= answer["first_token_seconds"] > 0
    assert answer["tokens_per_second"] > 0


def test_a_cancel_stops_the_answer_and_those_that_wait(worker: Process) -> None:
    ask(worker, "2", max_new_tokens=4000)
    ask(worker, "3", max_new_tokens=4000)
    worker.until("chunk")
    worker.send(op="cancel", id="3")
    worker.send(op="cancel", id="2")
    answers = [worker.until("answer")[-1], worker.until("answer")[-1]]
    assert [(answer["id"], answer["stopped"]) for answer in answers] == [
        ("2", "cancelled"),
        ("3", "cancelled"),
    ]
    assert 0 < answers[0]["tokens"] < 4000
    assert answers[1]["tokens"] == 0


def test_a_load_whose_question_is_cancelled_before_its_turn_does_not_load(
    worker: Process, model: Path
) -> None:
    ask(worker, "busy", max_new_tokens=4000)
    worker.send(op="load", id="later", name="system2", path=str(model))
    worker.send(op="ask", id="later", name="system2", prompt="Hello", mode="system1")
    worker.send(op="cancel", id="later")
    worker.send(op="cancel", id="busy")
    kinds = [(event["event"], event.get("id")) for event in worker.until("not_loaded") if "id" in event]
    assert kinds[-1] == ("not_loaded", "later")
    (*_, answer) = worker.until("answer")
    assert answer["id"] == "later" and answer["stopped"] == "cancelled"


def test_a_model_that_is_not_there(worker: Process, tmp_path: Path) -> None:
    worker.send(op="load", name="system2", path=str(tmp_path / "gone"))
    failed = worker.receive()
    assert (failed["event"], failed["name"]) == ("load_failed", "system2")
    assert failed["message"] == f"Model not found at {tmp_path / 'gone'}"
    assert failed["hint"]
    assert "id" not in failed
    worker.send(op="ask", id="4", name="system2", prompt="Hello")
    error = worker.receive()
    assert (error["event"], error["id"], error["message"]) == ("error", "4", "system2 is not loaded")


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"not json", b"[1]", b'{"id": 1}', b'{"op": "dance"}', b'{"op": "ask", "id": "5"}']
)
def test_nonsense_is_answered_and_survived(worker: Process, line: bytes) -> None:
    worker.write(line + b"\n")
    assert worker.receive()["event"] == "error"


def test_a_prompt_no_tokenizer_takes_is_survived(worker: Process) -> None:
    worker.send(op="ask", id="6", name="system1", prompt="\ud800", max_new_tokens=3)
    assert worker.until("answer", "error")[-1]["id"] == "6"
    ask(worker, "7", max_new_tokens=3)
    assert worker.until("answer")[-1]["id"] == "7"


def test_unload(worker: Process, model: Path) -> None:
    worker.send(op="load", name="teacher", path=str(model), quantization="none")
    assert worker.receive()["event"] == "loaded"
    worker.send(op="unload", name="teacher")
    assert worker.receive()["event"] == "unloaded"


def test_quit_and_the_end_of_stdin_end_it(tmp_path: Path) -> None:
    first, second = Process(tmp_path / "a"), Process(tmp_path / "b")
    for process in (first, second):
        assert process.receive()["event"] == "ready"
    first.send(op="quit")
    assert first.process.wait(20) == 0
    assert second.end() == 0


def test_the_end_of_stdin_ends_an_answer_too(worker: Process) -> None:
    """Last of this module: it ends the shared worker in the middle of a long answer."""
    ask(worker, "8", max_new_tokens=4000)
    worker.until("chunk")
    assert worker.end() == 0
