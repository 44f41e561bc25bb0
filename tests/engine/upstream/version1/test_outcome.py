"""Success is what left proof; EasyDistill's exit codes and its own verdict are not taken for one."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import pytest

from qdl_engine.upstream.version1.outcome import Outcome, judge_training

END = (
    "{'train_runtime': 4.2602, 'train_loss': 5.601, 'epoch': 2.0}\n\r100%|█| 20/20 [02:00<00:00,  3.52it/s]\n"
)
CLOCK = "2026-11-24 01:53:20,697 - "
TRACEBACK = (
    "\r  0%|          | 0/10 [00:00<?, ?it/s]Traceback (most recent call last):\n"
    '  File "train.py", line 3, in <module>\n    main()\n'
    "ValueError: the rows are \x1b[31mempty\n"
)
LAUNCHER = (
    "Traceback (most recent call last):\n  File launch.py\n"
    "subprocess.CalledProcessError: Command '['python', 'x']' returned non-zero exit status 1.\n"
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A whole checkpoint."""
    directory = tmp_path / "output"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return directory


def judge(text: str, output: Path, *, code: int = 0, since: float = 0.0) -> Outcome:
    log = output.parent / "log"
    log.write_bytes(text.encode())
    return judge_training(log, code, output, since=since)


def test_the_last_line_and_a_new_checkpoint_are_success(output: Path) -> None:
    assert judge(END, output) == Outcome()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (f"{CLOCK}ERROR - Training job terminated: no eval\n", 0, "EasyDistill gave up: no eval"),
        (f"{END}Training job terminated: late\n", 0, "gave up: late"),
        ("  5%| | 1/20 [00:00<00:05,  3.52it/s]\nthe end\n", 0, "before the end of its training: the end"),
        (TRACEBACK + LAUNCHER, 1, "EasyDistill failed: ValueError: the rows are ␛[31mempty"),
        (
            f"{CLOCK}INFO - {TRACEBACK}{CLOCK}ERROR - Command failed (returncode=1, errors detected)\n",
            0,
            "ValueError",
        ),
        (f"{END}{CLOCK}ERROR - Command failed (returncode=1, errors detected)\n", 0, "EasyDistill failed"),
        ("torch.OutOfMemoryError: CUDA out of memory.\n" + LAUNCHER, 1, "EasyDistill ran out of memory"),
        ("Command '[]' died with <Signals.SIGKILL: 9>.\n", 1, "EasyDistill was killed by SIGKILL"),
        ("", -9, "EasyDistill was killed by signal 9"),
        ("", 7, "EasyDistill ended with exit code 7"),
    ],
)
def test_all_else_is_failure_although_a_checkpoint_is_there(
    output: Path, text: str, code: int, words: str
) -> None:
    outcome = judge(text, output, code=code)
    assert words in outcome.problem and str(output.parent / "log") in outcome.hint


def test_a_stale_or_missing_checkpoint_is_failure(output: Path) -> None:
    os.utime(output / "model.safetensors", (1, 1))
    assert "older than the run" in judge(END, output, since=time.time() - 60).problem
    (output / "model.safetensors").unlink()
    assert "no model*.safetensors" in judge(END, output).problem


def test_its_own_verdict_without_an_exit_code_is_success_with_warnings(output: Path) -> None:
    sample = "Error processing sample: can only concatenate str"
    logged = (
        f"{CLOCK}INFO - WARNING:root:{sample}\n"
        f"{CLOCK}ERROR - Detected error in output: WARNING:root:{sample}\n"
        f"{CLOCK}INFO - Data successfully written to /x/error-runs/rows.json\n"
        f"{CLOCK}ERROR - Detected error in output: Data successfully written to /x/error-runs/rows.json\n"
        f"{CLOCK}INFO - {END}{CLOCK}ERROR - Command failed (returncode=0, errors detected)\n"
    )
    outcome = judge(logged, output)
    assert not outcome.problem
    assert outcome.warnings == (
        f"WARNING:root:{sample}",
        "Data successfully written to /x/error-runs/rows.json",
    )
