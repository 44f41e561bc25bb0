"""What our trainer needs and EasyDistill 1.0 has no key for: a config's top-level `qdl`.

EasyDistill 1.x configs written and read. No model library is imported here: the app shows configs live.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdl_engine.config.jobs import TRAIN_ONLY, check_job_type, nearest
from qdl_engine.config.template import PromptTemplate, parse_template, read_template
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import training_template
from qdl_engine.core.systems import System
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.settings import LabSettings, RecipeSettings
from qdl_engine.settings.arguments import Config, LabLike, as_lab, settings_of


class LoraExtras(BaseModel):
    """LoRA, which EasyDistill 1.0 does not have."""

    model_config = ConfigDict(extra="forbid")
    rank: int = Field(default=0, ge=0, le=1024)
    alpha: int = Field(default=32, ge=1, le=4096)


class Extras(BaseModel):
    """The section `qdl`, with what it means when it is absent."""

    model_config = ConfigDict(extra="forbid")
    system: System | None = None
    system_prompt: str | None = None
    template_sha256: str | None = None
    held_out: float = Field(default=0.0, ge=0, le=0.5)
    eval_steps: int = Field(default=50, ge=1)
    precision: Literal["auto", "fp32", "fp16", "bf16"] | None = None
    """None leaves the decision to `training.bf16` and `training.fp16`."""
    lora: LoraExtras = Field(default_factory=LoraExtras)
    longest_first: bool = False
    """Train the longest rows first, so that memory runs out at once or never; who does not ask keeps
    the order of the rows."""
    order: Literal["lab", "easydistill"] = "lab"
    """`easydistill` trains the rows in the order of EasyDistill 1.0 with the same seeds, step by step."""
    threads: int = Field(default=0, ge=0)
    data: dict[str, Any] = Field(default_factory=dict)
    """Where the rows came from: path, size and sha256 of the labelled file, and its source."""


_SECTIONS = ("job_type", "dataset", "inference", "models", "training", "distillation", "qdl")
_VERSION_2_SECTIONS = frozenset({"backend", "generation", "cot", "sft", "pipeline", "preference"})
_DEFAULT_MAX_LENGTH = 1024
"""SFTConfig's own in EasyDistill 1.0, for configs that do not say."""


@dataclass(frozen=True)
class TrainConfig:
    """A config that has been read and checked; every path absolute."""

    path: Path
    labeled_path: Path
    template: PromptTemplate
    student: str
    output_dir: Path
    seed: int
    max_length: int | None
    training: dict[str, Any]
    """`training` as written, in EasyDistill's own keys."""
    extras: Extras
    raw: dict[str, Any] = field(default_factory=dict)


def new_config_id() -> str:
    """An id that sorts by time."""
    return time.strftime("%Y%m%d-%H%M%S")


def template_path(lab: Lab, system: System, system_prompt: str) -> Path:
    """The template file of one system prompt. Its name follows the text, so that changing the recipe never
    changes the prompt of a config that was written before."""
    base = lab.template_file(system)
    digest = hashlib.sha256(training_template(system_prompt).encode()).hexdigest()[:8]
    return base.with_name(f"{base.stem}_{digest}{base.suffix}")


