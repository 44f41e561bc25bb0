"""Labelling: each row once, in the input's order, through whatever kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, LabBusyError, ModelError
from qdl_engine.core.events import Event, Note, Progress
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import format_prompt
from qdl_engine.label.label import label_with_teacher
from qdl_engine.models.checkpoint import fingerprint
from qdl_engine.models.load import LoadedModel, load_student
from qdl_engine.settings import LabSettings
from qdl_engine.teachers.answers import LabelCache, StoredAnswer
from qdl_engine.teachers.base import answer_key
from tests.engine.models.test_models import one_token_model, set_stop_tokens
from tests.tiny import make_tiny_model

INSTRUCTIONS = [f"Question {number}: " + "what is it? " * (number % 4 + 1) for number in range(20)]


@pytest.fixture(scope="module")
def teacher_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("label") / "teacher"
    make_tiny_model(directory, seed=5, lively=True)
    set_stop_tokens(directory, [0, 2, *range(11, 259, 25)])
    return directory


@pytest.fixture(scope="module")
def teacher(teacher_path: Path) -> LoadedModel:
    return load_student(teacher_path)


@pytest.fixture
def settings(teacher_path: Path) -> LabSettings:
    settings = LabSettings()
    settings.teacher.model = str(teacher_path)
    settings.teacher.quantization = "none"
    settings.teacher.max_new_tokens = 40
    settings.teacher.batch_size = 4
    return settings


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    write_instructions(lab, INSTRUCTIONS)
    return lab


def write_instructions(lab: Lab, instructions: list[Any]) -> None:
    rows = [
        {"id": f"r{number}", "instruction": text, "output": ""} for number, text in enumerate(instructions)
    ]
    write_json_atomic(lab.train_instructions, rows)


def stored_keys(lab: Lab) -> list[str]:
    return [json.loads(line)["key"] for line in lab.label_cache.read_bytes().splitlines()]


def store(lab: Lab, settings: LabSettings, instruction: str, text: str, reason: Any = "") -> None:
    """Put an answer of the teacher on disk, as an earlier labelling would have."""
    asking = settings.teacher
    prompt = format_prompt(instruction, system_prompt=settings.system1.system_prompt)
    name = fingerprint(asking.model)
    key = answer_key(prompt, name, asking.quantization, asking.max_new_tokens, asking.temperature)
    LabelCache(lab.label_cache).append(StoredAnswer(key, text, 5, reason))


def test_rows_come_out_in_the_inputs_order(lab: Lab, settings: LabSettings, teacher: LoadedModel) -> None:
    events: list[Event] = []
    report = label_with_teacher(lab, settings, teacher=teacher, on_event=events.append)
    rows = read_json(lab.train_labeled)
    numbers = [int(row["id"][1:]) for row in rows]
    assert numbers == sorted(numbers)
    assert all(row["output"] and row["instruction"] == INSTRUCTIONS[int(row["id"][1:])] for row in rows)
    assert report.rows == len(INSTRUCTIONS) == report.kept + report.empty + report.cut + report.repeated
    assert (report.asked, report.reused, report.kept) == (20, 0, len(rows))
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].stage, progress[-1].done, progress[-1].total) == ("label", 20, 20)
    assert "kept" in report.table()


def test_a_second_labelling_asks_nothing_and_loads_nothing(
    lab: Lab, settings: LabSettings, teacher: LoadedModel
) -> None:
    first = label_with_teacher(lab, settings, teacher=teacher)
    before = lab.train_labeled.read_bytes()
    events: list[Event] = []
    again = label_with_teacher(lab, settings, on_event=events.append)
    assert (again.asked, again.reused, again.kept) == (0, 20, first.kept)
    assert lab.train_labeled.read_bytes() == before
    assert not any("Loading" in event.message for event in events if isinstance(event, Note))


def test_other_settings_ask_again(lab: Lab, settings: LabSettings, teacher: LoadedModel) -> None:
    label_with_teacher(lab, settings, teacher=teacher)
    settings.teacher.max_new_tokens = 41
    assert label_with_teacher(lab, settings, teacher=teacher).asked == 20
    assert label_with_teacher(lab, settings, teacher=teacher, system_prompt="Other.").asked == 20


def test_equal_prompts_are_asked_once(lab: Lab, settings: LabSettings, teacher: LoadedModel) -> None:
    write_instructions(lab, [INSTRUCTIONS[0], INSTRUCTIONS[1], INSTRUCTIONS[0]])
    settings.teacher.keep_cut_answers = True
    report = label_with_teacher(lab, settings, teacher=teacher)
    assert (report.rows, report.asked) == (3, 2)
    assert Counter(stored_keys(lab)).most_common(1)[0][1] == 1


def test_a_teacher_in_the_lab_is_found_by_its_relative_path(
    lab: Lab, settings: LabSettings, teacher_path: Path
) -> None:
    (lab.root / "my-teacher").symlink_to(teacher_path)
    settings.teacher.model = "my-teacher"
    assert label_with_teacher(lab, settings).asked == 20


def test_reasoning_is_stripped_or_kept_from_one_labelling(lab: Lab, settings: LabSettings) -> None:
    write_instructions(lab, ["a", "b", "c", "d"])
    store(lab, settings, "a", "<think>\nlong thoughts\n</think>\n42")
    store(lab, settings, "b", "<think>\nnever closed", "cut")
    store(lab, settings, "c", "<think>\nthoughts\n</think>\n")
    store(lab, settings, "d", "plain \x1b[2J text")
    answers = label_with_teacher(lab, settings)
    assert [row["output"] for row in read_json(lab.train_labeled)] == ["42", "plain \x1b[2J text"]
    assert (answers.asked, answers.cut, answers.empty) == (0, 1, 1)
    target = lab.data / "full.json"
    full = label_with_teacher(lab, settings, keep="full", output=target)
    assert read_json(target)[0]["output"] == "<think>\nlong thoughts\n</think>\n42"
    assert read_json(lab.data / "full_report.json") == full.to_dict()
    assert read_json(lab.label_report) == answers.to_dict()


def test_cut_answers_are_dropped_unless_kept(lab: Lab, settings: LabSettings) -> None:
    write_instructions(lab, ["a", "b"])
    store(lab, settings, "a", "whole")
    store(lab, settings, "b", "cut sho", "cut")
    assert label_with_teacher(lab, settings).cut == 1
    settings.teacher.keep_cut_answers = True
    assert label_with_teacher(lab, settings).kept == 2


def test_broken_rows_are_counted(lab: Lab, settings: LabSettings) -> None:
    store(lab, settings, "a", "whole")
    write_json_atomic(
        lab.train_instructions, [{"instruction": "a"}, {"instruction": 5}, "text", {"question": "a"}]
    )
    report = label_with_teacher(lab, settings)
    assert (report.kept, report.broken) == (1, 3)


def test_nothing_to_label(lab: Lab, settings: LabSettings) -> None:
    write_instructions(lab, [])
    prepare = f"qdl --lab {lab.word} prepare system1"
    with pytest.raises(DataError, match="No data for System 1 distillation") as caught:
        label_with_teacher(lab, settings)
    assert caught.value.hint.endswith(prepare)
    lab.train_instructions.unlink()
    with pytest.raises(DataError, match="No instructions to label") as caught:
        label_with_teacher(lab, settings)
    assert caught.value.hint.endswith(prepare)


def test_nothing_kept_names_the_cause(lab: Lab, settings: LabSettings) -> None:
    write_instructions(lab, ["a"])
    store(lab, settings, "a", "cut", "cut")
    with pytest.raises(DataError, match=r"(?s)No answer.*1 cut.*teacher.max_new_tokens"):
        label_with_teacher(lab, settings)
    assert not lab.train_labeled.exists()


def test_a_teacher_that_overflows_stops_early_and_is_asked_again_later(
    lab: Lab, settings: LabSettings, tmp_path: Path
) -> None:
    write_instructions(lab, [f"row {number}" for number in range(40)])
    faulty = one_token_model(tmp_path / "faulty", 40)
    for _ in range(2):
        with pytest.raises(ModelError, match="repeats one token without end: 8 of 8") as caught:
            label_with_teacher(lab, settings, teacher=faulty)
        assert "bf16" in caught.value.hint


def test_one_writer(lab: Lab, settings: LabSettings, teacher: LoadedModel) -> None:
    with lab.writer_lock("a test"), pytest.raises(LabBusyError, match="a test"):
        label_with_teacher(lab, settings, teacher=teacher)


KILLED = """
import os, signal, sys
from pathlib import Path
from qdl_engine.label.label import label_with_teacher
from qdl_engine.core.lab import Lab
from qdl_engine.models.load import load_student
from qdl_engine.settings import LabSettings
lab, settings = Lab.at(sys.argv[1]), LabSettings.model_validate_json(sys.argv[2])
teacher, passes = load_student(settings.teacher.model), 0
def die_in_the_third_batch(*_):
    global passes
    passes += 1
    if passes == 14:
        os.kill(os.getpid(), signal.SIGKILL)
