"""A foreign config as a recipe of a lab: what maps to which setting, and what is dropped and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from qdl_engine.config.easydistill import Extras
from qdl_engine.config.keys import DROPPED
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.data.schemas import Chain, chains_of, choose_schema
from qdl_engine.data.sources import read_file
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import checked_settings
from qdl_engine.upstream.foreign.config import Imported
from qdl_engine.upstream.foreign.run import teacher_settings

_ROWS_TO_LOOK_AT = 20

# Setting, key of `training`, and what SFTConfig of 1.0 takes where the config does not say.
_TRAINING: tuple[tuple[str, str, Any], ...] = (
    ("epochs", "num_train_epochs", 3.0),
    ("max_steps", "max_steps", -1),
    ("batch_size", "per_device_train_batch_size", 8),
    ("gradient_accumulation", "gradient_accumulation_steps", 1),
    ("learning_rate", "learning_rate", 2e-5),
    ("lr_scheduler", "lr_scheduler_type", "linear"),
    ("warmup_ratio", "warmup_ratio", 0.0),
    ("weight_decay", "weight_decay", 0.0),
    ("max_length", "max_length", 1024),
)
# These change nothing about the student, so the lab's own stay where the config does not say.
_OPTIONAL = (
    ("adam_beta2", "adam_beta2"),
    ("gradient_checkpointing", "gradient_checkpointing"),
    ("group_by_length", "group_by_length"),
    ("logging_steps", "logging_steps"),
    ("save_steps", "save_steps"),
    ("save_total_limit", "save_total_limit"),
)
_FLOATS = frozenset({"epochs", "learning_rate", "warmup_ratio", "weight_decay", "adam_beta2"})
_ALIASES = {"max_seq_length": "max_length", "per_gpu_train_batch_size": "per_device_train_batch_size"}
_DEFAULT = "1.0's default"
_ELSEWHERE = "no setting of a recipe; qdl run keeps it"


@dataclass(frozen=True)
class Mapped:
    """One setting, its value, and the key of the config that it comes from."""

    setting: str
    value: Any
    origin: str
    was: Any = None
    """What the lab had before."""

    @property
    def changes(self) -> bool:
        return bool(self.value != self.was)


@dataclass(frozen=True)
class Dropped:
    """One key that has no place in a recipe."""

    key: str
    why: str


@dataclass
class RecipeImport:
    """A config read as a recipe; nothing is saved."""

    system: System
    settings: LabSettings
    mapped: list[Mapped] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "mapped": [asdict(item) for item in self.mapped],
            "dropped": [asdict(item) for item in self.dropped],
        }


def import_recipe(job: Imported, settings: LabSettings, system: System | None, lab: Lab) -> RecipeImport:
    """The settings that make the same student.

    Args:
        job: What was read.
        settings: Of the lab; what the config does not decide stays as it is.
        system: Which recipe; by default what the config's rows look like.
        lab: The lab.

    Raises:
        SettingsError: when the config makes no student, or by a prompt or a value that a recipe cannot hold.
    """
    if not job.trains:
        raise SettingsError(
            f"{job.path}: {job.job_type} makes data, and a recipe makes a student",
            f"Run it: qdl run {job.path}. What it writes can be a recipe's source.",
        )
    chosen = system or _system_of(job)
    if chosen == "system2" and job.kind == "label":
        raise SettingsError(
            f"{job.path}: {job.job_type} lets a teacher answer, and System 2 trains on chains that are there",
            "Use --system system1, or let qdl run label and import a kd_black_box_train_only of the result.",
        )
    mapped = [*_data(job, chosen), *_training(job, chosen)]
    dropped = list(_dropped(job, lab.checkpoint(chosen)))
    if job.kind == "label":
        mapped += _teacher(job, settings)
    values = settings.model_dump()
    for place, item in enumerate(mapped):
        section, name = item.setting.split(".")
        mapped[place] = replace(item, was=values[section][name])
        values[section][name] = item.value
    return RecipeImport(chosen, checked_settings(values, str(job.path)), mapped, dropped)


def _system_of(job: Imported) -> System:
    """System 2 for a config that says so, or whose rows reason."""
    named = job.extras.get("system")
    if named in ("system1", "system2"):
        return "system1" if named == "system1" else "system2"
    if job.kind == "label":
        return "system1"
    rows = [row.value for row in islice(read_file(job.rows), _ROWS_TO_LOOK_AT) if isinstance(row.value, dict)]
    try:
        _, schema = choose_schema("auto", {}, rows, source=str(job.rows))
    except LabError:
        return "system1"
    chains = [chain for row in rows for chain in chains_of(row, schema) if isinstance(chain, Chain)]
    return "system2" if chains and all(chain.thought for chain in chains) else "system1"


def _data(job: Imported, system: System) -> Iterator[Mapped]:
    key = "labeled_path" if job.kind == "train" else "instruction_path"
    yield Mapped(f"{system}.student", job.student, "models.student")
    yield Mapped(f"{system}.source", str(job.rows), f"dataset.{key}")
    yield Mapped(f"{system}.fields", "auto", f"dataset.{key}")
    count = sum(1 for _ in read_file(job.rows))
    if not count:
        raise SettingsError(f"No rows in {job.rows}", "A recipe trains on one row at least.")
    yield Mapped(f"{system}.rows", count, f"all rows of dataset.{key}")
    yield _seed(job, system)
    if system == "system1":
        yield Mapped("system1.label", job.kind == "label", "job_type")
    prompt = job.template.system_prompt if job.template is not None else None
    if prompt is None:
        raise SettingsError(
            f"{job.path}: dataset.template is no ChatML, and a recipe's prompt is",
            f"Train it as it is: qdl run {job.path}",
        )
    yield Mapped(f"{system}.system_prompt", prompt, "dataset.template")


def _seed(job: Imported, system: System) -> Mapped:
    """A recipe has one seed: all rows are taken, so it is training's that decides their order."""
    if "seed" in job.training:
        return Mapped(f"{system}.seed", job.training["seed"], "training.seed")
    return Mapped(f"{system}.seed", job.seed, "dataset.seed" if "seed" in job.dataset else _DEFAULT)