def build_config(
    lab: Lab,
    settings: LabSettings,
    system: System,
    *,
    labeled_path: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> dict[str, Any]:
    """The config as a dict; nothing is written, and the data need not be there yet."""
    recipe = settings.recipe(system)
    data = Path(labeled_path or lab.training_data(system)).expanduser().absolute()
    checkpoint = Path(output_dir or lab.checkpoint(system)).expanduser().absolute()
    template = template_path(lab, system, recipe.system_prompt)
    rendered = parse_template(training_template(recipe.system_prompt))
    return {
        "job_type": TRAIN_ONLY,
        "dataset": {"labeled_path": str(data), "template": str(template), "seed": recipe.seed},
        "models": {"student": student_reference(lab, recipe.student)},
        "training": _training_section(recipe, checkpoint),
        "qdl": {
            "system": system,
            "system_prompt": recipe.system_prompt,
            "template_sha256": rendered.sha256,
            "held_out": recipe.held_out,
            "eval_steps": recipe.eval_steps,
            "precision": recipe.precision,
            "lora": {"rank": recipe.lora_rank, "alpha": recipe.lora_alpha},
            "longest_first": True,
            "threads": settings.runtime.threads,
            "data": {"path": str(data), "source": recipe.source},
        },
    }


def _training_section(recipe: RecipeSettings, output_dir: Path) -> dict[str, Any]:
    """`training`: only keys that trl 0.17's SFTConfig takes as they are, numbers as numbers."""
    return {
        "output_dir": str(output_dir),
        "num_train_epochs": float(recipe.epochs),
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": float(recipe.learning_rate),
        "lr_scheduler_type": recipe.lr_scheduler,
        "warmup_ratio": float(recipe.warmup_ratio),
        "weight_decay": float(recipe.weight_decay),
        "adam_beta2": float(recipe.adam_beta2),
        "max_length": recipe.max_length,
        # `auto` is decided by the device, in the built-in runtime; 1.0 is told what suits today's GPUs.
        "bf16": recipe.precision in ("auto", "bf16"),
        "fp16": recipe.precision == "fp16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "group_by_length": recipe.group_by_length,
        "logging_steps": recipe.logging_steps,
        "logging_first_step": True,
        # The default of 1.0 prints a diverged loss as 0.0.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": recipe.save_steps,
        "save_total_limit": recipe.save_total_limit,
        "seed": recipe.seed,
        "report_to": "none",
    }


def write_system1_config(
    lab: LabLike,
    settings: Config | None = None,
    *,
    config_id: str | None = None,
    labeled_path: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Path:
    """Write the System 1 config, and the template file it names.

    Args:
        lab: Where to write, a lab or its directory.
        settings: The lab's settings or those of the student, or a dict of either's keys; by default those of
            `qdl.toml`.
        config_id: Becomes part of the file name; a new one by default.
        labeled_path: The labelled rows, by default the lab's.
        output_dir: Where the checkpoint goes, by default the lab's.

    Returns:
        The config's path.
    """
    return _write(lab, settings, "system1", config_id, labeled_path, output_dir)


def write_system2_config(
    lab: LabLike,
    settings: Config | None = None,
    *,
    config_id: str | None = None,
    labeled_path: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Path:
    """Write the System 2 config; see `write_system1_config`."""
    return _write(lab, settings, "system2", config_id, labeled_path, output_dir)


def _write(
    lab: LabLike,
    settings: Config | None,
    system: System,
    config_id: str | None,
    labeled_path: str | Path | None,
    output_dir: str | Path | None,
) -> Path:
    lab = as_lab(lab)
    settings = settings_of(lab, settings, system)
    config = build_config(lab, settings, system, labeled_path=labeled_path, output_dir=output_dir)
    data = Path(config["dataset"]["labeled_path"])
    if data.is_file():
        config["qdl"]["data"] |= {"bytes": data.stat().st_size, "sha256": file_sha256(data)}
    system_prompt = config["qdl"]["system_prompt"]
    write_text_atomic(Path(config["dataset"]["template"]), training_template(system_prompt))
    path = lab.config_file(system, config_id) if config_id else _free_config_file(lab, system)
    write_json_atomic(path, config)
    return path


def _free_config_file(lab: Lab, system: System) -> Path:
    stamp = new_config_id()
    names = [stamp, *(f"{stamp}-{count}" for count in range(2, 1000))]
    return next(path for name in names if not (path := lab.config_file(system, name)).exists())


def file_sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_config(path: Path | str) -> TrainConfig:
    """Read and check a config, ours or any other of EasyDistill 1.x.

    Raises:
        SettingsError: naming the file and the key that cannot be accepted.
    """
    path = Path(path).expanduser().absolute()
    return check_config(read_json(path), path)


def check_config(raw: Any, path: Path) -> TrainConfig:
    """Check a config that is already in memory; `path` is what messages name.

    Raises:
        SettingsError: see `read_config`.
    """
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: a config is one JSON object")
    if _VERSION_2_SECTIONS & raw.keys():
        raise SettingsError(
            f"{path}: this is a config of EasyDistill 2, which does not train", "Use a 1.x config."
        )
    for key in raw:
        if key not in _SECTIONS:
            raise SettingsError(f"{path}: unknown section {key!r}", nearest(key, _SECTIONS))
    check_job_type(raw.get("job_type"), str(path))
    dataset, models, training = (_section(raw, name, path) for name in ("dataset", "models", "training"))
    template = read_template(_existing(_text(dataset, "dataset", "template", path), path))
    extras = _extras(raw.get("qdl", {}), path)
    if extras.system_prompt is not None and template.system_prompt != extras.system_prompt:
        raise SettingsError(
            f"{path}: qdl.system_prompt is not the one that dataset.template renders",
            "Write the config again, so that training and use ask in the same words.",
        )
    return TrainConfig(
        path=path,
        labeled_path=_existing(_text(dataset, "dataset", "labeled_path", path), path),
        template=template,
        student=_text(models, "models", "student", path),
        output_dir=Path(_text(training, "training", "output_dir", path)).expanduser().absolute(),
        seed=_whole(dataset.get("seed", training.get("seed", 42)), "dataset.seed", path),
        max_length=_max_length(training, path),
        training=dict(training),
        extras=extras,
        raw=raw,
    )


def _section(raw: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = raw.get(name)
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: {name} is missing", f"EasyDistill 1.x needs an object {name!r}.")
    return value


def _text(section: Mapping[str, Any], name: str, key: str, path: Path) -> str:
    value = section.get(key)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{path}: {name}.{key} is missing", "It must be a text that is not empty.")
    return value


def _whole(value: Any, name: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{path}: {name} must be a whole number, not {value!r}")
    return value


def _max_length(training: Mapping[str, Any], path: Path) -> int | None:
    value = training.get("max_length", training.get("max_seq_length", _DEFAULT_MAX_LENGTH))
    return None if value is None else _whole(value, "training.max_length", path)


def _existing(value: str, path: Path) -> Path:
    """EasyDistill takes a relative path from where it is started; beside the config is the second guess."""
    given = Path(value).expanduser()
    beside = path.parent / given
    return beside.absolute() if not given.exists() and beside.exists() else given.absolute()


def _extras(value: Any, path: Path) -> Extras:
    try:
        return Extras.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        hint = nearest(key, Extras.model_fields) if problem["type"] == "extra_forbidden" else ""
        raise SettingsError(f"{path}: qdl.{key}: {problem['msg']}", hint) from error
