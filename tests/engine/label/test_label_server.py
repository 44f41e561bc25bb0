"""Labelling by a server or a file: each row once, through failures, budgets and kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.events import Event, Progress
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.label.label import label_with_teacher
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.teachers.budget import BudgetError
from tests.engine.teachers.fault_server import FAULTS, FaultServer, Handler, completion


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    return lab


def write(lab: Lab, instructions: list[str]) -> None:
    rows = [{"id": number, "instruction": text, "output": ""} for number, text in enumerate(instructions)]
    write_json_atomic(lab.train_instructions, rows)


def at_server(server: FaultServer, **values: Any) -> LabSettings:
    values = {"retries": 0, **values}
    return LabSettings(teacher=TeacherSettings(kind="server", model="", url=server.url, **values))


def test_each_row_is_answered_failed_or_counted(lab: Lab, server: FaultServer) -> None:
    write(lab, ["hello", "400", "cut", "empty", "reasons", "hello", "rubbish"])
    events: list[Event] = []
    report = label_with_teacher(lab, at_server(server, price_in=1.0, price_out=2.0), on_event=events.append)
    assert [row["output"] for row in read_json(lab.train_labeled)] == ["HELLO", "42", "HELLO"]
    assert (report.rows, report.kept, report.cut, report.empty) == (7, 3, 1, 1)
    assert report.failed == {"refused": 1, "bad reply": 1}
    assert {(one.row, one.kind) for one in report.unanswered} == {(2, "refused"), (7, "bad reply")}
    assert report.cost is not None and report.cost > 0
    assert read_json(lab.label_report)["failed"] == report.failed
    assert "failed: refused" in report.table()
    assert [event for event in events if isinstance(event, Progress)][-1].cost == report.cost
    again = label_with_teacher(lab, at_server(server))
    assert (again.asked, again.reused) == (2, 4)


def test_a_budget_stops_and_a_larger_one_goes_on(lab: Lab, server: FaultServer) -> None:
    write(lab, [f"question {number}" for number in range(60)])
    small = at_server(server, budget_tokens=400, max_new_tokens=20)
    for _ in range(2):
        with pytest.raises(BudgetError, match=r"The budget is spent: .* of 400 tokens"):
            label_with_teacher(lab, small)
        assert not lab.train_labeled.exists() and read_json(lab.label_report)["left"] > 0
    first = sum(server.attempts.values())
    assert 0 < first * 12 <= 400
    report = label_with_teacher(lab, at_server(server, budget_tokens=10_000, max_new_tokens=20))
    assert (report.kept, report.reused, report.asked) == (60, first, 60 - first)
    assert set(server.attempts.values()) == {1}


def says(reply: dict[str, Any], handler: Handler, attempt: int) -> None:
    handler.send(200, reply)


def test_refusals_and_duplicates_are_counted(
    lab: Lab, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorry = {
        "a": "I'm sorry, but I can't help with that.",
        "b": "很抱歉,我无法回答。",
        "c": "Yes.",
        "d": "Yes.",
    }
    for question, answer in sorry.items():
        monkeypatch.setitem(FAULTS, question, partial(says, completion(answer)))
    write(lab, list(sorry))
    report = label_with_teacher(lab, at_server(server))
    assert (report.kept, report.refused, report.duplicated) == (4, 2, 1)
    report = label_with_teacher(lab, at_server(server, keep_refused_answers=False))
    assert (report.kept, report.refused, report.asked) == (2, 2, 0)


def test_a_file_labels_what_it_knows(lab: Lab) -> None:
    answers = [
        {"q": "one", "cot": "thinking", "final": "1"},
        {"q": "two", "cot": "", "final": "2"},
        {"q": "one", "cot": "", "final": "later"},
    ]
    (lab.root / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    mapping = {"instruction": "q", "thought": "cot", "answer": "final"}
    teacher = TeacherSettings(kind="file", answers="answers.jsonl", fields="mapping", mapping=mapping)
    write(lab, ["one", "three", "two"])
    report = label_with_teacher(lab, LabSettings(teacher=teacher))
    assert [row["output"] for row in read_json(lab.train_labeled)] == ["1", "2"]
    assert report.failed == {"unknown": 1}
    label_with_teacher(lab, LabSettings(teacher=teacher), keep="full", output=lab.data / "full.json")
    assert read_json(lab.data / "full.json")[0]["output"] == "<think>\nthinking\n</think>\n1"


LABEL = """
import sys
from qdl_engine.label.label import label_with_teacher
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings
label_with_teacher(Lab.at(sys.argv[1]), LabSettings.model_validate_json(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_twenty_times_each_row_has_exactly_one_answer(lab: Lab, server: FaultServer) -> None:
    draw = random.Random(7)
    rows, kills = 300, 20
    write(lab, [f"question {number}" for number in range(rows)])
    settings = at_server(server)
    server.before_answer = lambda question: (server.closing.wait(0.01), None)[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(kills):
        target = sum(server.answered.values()) + draw.randrange(1, 10)
        child = subprocess.Popen(
            [sys.executable, "-c", LABEL, str(lab.root), settings.model_dump_json()], env=environment
        )
        while child.poll() is None and sum(server.answered.values()) < target:
            time.sleep(0.002)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert not lab.train_labeled.exists()
    report = label_with_teacher(lab, settings)
    keys = [json.loads(line)["key"] for line in lab.label_cache.read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == rows == report.kept
    assert [row["id"] for row in read_json(lab.train_labeled)] == list(range(rows))
