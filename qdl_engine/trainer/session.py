"""One training from a config to a checkpoint; and a checkpoint that EasyDistill 1.0 trained, adopted."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from accelerate import PartialState
from datasets import disable_progress_bars
from transformers import AutoConfig, PrinterCallback
from transformers.utils import logging as transformers_logging
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from qdl_engine.config.model import TrainConfig
from qdl_engine.core.errors import RunError, SettingsError
from qdl_engine.core.events import EventSink, Finished, Note, Progress, Stopped, no_sink
from qdl_engine.core.lab import read_json, write_json_atomic
from qdl_engine.core.stop import StopRequest
from qdl_engine.models.device import find_device
from qdl_engine.trainer.checkpoint import (
    SESSION_FILE,
    clear_checkpoints,
    last_checkpoint,
    publish,
)
from qdl_engine.trainer.loop import LabTrainer, ProgressCallback
from qdl_engine.trainer.plan import Plan, make_plan, trainer_arguments, wants_cpu
from qdl_engine.trainer.rows import RowCollator, to_dataset
from qdl_engine.trainer.student import (
    UNREADABLE,
    Student,
    dtype_of,
    end_answers,
    load_student,
    load_tokenizer,
    open_model,
)

DONE, STOPPED = 0, 3


def run_session(config: TrainConfig, *, resume: bool, sink: EventSink, stop: StopRequest) -> int:
    """Train, and write the final checkpoint.

    Returns:
        `DONE`, with a checkpoint that has been loaded again, or `STOPPED`, with one to resume from.

    Raises:
        LabError: with what a person should do.
    """
    began = time.monotonic()
    quiet_libraries()
    # A launcher's own choice would otherwise go before the config's.
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    if config.extras.threads:
        torch.set_num_threads(config.extras.threads)
    on_cpu = find_device(wants_cpu(config)).kind == "cpu"
    main = bool(PartialState(cpu=on_cpu).is_main_process)
    # Only the main process writes.
    notify = sink if main else no_sink
    plan = make_plan(config, notify)
    if stop.requested:
        return _stopped(notify, last_checkpoint(plan.checkpoints) if resume else None)
    student = load_student(config.student, plan.tokenizer, plan.precision, config.extras.lora)
    checkpoint = _prepare_checkpoints(plan, resume, main, notify)
    progress = ProgressCallback(notify, stop, _started(plan, student))
    trainer = make_trainer(plan, student, progress)
    if stop.requested:
        return _stopped(notify, checkpoint)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    _check_loss(progress, trainer)
    step, total = trainer.state.global_step, trainer.state.max_steps
    if stop.requested and step < total:
        return _stopped(notify, plan.checkpoints / f"checkpoint-{step}")
    if plan.held_out and (progress.held_out is None or progress.held_out[0] != step):
        trainer.evaluate()
    metrics = _final_metrics(progress, step, began)
    notify(Progress(stage="save", done=step, total=step, unit="steps"))
    if main:
        model = trainer.accelerator.unwrap_model(trainer.model)
        publish(
            model, student.tokenizer, config.output_dir,
            template=config.template, dtype=student.dtype, record=_record(plan, student, metrics),
        )  # fmt: skip
        clear_checkpoints(plan.checkpoints)
    trainer.accelerator.wait_for_everyone()
    seconds = time.monotonic() - began
    notify(Finished(path=str(config.output_dir), seconds=seconds, metrics=metrics))
    if main:
        print(f"Student written to {config.output_dir} after {seconds:,.0f} s", flush=True)
    return DONE


def quiet_libraries() -> None:
    """Progress goes out as events; bars of libraries would only fill the log."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    # TRL passes arguments of transformers under the names that transformers is about to rename.
    warnings.filterwarnings("ignore", category=FutureWarning)


def make_trainer(plan: Plan, student: Student, progress: ProgressCallback) -> LabTrainer:
    """The trainer, ready to go.

    Raises:
        SettingsError: for settings that do not go together, or that need a package which is not installed.
    """
    arguments = trainer_arguments(plan)
    collator = RowCollator(DataCollatorForLanguageModeling(pad_token_id=student.tokenizer.pad_token_id))
    try:
        trainer = LabTrainer(
            lengths=[len(row.input_ids) for row in plan.rows],
            longest_first=plan.config.extras.longest_first,
            upstream_seed=plan.config.seed if plan.config.extras.order == "easydistill" else None,
            model=student.model,
            args=arguments,
            data_collator=collator,
            train_dataset=to_dataset(plan.rows),
            eval_dataset=to_dataset(plan.held_out) if plan.held_out else None,
            processing_class=student.tokenizer,
            callbacks=[progress],
        )
    except (ValueError, ImportError) as error:
        raise SettingsError(f"{plan.config.path}: training: {error}") from error
    trainer.remove_callback(PrinterCallback)
    progress.trainer = trainer
    return trainer


