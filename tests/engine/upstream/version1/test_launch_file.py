"""Our launch files for 1.0, taken by accelerate's own reader and launcher, as far as that goes on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import (
    prepare_deepspeed_cmd_env,
    prepare_multi_gpu_env,
    prepare_simple_launcher_cmd_env,
)

from qdl_engine.upstream.version1.inputs import launch_settings

HARDWARE = [(0, False), (1, False), (1, True), (2, False), (8, False), (8, True)]


def launch_file(directory: Path, gpus: int, deepspeed: bool) -> Path:
    path = directory / "launch.json"
    path.write_text(json.dumps(launch_settings(gpus, deepspeed=deepspeed)), encoding="utf-8")
    return path


def launched(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `accelerate launch` makes of the file, for a machine with DeepSpeed."""
    monkeypatch.setattr("accelerate.commands.launch.is_deepspeed_available", lambda: True)
    arguments = ["--config_file", str(path), "train.py", "--config", "x.json"]
    return _validate_launch_command(launch_command_parser().parse_args(arguments))[0]


@pytest.mark.parametrize(("gpus", "deepspeed"), HARDWARE)
def test_accelerate_reads_every_key_and_launches_a_process_for_each_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, deepspeed: bool
) -> None:
    path = launch_file(tmp_path, gpus, deepspeed)
    read = load_config_from_file(str(path)).to_dict()  # It refuses unknown keys.
    for key, value in launch_settings(gpus, deepspeed=deepspeed).items():
        assert getattr(read[key], "value", read[key]) == value
    arguments = launched(path, monkeypatch)
    assert arguments.num_processes == max(gpus, 1) and arguments.use_cpu is (gpus == 0)
    assert arguments.multi_gpu is (gpus > 1 and not deepspeed)
    assert arguments.use_deepspeed is (gpus > 1 and deepspeed)
    assert arguments.mixed_precision == "no"
    assert arguments.training_script_args == ["--config", "x.json"]


def test_the_environment_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, on_cpu in ((0, "true"), (1, "false")):
        arguments = launched(launch_file(tmp_path, gpus, False), monkeypatch)
        command, environment = prepare_simple_launcher_cmd_env(arguments)
        assert command[1:] == ["train.py", "--config", "x.json"]
        assert environment["ACCELERATE_USE_CPU"].lower() == on_cpu


def test_the_environment_of_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = prepare_multi_gpu_env(launched(launch_file(tmp_path, 4, False), monkeypatch))
    assert plain["ACCELERATE_MIXED_PRECISION"] == "no"
    arguments = launched(launch_file(tmp_path, 4, True), monkeypatch)
    # As `accelerate launch` does between its checks and the start.
    arguments.deepspeed_fields_from_accelerate_config = "gradient_clipping,zero_stage"
    command, zero = prepare_deepspeed_cmd_env(arguments)
    assert command is None, "one machine: torch's launcher, not DeepSpeed's over ssh"
    assert zero["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert zero["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2" and zero["ACCELERATE_GRADIENT_CLIPPING"] == "1.0"
