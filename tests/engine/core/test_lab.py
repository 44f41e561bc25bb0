"""The lab on disk: fixed names, absolute paths, atomic writes, one writer."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.core.errors import LabBusyError, LabError, SettingsError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic, write_text_atomic


def test_names_are_fixed_and_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lab = Lab.at("mine")
    names = {
        lab.train_instructions: "data/train_instructions.json",
        lab.train_labeled: "data/train_labeled.json",
        lab.omnithought_cot: "data/omnithought_cot.json",
        lab.config_file("system1", "7"): "configs/kd_black_box_7.json",
        lab.config_file("system2", "7"): "configs/kd_cot_7.json",
        lab.checkpoint("system1"): "distilled-qwen2.5-0.5b",
        lab.checkpoint("system2"): "distilled-qwen2.5-1.5b-cot",
    }
    for path, name in names.items():
        assert path == tmp_path / "mine" / name


def test_a_directory_without_settings_is_no_lab(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No lab at"):
        Lab.open(tmp_path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, {"a": "é"})
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(path, "half \ud800")
    assert read_json(path) == {"a": "é"}
    assert list(tmp_path.iterdir()) == [path]


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(LabError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


HOLD = """
import sys
from qdl_engine.core.lab import Lab
with Lab.at(sys.argv[1]).writer_lock("labelling"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LabBusyError, match=rf"process {holder.pid} \(labelling\)"),
            Lab.at(tmp_path).writer_lock("preparing"),
        ):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with Lab.at(tmp_path).writer_lock("preparing"):
        assert (tmp_path / ".qdl.lock").read_text() == f"process {os.getpid()} (preparing)"
    assert (tmp_path / ".qdl.lock").read_text() == ""


def test_a_command_to_copy_survives_any_directory_name(tmp_path: Path) -> None:
    root = tmp_path / "a \"b; 'c"
    with pytest.raises(SettingsError) as missing:
        Lab.open(root)
    assert shlex.split(missing.value.hint.removeprefix("Make one: ")) == ["qdl", "--lab", str(root), "init"]


def test_a_file_that_cannot_be_begun_is_named_by_its_own_name(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * 255)
    with pytest.raises(OSError) as told:
        write_text_atomic(longest, "")
    assert told.value.filename == str(longest)
