"""All that is decided before the student is loaded: rows, device, precision, arguments."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl import SFTConfig

from qdl_engine.config.model import TrainConfig, check_builtin
from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.events import EventSink, Note
from qdl_engine.models.device import Device, Precision, choose_precision, find_device
from qdl_engine.models.outputs import check_checkpoint_place
from qdl_engine.trainer.arguments import check_schedule, translate
from qdl_engine.trainer.rows import TokenRow, split_held_out, tokenise_rows
from qdl_engine.trainer.selection import RowCounts, labelled_rows
from qdl_engine.trainer.student import load_tokenizer

_STEP_KEYS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "train_sampling_strategy",
    "seed",
)


@dataclass
class Plan:
    """What will be trained, on what, and how."""

    config: TrainConfig
    arguments: dict[str, Any]
    """Of SFTConfig, as the config's own keys translate."""
    device: Device
    precision: Precision
    checkpoints: Path
    rows: list[TokenRow]
    held_out: list[TokenRow]
    counts: RowCounts
    tokenizer: Any

    @property
    def fingerprint(self) -> str:
        """Changes with whatever makes a step of one training mean nothing in another."""
        digest = hashlib.sha256(self.config.template.sha256.encode())
        for row in (*self.rows, *self.held_out):
            digest.update(f"{row.id} {len(row.input_ids)}\n".encode())
        steps = [self.arguments.get(key) for key in _STEP_KEYS]
        extras = self.config.extras
        digest.update(
            repr((steps, extras.lora.rank, extras.longest_first, extras.order, len(self.held_out))).encode()
        )
        return digest.hexdigest()


def make_plan(config: TrainConfig, sink: EventSink) -> Plan:
    """Read and tokenise the rows, once, and decide everything that needs no model.

    Raises:
        LabError: when the settings, the student's tokenizer or the rows do not serve.
    """
    check_builtin(config.training, config.path)
    arguments, notes = translate(config.training)
    check_schedule(arguments, held_out=bool(config.extras.held_out))
    _check_order(config)
    kept = [config.path, config.labeled_path, Path(config.student)]
    check_checkpoint_place(config.output_dir, f"{config.path}: training.output_dir", kept=kept)
    device = find_device(wants_cpu(config))
    precision, note = choose_precision(config.precision, device)
    tokenizer = load_tokenizer(config.student, config.template)
    rows, counts = tokenise_rows(labelled_rows(config), tokenizer, config.template, config.max_length)
    dropped = counts.dropped_in_words(config.max_length)
    if not rows:
        raise DataError(f"No rows to train on in {config.labeled_path}", dropped or "The file is empty.")
    trained, held_out = split_held_out(rows, config.extras.held_out, config.seed)
    notes += [note, dropped]
    if not config.template.same_in_training:
        notes.append(
            "dataset.template asks in other words in training than in use; this trains on those of use."
        )
    for text in filter(None, notes):
        sink(Note(text))
        print(text, flush=True)
    return Plan(
        config, arguments, device, precision, checkpoints_of(config), trained, held_out, counts, tokenizer
    )


def _check_order(config: TrainConfig) -> None:
    """EasyDistill 1.0 shuffles and does nothing else; when it groups by length its order depends on what was
    drawn before."""
    if config.extras.order == "lab":
        return
    for key, wanted in (
        ("training.group_by_length", config.training.get("group_by_length")),
        ("qdl.longest_first", config.extras.longest_first),
    ):
        if wanted:
            raise SettingsError(
                f"{config.path}: qdl.order = easydistill and {key} do not go together", f"Set {key} to false."
            )


def wants_cpu(config: TrainConfig) -> bool:
    """Whether the config asks for the CPU."""
    return bool(config.training.get("use_cpu") or config.training.get("no_cuda"))


def checkpoints_of(config: TrainConfig) -> Path:
    """Where checkpoints to resume from go: into the run, or beside the output; never into the output."""
    run = os.environ.get("QDL_RUN_DIR")
    if run:
        return Path(run) / "checkpoints"
    return config.output_dir.with_name(f"{config.output_dir.name}.checkpoints")


def trainer_arguments(plan: Plan) -> SFTConfig:
    """The config's own arguments, under what the lab decides itself.

    Raises:
        SettingsError: for a value the libraries do not accept.
    """
    own: dict[str, Any] = {"seed": plan.config.seed, "logging_nan_inf_filter": False, "report_to": "none"}
    own |= plan.arguments
    # Every weight that is trained has a part in every loss.
    own.setdefault("ddp_find_unused_parameters", False)
    own.setdefault("per_device_eval_batch_size", own.get("per_device_train_batch_size", 8))
    decided: dict[str, Any] = {
        "output_dir": str(plan.checkpoints),
        "bf16": plan.precision == "bf16",
        "fp16": plan.precision == "fp16",
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "eval_strategy": "steps" if plan.held_out else "no",
        "eval_on_start": bool(plan.held_out),
    }
    if plan.held_out:
        decided["eval_steps"] = plan.config.extras.eval_steps
    if not plan.device.is_gpu:
        # Recomputing activations saves GPU memory; on a CPU it costs a third of the speed for nothing.
        decided |= {"gradient_checkpointing": False, "activation_offloading": False}
        decided["dataloader_pin_memory"] = False
    if plan.device.kind == "cpu":
        decided["use_cpu"] = True
    try:
        return SFTConfig(**(own | decided))
    except (TypeError, ValueError, ImportError) as error:
        raise SettingsError(f"{plan.config.path}: training: {error}") from error
