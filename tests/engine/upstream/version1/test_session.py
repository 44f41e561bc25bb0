"""A training by EasyDistill 1.0 from inputs to checkpoint, with a stand-in for 1.0; itself: test_upstream."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.config.model import read_config
from qdl_engine.config.write import write_system1_config
from qdl_engine.core.errors import DataError, ModelError, RunError, SettingsError
from qdl_engine.core.events import Event, Finished, Metrics, Note, Started
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import format_completion, format_prompt
from qdl_engine.demo.lab import BASE_STUDENT
from qdl_engine.settings import LabSettings, System1Settings
from qdl_engine.upstream.find import Interpreter
from qdl_engine.upstream.version1.inputs import (
    launch_settings,
    plain_path,
    student_directory,
    write_inputs,
)
from qdl_engine.upstream.version1.session import Installed, launch_environment, train

KEYS = frozenset(
    [
        "output_dir",
        "num_train_epochs",
        "max_steps",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_ratio",
        "weight_decay",
        "adam_beta2",
        "max_length",
        "bf16",
        "fp16",
        "gradient_checkpointing",
        "group_by_length",
        "logging_steps",
        "logging_first_step",
        "logging_nan_inf_filter",
        "save_strategy",
        "save_steps",
        "save_total_limit",
        "seed",
        "report_to",
        "packing",
        "eval_strategy",
    ]
)
ROWS = [{"instruction": "What is 2 + 3?", "output": "5"}, {"instruction": "What is 4 + 4?", "output": "8"}]

STAND_IN = """
import json, os, shutil, sys
from pathlib import Path
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
print("Tokenizing train dataset: 100%|#| 2/2 [00:00<00:00, 1362.51 examples/s]", file=sys.stderr)
for step in (1, 2):
    bar = f"\\r {step * 50}%|#| {step}/2 [00:00<00:05,  3.52it/s]"
    sys.stdout.write(bar + "\\r")
    print({"loss": 3.0 / step, "grad_norm": 1.0, "num_tokens": 40.0 * step, "epoch": step / 2})
    sys.stdout.write(bar + "\\r")
"""
SAVED = """
shutil.copytree(config["models"]["student"], config["training"]["output_dir"], copy_function=shutil.copyfile)
"""
FINISHED = """
print({"train_runtime": 1.0, "train_loss": 2.0, "epoch": 1.0})
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "a [lab] * it's; é::x error")
    lab.create_directories()
    write_json_atomic(lab.train_labeled, ROWS)
    return lab


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter whose `accelerate launch` is the script itself."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nshift 4\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return str(program)


def config_of(lab: Lab, change: Callable[[dict[str, Any]], object] = lambda raw: None, **recipe: Any) -> Path:
    values = {"student": str(BASE_STUDENT), "max_length": 64, "precision": "auto", "held_out": 0.0} | recipe
    path = write_system1_config(lab, LabSettings(system1=System1Settings(**values)))
    raw = read_json(path)
    change(raw)
    write_json_atomic(path, raw)
    return path


def run(lab: Lab, python: str, body: str, config: Path | None = None) -> tuple[int, list[Event], Path]:
    checkout, work = lab.root / "check out", lab.runs / "work"
    script = checkout / "easydistill/kd/train.py"
    script.parent.mkdir(parents=True)
    script.write_text(body)
    events: list[Event] = []
    installed = Installed(checkout, Interpreter(python, training_keys=KEYS))
    code = train(read_config(config or config_of(lab)), installed, work, sink=events.append)
    return code, events, work


