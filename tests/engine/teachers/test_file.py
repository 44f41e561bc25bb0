"""A file of answers as a teacher: the formats it comes in, and what is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import Event, Note, no_sink
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.label.label import label_with_teacher
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.teachers.file import FileTeacher

ANSWERS: list[dict[str, Any]] = [
    {"instruction": "One?", "output": "1"},
    {"instruction": " Two? ", "output": "<think>\none and one\n</think>\n2"},
    {"instruction": "Three?", "output": ""},
    {"instruction": "One?", "output": "uno"},
    {"instruction": "One?", "output": "1"},
    {"instruction": None, "output": "nothing was asked"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["answers.json", "answers.jsonl", "answers.parquet"])
def test_every_format_answers_alike(tmp_path: Path, name: str) -> None:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    write(lab.root / name, ANSWERS)
    asked = ["Two?", "Three?", "One?", "Four?"]
    write_json_atomic(lab.train_instructions, [{"instruction": text, "output": ""} for text in asked])
    events: list[Event] = []
    teacher = TeacherSettings(kind="file", answers=name)
    report = label_with_teacher(lab, LabSettings(teacher=teacher), on_event=events.append)
    labeled = [(row["instruction"], row["output"]) for row in read_json(lab.train_labeled)]
    assert labeled == [("Two?", "2"), ("One?", "1")]
    assert (report.kept, report.failed) == (2, {"unknown": 2})
    assert [(one.row, one.kind) for one in report.unanswered] == [(2, "unknown"), (4, "unknown")]
    notes = [event.message for event in events if isinstance(event, Note)]
    assert f"In {name} the first answer to a prompt counts; different ones: 1" in notes
    assert notes[-1].endswith(f"Add their answers to that file, then: qdl --lab {lab.word} label")


def test_broken_answers_are_told_and_never_written(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    rows: list[dict[str, Any]] = [
        {"instruction": "One?", "output": "1"},
        {"instruction": "Two?", "output": "half \ud800"},
        {"instruction": "Three?", "output": float("nan")},
    ]
    write(lab.root / "answers.jsonl", rows)
    asked = ["One?", "Two?", "Three?", "half \udfff?"]
    lab.train_instructions.write_text(json.dumps([{"instruction": text} for text in asked]))
    events: list[Event] = []
    settings = LabSettings(teacher=TeacherSettings(kind="file", answers="answers.jsonl"))
    report = label_with_teacher(lab, settings, on_event=events.append)
    assert (report.kept, report.failed, report.broken) == (1, {"unknown": 2}, 1)
    notes = [event.message for event in events if isinstance(event, Note)]
    told = "2 rows of answers.jsonl are broken; the first is 2: not valid Unicode"
    assert any(note.startswith(told) for note in notes)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    from qdl_engine.teachers.base import Question

    os.mkfifo(tmp_path / "answers.jsonl")
    with pytest.raises(DataError, match="a pipe or a device"):
        FileTeacher(tmp_path / "answers.jsonl").key(Question("One?", ""))
    with pytest.raises(DataError, match="a pipe or a device"):
        FileTeacher(tmp_path / "answers.jsonl").load(no_sink)


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.parquet"])
def test_columns_that_nobody_knows_must_be_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [{"frage": "One?", "antwort": "1"}])
    with pytest.raises(DataError, match=r"answers\.") as caught:
        FileTeacher(path).load(no_sink)
    assert "mapping" in caught.value.hint
    mapping = {"instruction": "frage", "output": "antwort"}
    FileTeacher(path, fields="mapping", mapping=mapping).load(no_sink)
    wrong = {"instruction": "frage", "output": "anwort"}
    with pytest.raises(DataError):
        FileTeacher(path, fields="mapping", mapping=wrong).load(no_sink)


def test_another_content_is_another_teacher(tmp_path: Path) -> None:
    from qdl_engine.teachers.base import Question

    path, question = write(tmp_path / "answers.jsonl", ANSWERS), Question("One?", "")
    before = FileTeacher(path).key(question)
    assert FileTeacher(path).key(question) == before == FileTeacher(path).key(Question(" One?\n", "Other."))
    write(path, ANSWERS[1:])
    assert FileTeacher(path).key(question) != before


@pytest.mark.parametrize(
    ("name", "content"), [("a.parquet", b"no parquet"), ("a.jsonl", b""), ("a.json", b"{")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        FileTeacher(tmp_path / name).load(no_sink)
