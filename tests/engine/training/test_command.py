"""Command lines and installations, on directories that look like the real ones."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from qdl_engine.config.write import write_system1_config
from qdl_engine.core.errors import ModelError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.settings import LabSettings, RuntimeSettings
from qdl_engine.settings.user import EasyDistillRecord, UserSettings, save_user_settings
from qdl_engine.training.command import build_command, check_runtime, locate, run_easy_distill
from qdl_engine.training.distill import distill_system1
from qdl_engine.upstream.find import find_easydistill


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's own settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def checkout_of_1_0(root: Path) -> Path:
    (root / "easydistill" / "kd").mkdir(parents=True)
    (root / "easydistill" / "__init__.py").touch()
    (root / "easydistill" / "cli.py").write_text("raise SystemExit('imported')\n")
    (root / "easydistill" / "kd" / "train.py").touch()
    return root


def test_the_built_in_runtime_is_a_list_of_arguments(tmp_path: Path) -> None:
    config = tmp_path / "a b;c" / "config.json"
    command = build_command(config, RuntimeSettings(threads=3))
    assert command.argv == [sys.executable, "-P", "-m", "qdl_engine.trainer", "--config", str(config)]
    assert command.env["OMP_NUM_THREADS"] == "3" and command.env["PYTHONUNBUFFERED"] == "1"
    assert build_command(config, RuntimeSettings(), resume=True).argv[-1] == "--resume"


def test_accelerate_launches_the_same_module(tmp_path: Path) -> None:
    argv = build_command(tmp_path / "c.json", RuntimeSettings(launcher="accelerate")).argv
    assert argv[:4] == [sys.executable, "-P", "-m", "qdl_engine.trainer.launch"]
    assert argv[argv.index("--module") + 1 :] == ["qdl_engine.trainer", "--config", str(tmp_path / "c.json")]


def test_another_interpreter_comes_first_on_the_path(tmp_path: Path) -> None:
    command = build_command(tmp_path / "c.json", RuntimeSettings(python=str(tmp_path / "bin" / "python")))
    assert command.argv[0] == str(tmp_path / "bin" / "python")
    assert command.env["PATH"].startswith(str(tmp_path / "bin"))


def test_easydistill_is_started_by_a_session_of_ours(tmp_path: Path) -> None:
    root = checkout_of_1_0(tmp_path / "check out")
    runtime = RuntimeSettings(kind="easydistill", checkout=str(root), python="/opt/old/python")
    command = build_command(tmp_path / "c.json", runtime)
    assert command.argv[:4] == [sys.executable, "-P", "-m", "qdl_engine.upstream.version1.session"]
    assert command.argv[4:] == [
        "--config", str(tmp_path / "c.json"), "--checkout", str(root), "--python", "/opt/old/python",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="no resume"):
        build_command(tmp_path / "c.json", runtime, resume=True)


def test_empty_settings_mean_the_easydistill_that_was_checked(tmp_path: Path) -> None:
    root = checkout_of_1_0(tmp_path / "checkout")
    save_user_settings(
        UserSettings(
            easydistill=EasyDistillRecord(python="/opt/old/python", checkout=str(root), version="1.0")
        )
    )
    place = locate(RuntimeSettings(kind="easydistill"))
    assert (place.checkout, place.python, place.recorded) == (root, "/opt/old/python", True)
    other = checkout_of_1_0(tmp_path / "other")
    named = locate(RuntimeSettings(kind="easydistill", checkout=str(other)))
    assert (named.checkout, named.python, named.recorded) == (other, "/opt/old/python", False)


def test_a_missing_easydistill_is_said_with_where_it_lives(tmp_path: Path) -> None:
    for runtime in (
        RuntimeSettings(kind="easydistill", checkout=str(tmp_path)),
        RuntimeSettings(kind="easydistill", python=str(tmp_path / "no-python")),
    ):
        with pytest.raises(SettingsError) as refused:
            build_command(tmp_path / "c.json", runtime)
        assert "github.com/modelscope/easydistill" in refused.value.hint


def test_an_unknown_runtime_or_config_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown job_type"):
        run_easy_distill({"job_type": "train"})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=False)
    return root


def test_installations_are_told_apart_without_importing_them(environment: Path, tmp_path: Path) -> None:
    python = str(environment / "bin" / "python")
    site = next(environment.glob("lib/*/site-packages"))
    assert find_easydistill(python).kind == "missing"

    package = site / "easydistill"
    package.mkdir()
    (package / "__init__.py").touch()
    placeholder = find_easydistill(python)
    assert placeholder.kind == "placeholder" and "placeholder" in placeholder.explain()
    (package / "__init__.py").unlink()
    package.rmdir()

    root = checkout_of_1_0(tmp_path / "one")
    (site / "easydistill.pth").write_text(f"{root}\n")
    found = find_easydistill(python)
    assert (found.kind, found.checkout) == ("1.x", root)
    assert "jsonlines" in found.missing and "jsonlines" in found.explain()

    (root / "easydistill" / "cli.py").unlink()
    (root / "easydistill" / "cli").mkdir()
    (root / "easydistill" / "cli" / "__init__.py").touch()
    assert find_easydistill(python).kind == "2.x"


def test_what_the_runtime_cannot_do_is_refused_before_any_data(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path / "lab")
    upstream = {"kind": "easydistill", "checkout": str(checkout_of_1_0(tmp_path / "one"))}
    for values, words in (
        ({"system1": {"lora_rank": 8}, "runtime": upstream}, "no LoRA"),
        ({"runtime": {"kind": "easydistill", "checkout": str(tmp_path)}}, "No EasyDistill 1.0 at"),
    ):
        with pytest.raises(SettingsError, match=words):
            distill_system1(values, lab=lab)
    assert not list(lab.data.iterdir()) and not list(lab.runs.iterdir())
    check_runtime(LabSettings(), "system1")


@pytest.mark.parametrize("student", ["/nope", "./nope", "nope/"])
def test_a_config_whose_student_is_a_path_to_nowhere_starts_nothing(tmp_path: Path, student: str) -> None:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    lab.train_labeled.write_text('[{"instruction": "a", "output": "b"}]')
    config = write_system1_config(lab, {"student": student})
    with pytest.raises(ModelError, match=f"Invalid student model: {student}\nThe directory does not exist"):
        run_easy_distill(config, lab=lab)
    assert not list(lab.runs.iterdir())
