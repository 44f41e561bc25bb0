"""A teacher at a server or in a file, beside the students: the library, `qdl compare`, the app's worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.compare.compare import compare_models
from qdl_engine.compare.export import markdown
from qdl_engine.compare.replies import Answered, AskFailed, Loaded, LoadFailed, Loading, Ready
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.settings.toml import save_settings
from qdl_engine.teachers.make import make_teacher
from tests.engine.compare.worker_process import Process, teacher_spec
from tests.engine.teachers.fault_server import FaultServer, fault_server
from tests.tiny import make_tiny_model


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"instruction": "One?", "output": "1"}\n{"instruction": "Two?", "output": "2"}\n')
    return path


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "stderr")
    assert isinstance(process.receive(), Ready)
    yield process
    process.process.kill()
    process.process.wait()


def at_server(server: FaultServer, **values: Any) -> TeacherSettings:
    return TeacherSettings(kind="server", model="", url=server.url, **values)


def test_a_server_answers_beside_the_students(server: FaultServer, tmp_path: Path) -> None:
    teacher = make_teacher(at_server(server), tmp_path)
    comparison = compare_models(["hello", "a reasoning stream", "400"], teacher_model=teacher)
    told = comparison.models["teacher"]
    assert told.path == f"the-model at {server.url}" and told.parameters == 0
    first, second, failed = told.answers
    assert (first.answer, first.tokens, first.stopped) == ("HELLO", 1, "eos")
    assert (second.reasoning, second.answer) == ("six", "42")
    assert "bad words" in failed.shown and not failed.answer
    assert all(payload["stream"] for payload in server.payloads)


def test_a_file_answers_what_it_knows(answers: Path, tmp_path: Path) -> None:
    teacher = make_teacher(TeacherSettings(kind="file", answers="answers.jsonl"), tmp_path)
    comparison = compare_models(["One?", "Three?"], teacher_model=teacher)
    told = comparison.models["teacher"]
    assert told.answers[0].answer == "1"
    assert told.speed == "-" and "tokens/s, first" not in markdown(comparison), "nothing was generated"
    assert "has no answer to this prompt" in told.answers[1].shown


def test_a_file_that_is_not_there_skips_the_teacher(tmp_path: Path) -> None:
    teacher = make_teacher(TeacherSettings(kind="file", answers="none.jsonl"), tmp_path)
    assert "none.jsonl" in compare_models(["One?"], teacher_model=teacher).skipped["teacher"]


def test_qdl_compare_asks_the_server(
    server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    save_settings(lab, LabSettings(teacher=at_server(server)))
    assert main(["--lab", str(lab.root), "--json", "compare", "--only", "teacher", "good morning"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["models"]["teacher"]["answers"][0]["answer"] == "GOOD MORNING"
    assert main(["--lab", str(lab.root), "comparisons", "latest"]) == 0
    assert "teacher          unknown" in capsys.readouterr().out


def test_a_server_without_an_address_skips_the_teacher_and_the_students_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    lab.settings_file.write_text('[teacher]\nkind = "server"\n', encoding="utf-8")
    make_tiny_model(lab.system1_checkpoint)
    words = ["--lab", str(lab.root), "--json", "--set", "comparison.max_new_tokens=2", "compare"]
    assert main([*words, "--only", "teacher,system1", "One?"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert list(said["models"]) == ["system1"] and "teacher.url is empty" in said["skipped"]["teacher"]
    assert "teacher is skipped: teacher.url is empty" in err
    assert main([*words, "--only", "teacher", "One?"]) == 2, "there is nothing else to ask"


def test_the_worker_streams_from_a_server(server: FaultServer, worker: Process, tmp_path: Path) -> None:
    teacher = teacher_spec(at_server(server), tmp_path)
    worker.ask("1", teacher, prompt="one two", max_new_tokens=9, temperature=0.5)
    loading, loaded, *pieces, answer = worker.until(Answered)
    assert isinstance(loading, Loading) and isinstance(loaded, Loaded) and loaded.parameters == 0
    assert [piece.text for piece in pieces] == ["ONE ", "TWO "]
    assert answer.answer.answer == "ONE TWO"
    assert (server.payloads[-1]["max_tokens"], server.payloads[-1]["temperature"]) == (9, 0.5)


def test_a_cancel_does_not_wait_for_a_server_that_hangs(
    server: FaultServer, worker: Process, tmp_path: Path
) -> None:
    worker.ask("1", teacher_spec(at_server(server), tmp_path), prompt="silence")
    assert worker.until(Loaded)
    worker.send(op="cancel", id="1")
    assert worker.receive().answer.stopped == "cancelled"


def test_the_worker_says_what_a_file_does_not_know(worker: Process, answers: Path, tmp_path: Path) -> None:
    teacher = teacher_spec(TeacherSettings(kind="file", answers=str(answers)), tmp_path)
    worker.ask("1", teacher, prompt="Three?")
    assert "has no answer to this prompt" in worker.until(AskFailed)[-1].message
    worker.ask("2", teacher, prompt="Two?")
    assert worker.until(Answered)[-1].answer.answer == "2"


def test_a_teacher_whose_settings_do_not_suffice_does_not_load(worker: Process, tmp_path: Path) -> None:
    worker.ask("1", teacher_spec(TeacherSettings(kind="server", url=""), tmp_path), prompt="One?")
    failed = worker.until(LoadFailed)[-1]
    assert (failed.id, failed.name) == ("1", "teacher") and "teacher.url is empty" in failed.message
