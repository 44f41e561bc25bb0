"""The demo's teacher behind a real OpenAI-compatible server: the same answers as from its weights here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.compare.compare import compare_models
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.core.prompts import Mode
from qdl_engine.data.prepare import prepare_system1_dataset
from qdl_engine.demo.lab import TEACHER, create_demo_lab
from qdl_engine.label.label import label_with_teacher
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import load_settings, save_settings
from qdl_engine.teachers.make import make_teacher
from tests.engine.teachers.transformers_server import INSTALL, MISSING, transformers_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=INSTALL)]

ROWS = 96
QDL = [sys.executable, "-m", "qdl_engine.cli"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_server(TEACHER, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path, address: str) -> Lab:
    """A demo lab of few rows whose settings name the server."""
    lab = create_demo_lab(tmp_path / "lab")
    settings = load_settings(lab)
    settings.system1.rows = ROWS
    settings.teacher.kind, settings.teacher.url = "server", address
    save_settings(lab, settings)
    assert prepare_system1_dataset(lab, settings.system1).kept == ROWS
    return lab


def here(settings: LabSettings) -> LabSettings:
    """The same settings with the teacher's weights in this process."""
    teacher = settings.teacher.model_copy(update={"kind": "hf", "batch_size": 16})
    return settings.model_copy(update={"teacher": teacher})


def completions(lab: Lab, settings: LabSettings, mode: Mode, name: str) -> list[dict[str, Any]]:
    output = lab.data / name
    report = label_with_teacher(lab, settings, mode=mode, keep="full", output=output)
    assert (report.failed, report.rows) == ({}, ROWS)
    rows: list[dict[str, Any]] = read_json(output)
    return rows


@pytest.mark.parametrize("mode", ["system1", "system2"])
def test_greedy_answers_are_those_of_the_weights(lab: Lab, mode: Mode) -> None:
    settings = load_settings(lab)
    there = completions(lab, settings, mode, "there.json")
    assert there == completions(lab, here(settings), mode, "here.json")
    assert len({row["output"] for row in there}) > ROWS // 4


def test_killed_in_the_middle_it_goes_on(lab: Lab) -> None:
    label = [*QDL, "--lab", str(lab.root), "--json", "label"]
    child = subprocess.Popen(label, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and stored(lab) < ROWS // 4:
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    before = stored(lab)
    assert ROWS // 4 <= before < ROWS and not lab.train_labeled.exists()

    done = subprocess.run(label, capture_output=True, check=True, env=os.environ)

    report = json.loads(done.stdout)
    assert report["reused"] <= before and report["reused"] + report["asked"] == report["rows"] == ROWS
    keys = [json.loads(line)["key"] for line in lab.label_cache.read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == ROWS
    settings = load_settings(lab)
    label_with_teacher(lab, here(settings), mode=settings.system1.label_mode, output=lab.data / "here.json")
    assert read_json(lab.train_labeled) == read_json(lab.data / "here.json")


def stored(lab: Lab) -> int:
    return lab.label_cache.read_bytes().count(b"\n") if lab.label_cache.exists() else 0


def test_streamed_answers_are_those_of_the_weights(lab: Lab) -> None:
    settings = load_settings(lab)
    prompts = [row["instruction"] for row in read_json(lab.train_instructions)[:6]]
    said = []
    for each in (settings, here(settings)):
        teacher = make_teacher(each.teacher, lab.root)
        comparison = compare_models(
            prompts, teacher_model=teacher, teacher_mode="system2", max_new_tokens=120
        )
        said.append([(answer.reasoning, answer.answer) for answer in comparison.models["teacher"].answers])
    assert said[0] == said[1] and all(answer for _, answer in said[0])
