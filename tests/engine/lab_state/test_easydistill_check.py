"""What `qdl easydistill check` finds, says and records. The trial itself: see test_upstream."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from qdl_engine.cli import main
from qdl_engine.lab_state.easydistill_check import check_easydistill, version_of
from qdl_engine.settings.user import load_user_settings
from qdl_engine.upstream.find import NEEDED, probe, steps_to_get_one
from tests.engine.training.test_command import checkout_of_1_0
from tests.engine.upstream.version1.upstream import CHECKOUT, PYTHON, needs_upstream


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's own settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with nothing in it."""
    root = tmp_path_factory.mktemp("bare")
    venv.create(root, with_pip=False)
    return str(root / "bin" / "python")


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_versions_are_told_apart_by_their_files(tmp_path: Path) -> None:
    assert version_of(checkout_of_1_0(tmp_path / "one")) == "1.0"
    two = files(tmp_path / "two", "easydistill/__init__.py", "easydistill/cli/__init__.py")
    assert version_of(two) == "2.x"
    assert version_of(files(tmp_path / "empty", "easydistill/__init__.py")) == "placeholder"
    # What `python setup.py install` leaves of 1.0.
    assert (
        version_of(files(tmp_path / "wheel", "easydistill/__init__.py", "easydistill/cli.py"))
        == "placeholder"
    )
    assert version_of(tmp_path / "nowhere") == "not EasyDistill"


@pytest.mark.parametrize(
    ("names", "problem", "step"),
    [
        (["easydistill/__init__.py", "easydistill/cli/__init__.py"], "cannot train", "worktree add"),
        (["easydistill/__init__.py"], "empty placeholder", "git clone -b 1.0"),
        (["README.md"], "there is no EasyDistill", "git clone -b 1.0"),
        (["__init__.py", "cli.py", "kd/train.py"], "inside the checkout", "qdl easydistill check"),
    ],
)
def test_what_is_no_1_0_is_said_with_what_to_type(
    tmp_path: Path, names: list[str], problem: str, step: str
) -> None:
    report = check_easydistill(files(tmp_path / "a b", *names))
    assert not report.works and problem in report.problem
    assert step in report.steps[0] and report.trial is None and report.recorded is None
    assert problem in report.table() and step in report.table()


def test_what_an_interpreter_lacks_is_said_with_the_command(tmp_path: Path, bare: str) -> None:
    report = check_easydistill(checkout_of_1_0(tmp_path / "one"), bare)
    assert report.interpreter.missing == NEEDED
    assert "lacks torch" in report.problem and "jsonlines" in report.problem
    assert report.steps[0].startswith(f"{bare} -m pip install torch transformers==4.51.1 trl==0.17.0")
    assert not load_user_settings().easydistill.checkout


def test_an_interpreter_that_is_none(tmp_path: Path) -> None:
    root = checkout_of_1_0(tmp_path / "one")
    assert "cannot be run" in check_easydistill(root, str(tmp_path / "python")).problem
    assert check_easydistill(root).problem == "no interpreter is given"
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("#!/bin/sh\necho hello\n")
    rubbish.chmod(0o755)
    assert "is it a Python" in check_easydistill(root, str(rubbish)).problem


def test_the_commit_and_changed_files_are_shown(tmp_path: Path, bare: str) -> None:
    root = checkout_of_1_0(tmp_path / "one")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    report = check_easydistill(root, bare)
    assert len(report.commit) == 40 and "not the release), as committed" in report.table()
    (root / "easydistill/kd/train.py").write_text("changed\n")
    assert check_easydistill(root, bare).changed == ("easydistill/kd/train.py",)


def test_a_probe_does_not_import_what_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "jsonlines.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe(sys.executable, ("jsonlines",)).missing == probe(sys.executable, ("jsonlines",)).missing
    assert "nothing-like-it" in probe(sys.executable, ("nothing-like-it",)).missing


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["easydistill", "check", str(tmp_path / "none"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is False and found["version"] == "not EasyDistill" and found["steps"]


def test_the_documents_have_the_same_steps() -> None:
    page = (Path(__file__).parents[3] / "docs" / "easydistill.md").read_text(encoding="utf-8")
    for step in steps_to_get_one():
        assert f"\n{step}" in page


@pytest.mark.slow
@needs_upstream
def test_what_works_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["easydistill", "check", CHECKOUT, "--python", PYTHON, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["works"] and len(found["trial"]["losses"]) == 10
    record = load_user_settings().easydistill
    assert (record.checkout, record.python, record.version) == (CHECKOUT, PYTHON, "1.0")
