"""The console of a foreign EasyDistill, as its training really prints."""

from __future__ import annotations

import math
from pathlib import Path

from qdl_engine.easydistill.output import ConsoleParser, is_foreign
from qdl_engine.lab import Lab
from qdl_engine.runs.reader import RunWatch, loss_history
from qdl_engine.runs.store import create_run

OUTPUT = (
    "Tokenizing train dataset: 100%|██████████| 40/40 [00:00<00:00, 1362.51 examples/s]\n"
    "  0%|          | 0/20 [00:00<?, ?it/s]\r"
    "  5%|▌         | 1/20 [00:00<00:05,  3.52it/s]"
    "{'loss': 5.6426, 'grad_norm': 2.78, 'learning_rate': 0.0, 'num_tokens': 208.0, 'epoch': 0.1}\n"
    "\r  5%|▌         | 1/20 [00:00<00:05,  3.52it/s]\r"
    " 45%|▌         | 9/20 [01:40<01:02:05,  3.52s/it]\r"
    "{'loss': nan, 'learning_rate': 2e-05, 'epoch': 1.0}\n"
    "\r 50%|▌         | 10/20 [02:00<00:05,  3.52it/s]\r"
    "{'loss': '4.5', 'epoch': '2.0'}\n\r100%|▌         | 20/20 [02:00<00:00,  3.52it/s]\r"
    "{'train_runtime': 4.2602, 'train_loss': 5.601, 'epoch': 2.0}\n"
).encode()


def test_steps_and_losses() -> None:
    events = ConsoleParser().feed(OUTPUT)
    losses = [(event["step"], event["loss"]) for event in events if "loss" in event]
    assert losses[0] == (1, 5.6426) and losses[2] == (20, 4.5)
    assert losses[1][0] == 10 and math.isnan(losses[1][1])
    assert [event["total_steps"] for event in events if event["event"] == "started"] == [20]
    assert next(event for event in events if event.get("step") == 9)["eta_seconds"] == 3725


def test_wherever_the_output_is_cut_the_losses_are_the_same() -> None:
    parser, events = ConsoleParser(), []
    for line in OUTPUT.splitlines(keepends=True):
        events += parser.feed(line)
    assert [event["step"] for event in events if "loss" in event] == [1, 10, 20]


def test_a_failure_that_exits_with_0_is_told() -> None:
    (event,) = ConsoleParser().feed(b"2026 - INFO - Training job terminated: no data\n")
    assert event == {"event": "note", "time": event["time"], "message": "no data"}


def test_a_run_of_it_has_a_curve(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path)
    argv = ["python", "/opt/checkout/easydistill/kd/train.py", "--config", "x"]
    assert is_foreign(argv) and not is_foreign(["python", "-m", "qdl_engine.trainer"])
    run = create_run(lab, "train", argv=argv)
    run.log_file.write_bytes(OUTPUT[:-40])
    watch = RunWatch(run)
    watch.read_events()
    assert (watch.summary.step, watch.summary.total_steps, watch.summary.loss) == (20, 20, 4.5)
    assert [step for step, _ in loss_history(run)] == [1, 10, 20]
    assert watch.read_events() == []
