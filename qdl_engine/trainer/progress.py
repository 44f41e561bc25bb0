"""Events and a line of text at each report; the end of a training whose loss is no number."""

from __future__ import annotations

import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qdl_engine.events import EventSink, make_event
from qdl_engine.trainer.steps import few_steps
from qdl_engine.trainer.stop import StopRequest


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Writes events, prints lines for `output.log`, and ends what should end."""

    def __init__(self, sink: EventSink, stop: StopRequest, started: dict[str, Any]) -> None:
        self.sink = sink
        self.stop = stop
        self.started = started
        self.trainer: Any = None
        self.bad_loss: tuple[int, float] | None = None
        """Step and value of a loss that is no number."""
        self.last_metrics: dict[str, Any] = {}
        self.held_out: tuple[int, float] | None = None
        """Step and value of the last held-out loss."""
        self._began = self._reported = 0.0
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began = self._reported = time.monotonic()
        self._first_step = state.global_step
        if state.is_world_process_zero:
            self.sink(
                make_event("started", total_steps=state.max_steps, step=state.global_step, **self.started)
            )
            rows, device, precision = (self.started[key] for key in ("rows", "device", "precision"))
            print(f"{rows:,} rows, {state.max_steps:,} steps, on {device} in {precision}", flush=True)
            warning = few_steps(state.max_steps)
            if warning:
                self.sink(make_event("note", message=warning))
                print(warning, flush=True)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.stop.agreed(args.world_size, args.device) and state.global_step < state.max_steps:
            control.should_save = True
            control.should_evaluate = False
            control.should_training_stop = True
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            # A checkpoint of a diverged student would push a good one out.
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
            self.bad_loss = (state.global_step, loss)
        metrics = self._metrics(args, state, logs)
        self.last_metrics = metrics
        if state.is_world_process_zero:
            self.sink(make_event("metrics", **metrics))
            print(_as_line(metrics), flush=True)

    def _metrics(
        self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]
    ) -> dict[str, Any]:
        now = time.monotonic()
        spent = max(now - self._reported - self.trainer.seconds_evaluating, 1e-9)
        tokens = self.trainer.take_tokens() * args.world_size
        self.trainer.seconds_evaluating, self._reported = 0.0, now
        done = max(state.global_step - self._first_step, 1)
        on_gpu = args.device.type == "cuda"
        return {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": round(float(state.epoch or 0.0), 4),
            "loss": float(logs["loss"]),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": tokens / spent,
            "eta_seconds": (state.max_steps - state.global_step) * (now - self._began) / done,
            "gpu_memory_bytes": _peak_gpu_memory(args.device) if on_gpu else None,
            "memory_bytes": memory_held() if args.device.type == "cpu" else None,
        }

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self.held_out = (state.global_step, float((metrics or {})["eval_loss"]))
        if state.is_world_process_zero:
            self.sink(make_event("evaluated", step=self.held_out[0], held_out_loss=self.held_out[1]))
            print(f"step {self.held_out[0]:,}  held-out loss {self.held_out[1]:.4f}", flush=True)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            path = f"{args.output_dir}/checkpoint-{state.global_step}"
            self.sink(make_event("checkpoint", step=state.global_step, path=path))


def _peak_gpu_memory(device: torch.device) -> int:
    """The most bytes since the last report: a curve of it shows which rows are the dear ones."""
    peak = int(torch.cuda.max_memory_allocated(device))
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def memory_held() -> int | None:
    """Bytes of main memory that this process holds; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _as_line(metrics: dict[str, Any]) -> str:
    rate = metrics["learning_rate"]
    return (
        f"step {metrics['step']:,}/{metrics['total_steps']:,}  loss {metrics['loss']:.4f}"
        + ("" if rate is None else f"  lr {rate:.2e}")
        + f"  {metrics['tokens_per_second']:,.0f} tokens/s  {metrics['eta_seconds']:,.0f} s left"
    )