def test_from_rows_to_a_checkpoint_of_the_lab(lab: Lab, python: str) -> None:
    code, events, work = run(lab, python, STAND_IN + SAVED + FINISHED, config_of(lab, held_out=0.05))
    assert code == 0
    losses = [
        (event.step, event.loss) for event in events if isinstance(event, Metrics) and event.loss is not None
    ]
    assert losses == [(1, 3.0), (2, 1.5)]
    started = next(event for event in events if isinstance(event, Started))
    assert (started.rows, started.total_steps, started.device, started.precision) == (
        2,
        2,
        "CPU",
        "fp32",
    )
    assert [event.kind for event in events if isinstance(event, Note | Finished)] == [
        "note",
        "finished",
    ]
    assert "held-out" in next(event.message for event in events if isinstance(event, Note))
    student = lab.system1_checkpoint
    record = read_json(student / "qdl_checkpoint.json")
    assert record["data"]["rows"] == 2 and record["metrics"]["loss"] == 1.5
    assert format_prompt("x").startswith(record["prompt"]["prefix"])
    assert not (work / "output").exists()
    written = read_json(work / "config.json")
    assert written["training"]["bf16"] is False and written["training"]["report_to"] == "none"
    assert "qdl" not in written and written["training"]["logging_nan_inf_filter"] is False


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (STAND_IN + SAVED, "before the end of its training"),
        (STAND_IN + FINISHED, "no new checkpoint"),
        ("print('2026-11-24 01:53:20,697 - ERROR - Training job terminated: no')", "gave up: no"),
        (STAND_IN + "raise ValueError('bad rows')", "EasyDistill failed: ValueError: bad rows"),
        (
            STAND_IN + SAVED + FINISHED + "os.truncate(config['training']['output_dir'] + '/config.json', 5)",
            "load",
        ),
    ],
)
def test_what_leaves_no_proof_fails_and_leaves_the_old_checkpoint(
    lab: Lab, python: str, body: str, words: str
) -> None:
    shutil.copytree(BASE_STUDENT, lab.system1_checkpoint)
    with pytest.raises(RunError, match=words):
        run(lab, python, body)
    assert not (lab.system1_checkpoint / "qdl_checkpoint.json").exists()