teacher.model.register_forward_pre_hook(die_in_the_third_batch)
label_with_teacher(lab, settings, teacher=teacher)
"""


def test_kill_9_and_resume_asks_no_row_twice(lab: Lab, settings: LabSettings, tmp_path: Path) -> None:
    """Answers of exactly 6 tokens in batches of 4: killed in the 14th pass, two batches are on disk."""
    never_stops = make_tiny_model(tmp_path / "never", seed=8, lively=True)
    settings.teacher.model = str(never_stops)
    settings.teacher.max_new_tokens = 6
    settings.teacher.keep_cut_answers = True
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(lab.root), settings.model_dump_json()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    assert len(stored_keys(lab)) == 8
    # And the worst moment: a ninth answer half on disk.
    with open(lab.label_cache, "ab") as cache:
        cache.write(b'{"key": "abc", "text": "half an ans')
    assert not lab.train_labeled.exists()

    report = label_with_teacher(lab, settings)

    assert (report.reused, report.asked, report.kept) == (8, 12, 20)
    keys = stored_keys(lab)
    assert len(keys) == len(set(keys)) == 20
    assert [row["id"] for row in read_json(lab.train_labeled)] == [f"r{number}" for number in range(20)]


def test_a_stored_answer_that_no_file_could_hold_is_asked_again(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path / "labels.jsonl")
    cache.append(StoredAnswer("a", "one \ud800", 1, ""))
    assert cache.read(["a"]) == {}
    cache.append(StoredAnswer("a", "one", 1, ""))
    assert cache.read(["a"])["a"].text == "one"


def test_a_cut_last_line_is_repaired_and_a_broken_one_skipped(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path / "labels.jsonl")
    cache.repair()
    cache.append(StoredAnswer("a", "one é", 1, ""))
    whole = cache.path.read_bytes()
    cache.path.write_bytes(whole + b"not json\n" + b'{"key": "b", "te' + b"x" * 100_000)
    cache.repair()
    assert cache.path.read_bytes() == whole + b"not json\n"
    cache.append(StoredAnswer("b", "two", 1, "cut"))
    assert {key: answer.text for key, answer in cache.read(["a", "b"]).items()} == {
        "a": "one é",
        "b": "two",
    }
    cache.path.write_bytes(b"no line at all")
    cache.repair()
    assert cache.path.read_bytes() == b""