def _prepare_checkpoints(plan: Plan, resume: bool, main: bool, sink: EventSink) -> Path | None:
    """The checkpoint to resume from, or None for a fresh start with an empty directory.

    Raises:
        RunError: when rows or batches changed since that checkpoint: its step would mean something else.
    """
    checkpoint = last_checkpoint(plan.checkpoints) if resume else None
    session = plan.checkpoints / SESSION_FILE
    if checkpoint is not None:
        if session.is_file() and read_json(session).get("fingerprint") != plan.fingerprint:
            raise RunError(
                f"Cannot resume from {checkpoint.name}: the rows or the batches have changed",
                "Train again without resuming.",
            )
        return checkpoint
    if main:
        if resume:
            sink(Note("No checkpoint to resume from: training starts from step 0."))
        clear_checkpoints(plan.checkpoints)
        write_json_atomic(session, {"fingerprint": plan.fingerprint})
    return None


def _started(plan: Plan, student: Student) -> dict[str, Any]:
    parameters = [(weights.numel(), weights.requires_grad) for weights in student.model.parameters()]
    return {
        "epochs": plan.arguments.get("num_train_epochs", 3.0),
        "rows": len(plan.rows),
        "held_out_rows": len(plan.held_out),
        "dropped_rows": plan.counts.read - plan.counts.kept,
        "trained_tokens_per_epoch": sum(row.trained_tokens for row in plan.rows),
        "device": plan.device.name,
        "precision": plan.precision,
        "parameters": sum(count for count, _ in parameters),
        "trained_parameters": sum(count for count, trained in parameters if trained),
    }


def _stopped(sink: EventSink, checkpoint: Path | None) -> int:
    """Stopped, with the checkpoint to resume from; None before the first one."""
    step = 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
    sink(Stopped(step=step, path=None if checkpoint is None else str(checkpoint)))
    print(f"Stopped at step {step:,}", flush=True)
    return STOPPED


def _check_loss(progress: ProgressCallback, trainer: LabTrainer) -> None:
    if progress.bad_loss is None:
        return
    step, loss = progress.bad_loss
    rate = trainer.args.learning_rate
    hint = f"Lower learning_rate, now {rate:g}: try {rate / 10:g}."
    if trainer.args.fp16:
        hint += " Or precision = fp32: fp16 overflows easily."
    raise RunError(f"The loss became {loss} by step {step}: the student has diverged", hint)


def _final_metrics(progress: ProgressCallback, step: int, began: float) -> dict[str, Any]:
    return {
        "steps": step,
        "loss": progress.last_metrics.get("loss"),
        "held_out_loss": None if progress.held_out is None else progress.held_out[1],
        "tokens_per_second": progress.last_metrics.get("tokens_per_second"),
        "seconds": time.monotonic() - began,
    }


def _record(plan: Plan, student: Student, metrics: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about itself: enough to ask it rightly, and to make it again."""
    config = plan.config
    return {
        "format": 1,
        "system": config.extras.system,
        "system_prompt": config.template.system_prompt,
        "prompt": {"prefix": config.template.prefix, "suffix": config.template.suffix},
        "template_sha256": config.template.sha256,
        "student": student.name,
        "config": config.raw,
        "data": {
            **config.extras.data, "path": str(config.labeled_path), "rows": len(plan.rows),
            "held_out_rows": len(plan.held_out), "fingerprint": plan.fingerprint,
        },
        "metrics": metrics,
        "precision": plan.precision,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, trl)},
    }  # fmt: skip


def adopt_checkpoint(trained: Path, student: Path, config: TrainConfig, record: dict[str, Any]) -> None:
    """Put `trained` where the config's student belongs, as the built-in runtime leaves one.

    It is proved to load, has the number format of the student it began as, ends its answers and renders its
    prompts as they were trained.

    Args:
        trained: What the other runtime wrote.
        student: The directory of the student that it began with.
        config: What was trained.
        record: What the checkpoint says about itself.

    Raises:
        RunError: when it does not load; what was there before stays.
        ModelError: when `student` is no model any more.
    """
    quiet_libraries()
    tokenizer = load_tokenizer(str(student), config.template)
    dtype = dtype_of(AutoConfig.from_pretrained(student, trust_remote_code=False))
    try:
        model, missing = open_model(trained, torch.float32)
    except UNREADABLE as error:
        raise RunError(f"The checkpoint in {trained} does not load: {error}") from error
    if missing:
        raise RunError(f"The checkpoint in {trained} lacks {missing[0]}")
    end_answers(model, tokenizer)
    publish(model, tokenizer, config.output_dir, template=config.template, dtype=dtype, record=record)