def test_rows_carry_the_prompt_of_use_and_an_end(lab: Lab, tmp_path: Path) -> None:
    long = {"instruction": "x " * 100, "output": "y"}
    write_json_atomic(lab.train_labeled, [*ROWS, long, {"instruction": "q", "output": None}])
    work = tmp_path / "work"
    work.mkdir()
    inputs = write_inputs(read_config(config_of(lab)), Interpreter("python"), work)
    rows = [json.loads(line) for line in (work / "rows.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["instruction", "output", "prompt", "completion"]] * 2
    assert rows[0]["prompt"] == format_prompt(ROWS[0]["instruction"])
    assert rows[0]["completion"] == format_completion("5")
    assert (inputs.counts.kept, inputs.counts.too_long, inputs.counts.broken) == (2, 1, 1)
    assert "Dropped 2 of 4 rows" in inputs.notes[0]
    write_json_atomic(lab.train_labeled, [long])
    with pytest.raises(DataError, match="No rows to train on"):
        write_inputs(read_config(config_of(lab)), Interpreter("python"), work)


@pytest.mark.parametrize(
    ("gpus", "bf16", "wanted", "written"),
    [
        ((), False, "auto", (False, False)),
        ((), False, "bf16", (False, False)),
        (("H100",), True, "auto", (True, False)),
        (("T4",), False, "auto", (False, True)),
        (("T4",), False, "fp32", (False, False)),
    ],
)
def test_precision_follows_the_gpu(
    lab: Lab, tmp_path: Path, gpus: tuple[str, ...], bf16: bool, wanted: str, written: tuple[bool, bool]
) -> None:
    interpreter = Interpreter("python", gpus=gpus, bf16=bf16)
    work = tmp_path / "work"
    work.mkdir()
    inputs = write_inputs(read_config(config_of(lab, precision=wanted)), interpreter, work)
    training = read_json(inputs.config)["training"]
    assert (training["bf16"], training["fp16"]) == written
    assert training["gradient_checkpointing"] is bool(gpus)


def test_the_launch_file_is_by_hardware() -> None:
    none, one, four = (launch_settings(count) for count in (0, 1, 4))
    assert (none["use_cpu"], none["num_processes"], none["distributed_type"]) == (True, 1, "NO")
    assert (one["use_cpu"], one["num_processes"], one["distributed_type"]) == (False, 1, "NO")
    assert (four["num_processes"], four["distributed_type"]) == (4, "MULTI_GPU")
    zero = launch_settings(4, deepspeed=True)
    assert zero["distributed_type"] == "DEEPSPEED" and zero["deepspeed_config"]["zero_stage"] == 2
    assert "deepspeed_config" not in launch_settings(1, deepspeed=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["training"].update(learning_rat=1), "Did you mean learning_rate?"),
        (lambda raw: raw["training"].update(packing=True), "drops the mask"),
        (lambda raw: raw["training"].update(eval_strategy="steps"), "no rows to evaluate on"),
        (lambda raw: raw["qdl"].update(lora={"rank": 8}), "no LoRA"),
    ],
)
def test_what_1_0_cannot_do_is_refused_before_it_is_started(
    lab: Lab, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        write_inputs(read_config(config_of(lab, change)), Interpreter("python", training_keys=KEYS), tmp_path)
    assert words in str(refused.value)


def test_a_student_that_is_none_is_said_as_such(lab: Lab, tmp_path: Path) -> None:
    config = config_of(lab, lambda raw: raw["models"].update(student=str(tmp_path / "nowhere")))
    with pytest.raises(ModelError, match="Model not found at"):
        write_inputs(read_config(config), Interpreter("python"), tmp_path)


def test_paths_are_plain_letters_while_it_runs(lab: Lab, tmp_path: Path) -> None:
    with plain_path(lab.root) as plain:
        assert (plain / "data/train_labeled.json").is_file() and "[" not in str(plain)
    assert not plain.exists() and lab.train_labeled.is_file()
    with plain_path(tmp_path) as same:
        assert same == tmp_path


def test_nothing_of_ours_reaches_its_environment(tmp_path: Path) -> None:
    ours = {"PYTHONPATH": "/ours", "ACCELERATE_MIXED_PRECISION": "fp16", "PATH": "/bin", "HOME": "/home/x"}
    env = launch_environment(ours, "/opt/old/bin/python", tmp_path, threads=2)
    assert not {"PYTHONPATH", "ACCELERATE_MIXED_PRECISION"} & env.keys()
    assert env["PATH"] == "/opt/old/bin:/bin" and env["HOME"] == "/home/x"
    assert env["PYTHONUNBUFFERED"] == env["PYTHONUTF8"] == env["HF_HUB_OFFLINE"] == "1"
    assert env["TOKENIZERS_PARALLELISM"] == "false" and env["OMP_NUM_THREADS"] == "2"
    assert env["HF_DATASETS_CACHE"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("gpus", "deepspeed", "how"),
    [(0, False, "plain"), (1, False, "plain"), (4, False, "torchrun"), (4, True, "deepspeed")],
)
def test_accelerate_understands_the_launch_file(tmp_path: Path, gpus: int, deepspeed: bool, how: str) -> None:
    """What `accelerate launch` makes of it, up to the start of processes: no GPU is needed for that."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    file = tmp_path / "launch.json"
    write_json_atomic(file, launch_settings(gpus, deepspeed=deepspeed))
    arguments = ["--config_file", str(file), "train.py", "--config", "c.json"]
    taken, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert (taken.num_processes, taken.num_machines) == (max(gpus, 1), 1)
    assert (taken.multi_gpu, taken.use_deepspeed) == (how == "torchrun", how == "deepspeed")
    assert taken.mixed_precision == "no", "the config's bf16 and fp16 decide"
    if how == "plain":
        command, environment = prepare_simple_launcher_cmd_env(taken)
        assert command[-3:] == ["train.py", "--config", "c.json"]
        assert environment["ACCELERATE_USE_CPU"] == str(gpus == 0)
    if how == "deepspeed":
        assert (int(taken.zero_stage), float(taken.gradient_clipping)) == (2, 1.0)


def test_a_student_of_the_hub_is_taken_from_its_cache_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options)
        return str(BASE_STUDENT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr("qdl_engine.models.checkpoint.hub_reachable", lambda: False)
    assert student_directory("someone/student") == BASE_STUDENT
    assert asked["local_files_only"] and "*.safetensors" in asked["allow_patterns"]
    assert not {"*.py", "*.bin", "*"} & set(asked["allow_patterns"])


def test_the_last_words_of_a_crash_reach_the_log(
    lab: Lab, python: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pytest.raises(RunError, match="EasyDistill failed: no end of line"):
        run(lab, python, "import os; os.write(2, b'no end of line'); os._exit(4)")
    assert b"no end of line" in capfdbinary.readouterr().out