def _training(job: Imported, system: System) -> Iterator[Mapped]:
    given = _given(job)
    for setting, key, default in _TRAINING:
        value = given.get(key, default)
        if setting == "max_steps":
            value = max(0, value) if isinstance(value, int) else value
        if setting == "max_length" and value is None:
            continue
        origin = f"training.{key}" if key in given else _DEFAULT
        yield Mapped(f"{system}.{setting}", _number(setting, value), origin)
    for setting, key in _OPTIONAL:
        if given.get(key) is not None:
            yield Mapped(f"{system}.{setting}", _number(setting, given[key]), f"training.{key}")
    extras = Extras.model_validate(job.extras)
    precision = next((name for name in ("bf16", "fp16") if given.get(name)), "")
    if extras.precision is not None:
        # As in training: a config of ours says there what the recipe said, `auto` too.
        yield Mapped(f"{system}.precision", extras.precision, "qdl.precision")
    elif precision:
        yield Mapped(f"{system}.precision", precision, f"training.{precision}")
    if "held_out" in job.extras:
        yield Mapped(f"{system}.held_out", extras.held_out, "qdl.held_out")
        yield Mapped(f"{system}.eval_steps", extras.eval_steps, "qdl.eval_steps")
    if "lora" in job.extras:
        yield Mapped(f"{system}.lora_rank", extras.lora.rank, "qdl.lora.rank")
        yield Mapped(f"{system}.lora_alpha", extras.lora.alpha, "qdl.lora.alpha")


def _given(job: Imported) -> dict[str, Any]:
    return {_ALIASES.get(key, key): value for key, value in job.training.items()}


def _number(setting: str, value: Any) -> Any:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if setting in _FLOATS and is_whole else value


def _teacher(job: Imported, settings: LabSettings) -> Iterator[Mapped]:
    teacher, _ = teacher_settings(job, settings)
    if job.by_server:
        yield Mapped("teacher.kind", teacher.kind, "job_type")
        yield Mapped("teacher.url", teacher.url, "inference.base_url")
        yield Mapped("teacher.model", teacher.model, "the model that the server offers")
    else:
        yield Mapped("teacher.kind", teacher.kind, "job_type")
        yield Mapped("teacher.model", teacher.model, "models.teacher")
        # Locally 1.0 takes the likeliest token, whatever its temperature says.
        yield Mapped("teacher.temperature", teacher.temperature, "1.0 samples by top_k = 1")
    if "max_new_tokens" in job.inference:
        yield Mapped("teacher.max_new_tokens", teacher.max_new_tokens, "inference.max_new_tokens")


def _dropped(job: Imported, lab_student: Path) -> Iterator[Dropped]:
    yield Dropped("training.output_dir", f"the lab's student is {lab_student}")
    known = {key for _, key, _ in _TRAINING} | {key for _, key in _OPTIONAL}
    known |= {"bf16", "fp16", "output_dir", "seed"}
    if "seed" in job.training and job.dataset.get("seed", job.training["seed"]) != job.training["seed"]:
        yield Dropped("dataset.seed", "a recipe has one seed, and training.seed is taken")
    for key in _given(job):
        if key not in known:
            yield Dropped(f"training.{key}", DROPPED.get(key, _ELSEWHERE))
    if job.kind == "label":
        yield Dropped("dataset.labeled_path", "the lab's answers are in data/train_labeled.json")
        for key in job.inference:
            if key not in ("max_new_tokens", "base_url"):
                yield Dropped(f"inference.{key}", _INFERENCE.get(key, "a matter of vLLM's own"))


_INFERENCE = {
    "system_prompt": "the teacher is asked in the recipe's own words",
    "stream": "answers are kept one by one as they come",
    "api_key": "keys come from the environment: set teacher.api_key_env",
    "temperature": "1.0 samples by top_k = 1, which is temperature 0",
    "seed": "nothing is drawn at temperature 0",
    "trust_remote_code": "code from a hub is never run",
}
