"""The doctor finds what is missing and says how to get it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab, user_settings_file
from qdl_engine.lab_state.doctor import Check, DoctorReport, examine
from qdl_engine.settings.user import (
    EasyDistillRecord,
    UserSettings,
    Version2Record,
    save_user_settings,
)
from tests.engine.upstream.version2_stand_in import make_stand_in
from tests.tiny import make_tiny_model


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's own settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def checks(lab: Lab) -> dict[str, Check]:
    return {check.name: check for check in examine(lab, ask_hub=False).checks}


def test_this_machine_passes(tmp_path: Path) -> None:
    found = checks(Lab.at(tmp_path / "none"))
    assert {
        "python",
        "torch",
        "transformers",
        "trl",
        "gpu",
        "easydistill",
        "disk",
        "hub",
        "lab",
    } <= found.keys()
    assert found["python"].state == found["trl"].state == "ok"
    assert found["lab"].state == "note" and "init" in found["lab"].cure


def test_easydistill_is_explained(tmp_path: Path) -> None:
    check = checks(Lab.at(tmp_path))["easydistill"]
    assert "-b 1.0 https://github.com/modelscope/easydistill" in check.cure or check.state == "ok"
    assert "empty placeholder" in check.cure or check.state == "ok"


def test_a_broken_settings_file_and_a_checkout_that_is_asked_for(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path)
    lab.settings_file.write_text("[system1]\nrowz = 1\n", encoding="utf-8")
    assert "rowz" in checks(lab)["lab"].detail
    lab.settings_file.write_text(
        f'[runtime]\nkind = "easydistill"\ncheckout = "{tmp_path}"\n', encoding="utf-8"
    )
    assert checks(lab)["easydistill"].state == "missing"
    script = tmp_path / "easydistill/kd/train.py"
    script.parent.mkdir(parents=True)
    script.touch()
    assert checks(lab)["easydistill"].state == "ok"


def test_offline_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = examine(Lab.at(tmp_path))
    assert "HF_HUB_OFFLINE" in next(check for check in report.checks if check.name == "hub").detail


def test_a_needed_download_is_missing_while_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    student = make_tiny_model(lab.root / "student")
    (lab.root / "rows.json").write_text("[]", encoding="utf-8")
    local = f'student = "{student}"\nsource = "rows.json"\n'
    lab.settings_file.write_text(
        f'[system1]\n{local}label = false\n[system2]\nstudent = "{student}"\nsource = "someone/Chains"\n',
        encoding="utf-8",
    )
    report = examine(lab)
    hub = next(check for check in report.checks if check.name == "hub")
    assert hub.state == "missing" and "someone/Chains" in hub.cure and str(student) not in hub.cure
    assert "Nothing necessary is missing" not in report.table()
    (tmp_path / "cache/someone___chains").mkdir(parents=True)
    assert next(check for check in examine(lab).checks if check.name == "hub").state == "note"


@pytest.mark.parametrize(
    ("teacher", "detail", "cure"),
    [
        ('kind = "server"', "teacher.url is empty", "http://localhost:8000/v1"),
        ('kind = "vllm"', "vLLM is not installed", "pip install vllm"),
        ('kind = "file"', "teacher.answers is empty", "JSONL"),
        ('kind = "file"\nanswers = "none.jsonl"', "none.jsonl", "teacher.answers"),
    ],
)
def test_an_incomplete_teacher_is_missing(tmp_path: Path, teacher: str, detail: str, cure: str) -> None:
    lab = Lab.at(tmp_path)
    lab.settings_file.write_text(f"[teacher]\n{teacher}\n", encoding="utf-8")
    check = checks(lab)["teacher"]
    assert check.state == "missing" and detail in check.detail and cure in check.cure
    (tmp_path / "none.jsonl").touch()
    lab.settings_file.write_text('[teacher]\nkind = "file"\nanswers = "none.jsonl"\n', encoding="utf-8")
    assert checks(lab)["teacher"].state == "ok"


def test_missing_is_unhealthy() -> None:
    assert DoctorReport([Check("a", "note", "")]).healthy
    sick = DoctorReport([Check("a", "missing", "gone", "fetch it")])
    assert not sick.healthy and "MISSING" in sick.table() and "fetch it" in sick.table()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--offline", "--json", "--lab", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True


def record(checkout: Path, python: Path, commit: str = "") -> None:
    save_user_settings(
        UserSettings(
            easydistill=EasyDistillRecord(
                python=str(python),
                checkout=str(checkout),
                version="1.0",
                commit=commit,
                checked="2026-01-02T03:04:05",
            )
        )
    )


def test_the_easydistill_that_was_checked_is_shown(tmp_path: Path) -> None:
    script = tmp_path / "ed/easydistill/kd/train.py"
    script.parent.mkdir(parents=True)
    script.touch()
    python = tmp_path / "python"
    python.touch()
    record(tmp_path / "ed", python)
    lab = Lab.at(tmp_path / "none")
    check = checks(lab)["easydistill"]
    assert check.state == "ok" and "checked 2026-01-02" in check.detail and str(python) in check.detail
    record(tmp_path / "ed", python, commit="a" * 40)
    changed = checks(lab)["easydistill"]
    assert (
        changed.state == "note" and "changed since" in changed.detail and "easydistill check" in changed.cure
    )
    python.unlink()
    assert checks(lab)["easydistill"].state == "missing"


def test_broken_user_settings_are_reported(tmp_path: Path) -> None:
    user_settings_file().parent.mkdir(parents=True, exist_ok=True)
    user_settings_file().write_text("[easydistill]\npyton = 'x'\n", encoding="utf-8")
    check = checks(Lab.at(tmp_path))["easydistill"]
    assert check.state == "note" and "easydistill.pyton" in check.detail


def test_the_easydistill_2_that_was_used_is_tried(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path / "none")
    check = checks(lab)["easydistill2"]
    assert check.state == "note" and "qdl easydistill run" in check.cure
    checkout = make_stand_in(tmp_path / "ed2")
    save_user_settings(
        UserSettings(easydistill2=Version2Record(python=sys.executable, checkout=str(checkout)))
    )
    check = checks(lab)["easydistill2"]
    assert check.state == "ok" and f"2.x at {checkout}, run by {sys.executable}" in check.detail
    assert str(user_settings_file()) in check.detail
    (checkout / "openai.py").write_text("import no_such_module", encoding="utf-8")
    check = checks(lab)["easydistill2"]
    assert check.state == "note" and "no_such_module" in check.detail and "pip install" in check.cure
    save_user_settings(UserSettings(easydistill2=Version2Record(checkout=str(tmp_path / "gone"))))
    assert "gone" in checks(lab)["easydistill2"].detail


def test_every_line_of_a_cure_is_indented() -> None:
    shown = DoctorReport([Check("a", "note", "b", "first\nsecond")]).table().splitlines()
    assert shown[1:3] == [" " * 24 + "first", " " * 24 + "second"]
