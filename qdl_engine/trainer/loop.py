"""The training loop: what it reports of each step, and TRL's SFTTrainer without the work nobody reads."""

from __future__ import annotations

import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from qdl_engine.core.events import CheckpointSaved, Evaluated, EventSink, Metrics, Note, Started
from qdl_engine.core.stop import StopRequest
from qdl_engine.trainer.checkpoint import writing_to
from qdl_engine.trainer.rows import IGNORED, EpochSampler, lab_order, upstream_order
from qdl_engine.trainer.selection import MOST_DIRECT_LOGITS, few_steps, warmup_steps


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Writes events, prints lines for `output.log`, and ends what should end."""

    def __init__(self, sink: EventSink, stop: StopRequest, started: dict[str, Any]) -> None:
        self.sink = sink
        self.stop = stop
        self.started = started
        self.trainer: Any = None
        self.bad_loss: tuple[int, float] | None = None
        """Step and value of a loss that is not finite."""
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
            self.sink(Started(total_steps=state.max_steps, step=state.global_step, **self.started))
            rows, device, precision = (self.started[key] for key in ("rows", "device", "precision"))
            print(f"{rows:,} rows, {state.max_steps:,} steps, on {device} in {precision}", flush=True)
            warning = few_steps(state.max_steps)
            if warning:
                self.sink(Note(warning))
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
            self.sink(Metrics(**metrics))
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
            self.sink(Evaluated(step=self.held_out[0], held_out_loss=self.held_out[1]))
            print(f"step {self.held_out[0]:,}  held-out loss {self.held_out[1]:.4f}", flush=True)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            path = f"{args.output_dir}/checkpoint-{state.global_step}"
            self.sink(CheckpointSaved(step=state.global_step, path=path))


def _peak_gpu_memory(device: torch.device) -> int:
    """The most bytes since the last report: a curve of it shows which rows need the most memory."""
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


class LabTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains rows that are tokenised already.

    Args:
        lengths: Tokens of each training row, for the sampler.
        longest_first: Whether the longest rows come first although they are not grouped.
        upstream_seed: `dataset.seed`, when the rows come in the order of EasyDistill 1.0; else None.
        options: SFTTrainer's own keywords.
    """

    def __init__(
        self, *, lengths: list[int], longest_first: bool, upstream_seed: int | None = None, **options: Any
    ) -> None:
        self._lengths = lengths
        self._upstream_seed = upstream_seed
        self._longest_first = longest_first
        self._seen = torch.zeros((), dtype=torch.long)
        self._held_out: list[tuple[float, int]] = []
        self.seconds_evaluating = 0.0
        super().__init__(**options)
        # The direct way is for one process on a CPU. On a GPU TRL's loss is kept: it never holds all logits
        # (rows x tokens x 152k), and its entropy and accuracy cost little there. With several processes the
        # model must be called through the wrapper that exchanges gradients.
        plain = self.args.loss_type == "nll" and not self.args.label_smoothing_factor
        on_cpu = self.args.device.type == "cpu" and self.args.world_size == 1
        self._direct = on_cpu and plain and not self.args.bf16

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss per answer token; see `answer_loss`."""
        inputs.pop("row_index", None)
        answer_tokens = int(inputs["labels"].ne(IGNORED).sum()) if self.args.device.type == "cpu" else 0
        vocabulary = self.model.config.vocab_size
        if self._direct and not return_outputs and answer_tokens * vocabulary <= MOST_DIRECT_LOGITS:
            base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
            loss = answer_loss(base, inputs, num_items_in_batch)
        else:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            self._seen = self._seen.to(inputs["attention_mask"].device) + inputs["attention_mask"].sum()
        else:
            count = int(inputs["labels"][:, 1:].ne(IGNORED).sum())
            self._held_out.append((float(loss[0] if return_outputs else loss), count))
        return loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        asked = self.args.get_warmup_steps(num_training_steps)
        # A whole number is taken as steps.
        self.args.warmup_steps = warmup_steps(asked, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def take_tokens(self) -> int:
        """Real tokens (no padding) this process trained on since the last call."""
        seen = int(self._seen)
        self._seen = torch.zeros_like(self._seen)
        return seen

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """The library averages over batches; the held-out loss is an average over tokens."""
        self._held_out = []
        output = super().evaluation_loop(*arguments, **options)
        sums = torch.tensor(
            [sum(loss * count for loss, count in self._held_out), sum(count for _, count in self._held_out)],
            device=self.args.device,
        )
        total, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        output.metrics["eval_loss"] = total / max(tokens, 1)
        return output

    def get_eval_dataloader(self, *arguments: Any, **options: Any) -> Any:
        """`dataloader_drop_last` is for training: held-out rows without a full batch count as well."""
        wanted, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(*arguments, **options)
        finally:
            self.args.dataloader_drop_last = wanted

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return super().evaluate(*arguments, **options)
        finally:
            self.seconds_evaluating += time.monotonic() - began

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody reads the estimate, and making it walks over all parameters at each step."""
        return 0

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """A model card that names nothing but TRL, at each checkpoint, is of no use."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Only around the writing: what a reporter or a loader raises has nothing to do with the disk.
        with writing_to(Path(self.args.output_dir).parent):
            super()._save_checkpoint(model, trial)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        count, seed = len(self._lengths), self.args.seed
        if self._upstream_seed is not None:
            data_seed = seed if self.args.data_seed is None else self.args.data_seed
            return EpochSampler(count, upstream_order(count, self._upstream_seed, data_seed))
        # Of one optimizer step, all passes and processes: their rows are of like length too.
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        grouped = self.args.train_sampling_strategy == "group_by_length"
        # Grouped, the longest always come first, as with the library's own sampler.
        longest_first = grouped or self._longest_first
        order = lab_order(self._lengths, rows, seed, group_by_length=grouped, longest_first=longest_first)
        return EpochSampler(count, order)


def answer_loss(model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross entropy of the trained tokens, with logits made for those only.

    Rows are padded on the right, which causal attention never sees from a real token, so no mask is needed;
    and without one attention takes its fast path.
    """
    hidden = model.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    targets = inputs["labels"][:, 1:]
    trained = targets.ne(IGNORED)
    logits = model.get_output_embeddings()(hidden[trained]).float()
    total = functional.cross_entropy(logits, targets[trained], reduction="sum")
    return total / (trained.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
