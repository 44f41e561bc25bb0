"""`qdl`: usage, settings, and how a command ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import list_runs
from tests.engine.cli.conftest import Capture, Qdl


def test_init_makes_a_lab_once(tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "new"
    assert main(["--lab", str(root), "init", "--set", "system1.rows=7"]) == 0
    lab = Lab.open(root)
    assert lab.data.is_dir() and lab.sample_prompts.read_text(encoding="utf-8").strip()
    assert "\nrows = 7\n" in lab.settings_file.read_text(encoding="utf-8")
    assert main(["--lab", str(root), "init"]) == 1
    assert "There is a lab at" in capsys.readouterr().err


def test_a_mistake_in_init_leaves_nothing(tmp_path: Path) -> None:
    assert main(["--lab", str(tmp_path / "new"), "init", "--set", "system1.rows=-7"]) == 2
    assert not (tmp_path / "new").exists()


def test_no_lab_is_a_usage_error_with_the_way_out(tmp_path: Path, capsys: Capture) -> None:
    assert main(["--lab", str(tmp_path), "runs"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and f"No lab at {tmp_path}" in shown.err and "init" in shown.err


@pytest.mark.parametrize(
    "words", [["frobnicate"], [], ["train"], ["train", "system3"], ["runs", "--lap", "x"]]
)
def test_usage_errors(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert "usage: qdl" in capsys.readouterr().err
    assert main([*words, "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["message"].startswith("qdl") and shown.err == ""


def test_options_stand_before_and_after_the_command(lab: Lab, capsys: Capture) -> None:
    shared = ["--lab", str(lab.root), "--json", "--set", "system1.rows=7"]
    for words in ([*shared, "config", "show"], ["config", *shared, "show"], ["config", "show", *shared]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["system1"]["rows"] == 7


def test_the_last_set_wins_wherever_it_stands(qdl: Qdl, capsys: Capture) -> None:
    words = ["--set", "system1.rows=1", "config", "--set", "system1.rows=2", "show", "system1.rows"]
    assert qdl(*words, "--set", "system1.seed=3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"system1": {"rows": 2}}


def test_config_show_validate_set(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("config", "show", "system2.rv_min", "--set", "system2.rv_min=3") == 0
    assert capsys.readouterr().out == "[system2]\nrv_min = 3  (default: 0)\n"
    assert qdl("config", "show", "system2.rv_mim") == 2
    assert "system2.rv_min" in capsys.readouterr().err
    assert qdl("config", "set", "system2.rv_min=4", "system2.rv_max=6") == 0
    capsys.readouterr()
    assert qdl("config", "validate") == 0 and "is valid" in capsys.readouterr().out
    lab.settings_file.write_text("[system1]\nrowz = 3\n", encoding="utf-8")
    assert qdl("config", "validate", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["valid"] and found["problems"][0]["nearest"] == "system1.rows"
    assert qdl("train", "system1") == 2 and list_runs(lab) == []
    assert "rowz" in capsys.readouterr().err


def test_status_and_runs_of_an_empty_lab(qdl: Qdl, capsys: Capture) -> None:
    assert qdl("status") == 0 and "prepare system1" in capsys.readouterr().out
    assert qdl("runs") == 0 and "No runs yet" in capsys.readouterr().out
    assert qdl("runs", "--json") == 0 and json.loads(capsys.readouterr().out) == {"runs": []}


def test_a_comparison_that_nobody_answers_is_not_saved(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("compare", "Who?", "--only", "system1,system2") == 1
    shown = capsys.readouterr()
    assert f"Model not found at {lab.system1_checkpoint}" in shown.err and shown.out == ""
    assert list(lab.comparisons.iterdir()) == []
    assert qdl("compare", "Who?", "--only", "system3") == 2


def test_config_set_names_what_was_typed(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("config", "set", "system1.rows=many") == 2
    told = capsys.readouterr().err
    assert "config set" in told and "--set" not in told


def test_init_and_status_name_the_same_next_step(tmp_path: Path, capsys: Capture) -> None:
    lab = str(tmp_path / "new")
    steps = []
    for command in ("init", "status"):
        assert main(["--lab", lab, command]) == 0
        steps.append(capsys.readouterr().out.splitlines()[-1])
    assert steps[0] == steps[1] and steps[0].startswith("Next: ")
