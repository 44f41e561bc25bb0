"""Whole trainings of a tiny student, in this process."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from qdl_engine.core.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Failed,
    Finished,
    Metrics,
    Note,
    Progress,
    Started,
    Stopped,
)
from qdl_engine.core.prompts import format_prompt
from qdl_engine.trainer.__main__ import train
from qdl_engine.trainer.session import DONE, STOPPED
from tests.engine.trainer.conftest import TinyLab

MakeLab = Callable[..., TinyLab]


def run(tiny: TinyLab, *, resume: bool = False, on_event: Callable[[Event], None] | None = None) -> int:
    def sink(event: Event) -> None:
        tiny.events.append(event)
        if on_event:
            on_event(event)

    return train(tiny.config, resume=resume, sink=sink)


def test_a_training_ends_in_a_checkpoint_that_says_what_it_is(make_lab: MakeLab) -> None:
    tiny = make_lab(system_prompt="Be 'brief'.\n{{ x }}")
    assert run(tiny) == DONE
    kinds = [event.kind for event in tiny.events]
    assert kinds[:2] == ["progress", "started"] and kinds[-1] == "finished"
    started, metrics = tiny.of(Started)[0], tiny.of(Metrics)[-1]
    assert (started.rows, started.held_out_rows, started.total_steps) == (54, 6, 28)
    assert (started.device, started.precision) == ("CPU", "fp32")
    assert metrics.step == metrics.total_steps == 28
    told = {key for key, value in vars(metrics).items() if value is not None}
    assert {"epoch", "learning_rate", "grad_norm", "tokens_per_second", "eta_seconds"} <= told
    held_out = [event.held_out_loss for event in tiny.of(Evaluated)]
    assert [event.step for event in tiny.of(Evaluated)] == [0, 10, 20, 28]
    assert held_out[-1] < held_out[0] - 0.3
    record = json.loads((tiny.output / "qdl_checkpoint.json").read_text())
    assert record["system"] == "system1" and record["system_prompt"] == "Be 'brief'.\n{{ x }}"
    assert record["metrics"]["held_out_loss"] == pytest.approx(held_out[-1])
    tokenizer = AutoTokenizer.from_pretrained(tiny.output)
    turns = [{"role": "user", "content": "Say 'it'."}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == format_prompt("Say 'it'.", system_prompt="Be 'brief'.\n{{ x }}")
    assert not tiny.checkpoints.exists(), "what was kept to resume from is gone once the student is there"
    assert not list(tiny.lab.root.glob(".*new*"))


# Taken from this very code: a change of the rows' order, of the masks or of the loss shows here.
FIRST_LOSSES = [5.4955, 5.5089, 5.4386, 5.3679, 5.3238]


def test_the_first_losses_are_what_they_were(make_lab: MakeLab) -> None:
    tiny = make_lab(logging_steps=1, max_steps=5, held_out=0.0)
    assert run(tiny) == DONE
    assert list(tiny.losses().values()) == pytest.approx(FIRST_LOSSES, abs=1e-3)


@pytest.mark.parametrize(("steps", "rates"), [(1, [1e-3]), (2, [0.0, 1e-3]), (12, None)])
def test_warm_up_never_takes_the_whole_of_a_training(
    make_lab: MakeLab, steps: int, rates: list[float] | None
) -> None:
    tiny = make_lab(logging_steps=1, max_steps=steps, held_out=0.0, warmup_ratio=0.5)
    assert run(tiny) == DONE
    learnt = [event.learning_rate for event in tiny.of(Metrics)]
    assert rates is None or learnt == pytest.approx(rates)
    assert max(learnt) == pytest.approx(1e-3)
    warned = [event.message for event in tiny.of(Note) if "little can be learnt" in event.message]
    assert len(warned) == (1 if steps < 10 else 0)
    assert all("epochs" in text and "gradient_accumulation" in text for text in warned)


def test_stopped_and_resumed_it_trains_the_same_steps(make_lab: MakeLab) -> None:
    whole = make_lab(name="whole", epochs=3.0)
    assert run(whole) == DONE

    parts = make_lab(name="parts", epochs=3.0)

    def stop(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(parts, on_event=stop) == STOPPED
    stopped = parts.of(Stopped)[0]
    assert stopped.step == 16 and Path(stopped.path).is_dir()
    assert not parts.output.exists()

    def stop_at_once(event: Event) -> None:
        if isinstance(event, Progress):
            os.kill(os.getpid(), signal.SIGTERM)

    parts.events.clear()
    assert run(parts, resume=True, on_event=stop_at_once) == STOPPED
    assert parts.of(Stopped)[0].step == 16 and not parts.of(Started)
    # A kill in the middle of writing leaves one like this.
    shutil.copytree(stopped.path, parts.checkpoints / "checkpoint-17")
    (parts.checkpoints / "checkpoint-17" / "trainer_state.json").write_text('{"cut')

    parts.events.clear()
    assert run(parts, resume=True) == DONE
    assert parts.of(Started)[0].step == 16
    assert parts.of(Finished)[0].metrics["steps"] == whole.of(Finished)[0].metrics["steps"] == 42
    later = {step: loss for step, loss in parts.losses().items() if step > 20}
    assert len(later) >= 4
    assert later == pytest.approx({step: whole.losses()[step] for step in later}, abs=1e-4)
    ours, theirs = (load_file(tiny.output / "model.safetensors") for tiny in (parts, whole))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)


def test_a_terminal_that_closes_asks_for_a_checkpoint_unless_told_to_go_on(make_lab: MakeLab) -> None:
    def hang_up(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == 5:
            os.kill(os.getpid(), signal.SIGHUP)

    closed, kept = make_lab(name="closed"), make_lab(name="nohup", max_steps=6)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests themselves may run under `nohup`.
    try:
        assert run(closed, on_event=hang_up) == STOPPED
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As `nohup` leaves it.
        assert run(kept, on_event=hang_up) == DONE
    finally:
        signal.signal(signal.SIGHUP, before)
    assert Path(closed.of(Stopped)[0].path).is_dir()


@pytest.mark.parametrize(
    "training",
    [{"save_strategy": "best"}, {"deepspeed": "none.json"}, {"fsdp": "full_shard"}, {"num_train_epochs": 0}],
)
def test_settings_that_do_not_go_together_end_with_code_two(make_lab: MakeLab, training: Any) -> None:
    tiny = make_lab()
    tiny.rewrite(lambda raw: raw["training"].update(training))
    assert run(tiny) == 2
    assert "training" in tiny.of(Failed)[0].message
    assert not tiny.of(Started) and not tiny.output.exists()


@pytest.mark.parametrize("save_steps", [2, 100000])
def test_a_full_disk_is_named_and_leaves_no_half_student(make_lab: MakeLab, save_steps: int) -> None:
    tiny = make_lab(max_steps=3, save_steps=save_steps)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        assert run(tiny) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    failed = tiny.of(Failed)[0]
    assert failed.message.startswith("The checkpoint could not be written:")
    assert str(tiny.lab.root) in failed.hint
    assert not tiny.output.exists() and not list(tiny.lab.root.glob(".*new*"))


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("RowCollator.__call__", ConnectionError("no route"), "Training failed: ConnectionError"),
        ("ProgressCallback.on_log", TimeoutError("the tracker is silent"), "Training failed: TimeoutError"),
        ("ProgressCallback.on_save", OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    ],
)
def test_what_fails_beside_the_writing_of_a_checkpoint_is_not_called_that(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, place: str, error: OSError, words: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"qdl_engine.trainer.session.{place}", fail)
    tiny = make_lab(max_steps=3, save_steps=2)
    assert run(tiny) == 1
    failed = tiny.of(Failed)[0]
    assert failed.message.startswith(words)
    assert "checkpoint" not in failed.message and "room for it" not in failed.hint
    assert not tiny.output.exists()


def test_every_held_out_row_counts_when_training_drops_its_last_batch(make_lab: MakeLab) -> None:
    plain, dropping = make_lab(name="plain", max_steps=1), make_lab(name="dropping", max_steps=1)
    dropping.rewrite(lambda raw: raw["training"].update(dataloader_drop_last=True))
    assert run(plain) == run(dropping) == DONE
    # Six held-out rows in batches of four; before the first step both are the same student.
    before = [tiny.of(Evaluated)[0].held_out_loss for tiny in (plain, dropping)]
    assert before[0] == pytest.approx(before[1], abs=1e-6)


def test_a_checkpoint_of_other_rows_is_not_resumed(make_lab: MakeLab) -> None:
    tiny = make_lab()

    def stop(event: Event) -> None:
        if isinstance(event, Metrics):
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(tiny, on_event=stop) == STOPPED
    tiny.lab.train_labeled.write_text(json.dumps([{"instruction": str(n), "output": "o"} for n in range(60)]))
    assert run(tiny, resume=True) == 1
    assert "Cannot resume" in tiny.of(Failed)[0].message


def test_resuming_without_a_checkpoint_begins_anew_and_says_so(make_lab: MakeLab) -> None:
    tiny = make_lab(max_steps=2)
    assert run(tiny, resume=True) == DONE
    assert "No checkpoint to resume from" in tiny.of(Note)[0].message


def test_a_loss_that_is_no_number_fails_with_a_cure(make_lab: MakeLab, student: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(student, broken)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    weights[name] = weights[name] * float("inf")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    tiny = make_lab(student=str(broken), held_out=0.0)
    assert run(tiny) == 1
    failed = tiny.of(Failed)[0]
    assert "loss became nan" in failed.message and "learning_rate" in failed.hint
    assert not tiny.output.exists() and not tiny.of(CheckpointSaved)


def test_a_student_that_is_no_model_is_named(make_lab: MakeLab, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "nowhere")):
        tiny = make_lab(student=name)
        assert run(tiny) == 1
        failed = tiny.of(Failed)[0]
        assert failed.message == f"Invalid student model: {name}"
        assert "Qwen/Qwen2.5-0.5B-Instruct" in failed.hint


def test_nothing_to_train_on_is_an_error_with_the_counts(make_lab: MakeLab) -> None:
    tiny = make_lab(max_length=16)
    assert run(tiny) == 1
    failed = tiny.of(Failed)[0]
    assert "No rows to train on" in failed.message and "60 over 16 tokens" in failed.hint


def test_settings_end_with_code_two_before_any_model(make_lab: MakeLab) -> None:
    tiny = make_lab()
    tiny.rewrite(lambda raw: raw["training"].update(learning_rte=1.0))
    assert run(tiny) == 2
    assert tiny.of(Failed)[0].hint == "Did you mean learning_rate?"


def test_out_of_memory_says_which_settings_fit(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        torch.empty(2**52)
        return 0

    monkeypatch.setattr("qdl_engine.trainer.session.load_student", full)
    tiny = make_lab()
    assert run(tiny) == 1
    failed = tiny.of(Failed)[0]
    assert failed.message == "Out of memory on CPU"
    assert failed.settings == {"batch_size": 2, "gradient_accumulation": 2}
    assert "[system1]: batch_size = 2, gradient_accumulation = 2" in failed.hint


def test_what_nobody_foresaw_goes_to_a_file(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("qdl_engine.trainer.session.load_student", fail)
    tiny = make_lab()
    assert run(tiny) == 1
    log = tiny.config.parent / "traceback.log"
    assert str(log) in tiny.of(Failed)[0].hint and "ZeroDivisionError" in log.read_text()


def test_lora_ends_in_a_whole_model(make_lab: MakeLab, student: Path) -> None:
    tiny = make_lab(lora_rank=4, learning_rate=1e-2)
    assert run(tiny) == DONE
    assert not list(tiny.output.glob("adapter*"))
    assert tiny.of(Started)[0].trained_parameters < tiny.of(Started)[0].parameters / 2
    before, after = load_file(student / "model.safetensors"), load_file(tiny.output / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert any("q_proj" in name for name in changed) and not any("embed" in name for name in changed)
    held_out = [event.held_out_loss for event in tiny.of(Evaluated)]
    assert held_out[-1] < held_out[0] - 0.15


def test_a_student_keeps_the_number_format_it_came_in(
    make_lab: MakeLab, student: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short"
    shutil.copytree(student, short)
    AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16).save_pretrained(short)
    tiny = make_lab(student=str(short), max_steps=3)
    assert run(tiny) == DONE
    assert AutoConfig.from_pretrained(tiny.output).dtype == torch.bfloat16
    assert {value.dtype for value in load_file(tiny.output / "model.safetensors").values()} == {
        torch.bfloat16
    }


def test_the_student_before_is_kept_aside(make_lab: MakeLab, student: Path) -> None:
    tiny = make_lab(max_steps=2)
    shutil.copytree(student, tiny.output)
    (tiny.output / "old").touch()
    assert run(tiny) == DONE
    assert (tiny.output.with_name(f"{tiny.output.name}.previous") / "old").exists()
    assert not (tiny.output / "old").exists()


def test_what_is_no_checkpoint_is_not_moved_for_one(make_lab: MakeLab) -> None:
    tiny = make_lab(max_steps=2)
    tiny.output.mkdir()
    (tiny.output / "thesis.txt").write_text("precious")
    assert run(tiny) != DONE
    assert "holds other things than a checkpoint" in tiny.of(Failed)[0].message
    assert (tiny.output / "thesis.txt").read_text() == "precious"


def test_a_config_that_is_not_ours_trains_too(make_lab: MakeLab) -> None:
    tiny = make_lab()
    template = tiny.lab.configs / "stock.jinja"
    template.write_text(
        "{{'<|im_start|>user\n' + message['content'] + '<|im_end|>\n'}}{% if add_output %}\n{% endif %}  "
        "{{'<|im_start|>assistant\n'}}{% if add_output %}{{message['output']}}-{% endif %}"
    )
    rows = tiny.lab.data / "rows.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "c", "output": "d"}\n')

    def change(raw: dict[str, Any]) -> None:
        del raw["qdl"]
        raw["dataset"] |= {"template": str(template), "labeled_path": str(rows)}
        raw["training"] |= {"max_steps": 2, "bf16": True}

    tiny.rewrite(change)
    assert run(tiny) == DONE
    notes = " ".join(event.message for event in tiny.of(Note))
    assert "bf16 is for a GPU" in notes and "asks in other words" in notes
    tokenizer = AutoTokenizer.from_pretrained(tiny.output)
    turns = [{"role": "user", "content": "Q"}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nQ<|im_end|>\n  <|im_start|>assistant\n"
