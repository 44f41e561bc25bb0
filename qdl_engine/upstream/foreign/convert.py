"""A stranger's config as what the lab has: a teacher, the config of a training, a recipe."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from qdl_engine.config.jobs import TRAIN_ONLY
from qdl_engine.config.keys import INFERENCE, RECIPE, TRAINING, recipe_keys
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import training_template
from qdl_engine.core.systems import System
from qdl_engine.data.schemas import Chain, chains_of, choose_schema
from qdl_engine.data.sources import read_file
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.settings.address import is_local
from qdl_engine.settings.toml import checked_settings
from qdl_engine.upstream.foreign.job import STOCK_NAME, ForeignJob

KEY_VARIABLE: Final = "QDL_CONFIG_API_KEY"
"""Where a run keeps the key of its config: in its own environment, never in a file."""

# What samples write where a key goes, and what people give to servers that ask for none.
_NO_KEYS = frozenset({"", "token", "empty", "none", "null", "api_key", "your_api_key", "your-api-key"})


def teacher_settings(job: ForeignJob, settings: LabSettings) -> tuple[TeacherSettings, list[str]]:
    """The teacher that answers, and notes on what of the config has no effect.

    A server is the config's own; where the config has only a placeholder, it is the lab's. Transformers loads
    a local teacher, or vLLM where the lab's `teacher.kind` says so.

    Raises:
        SettingsError: when neither the config nor the lab names a server, or for a key that others can read.
    """
    lab, inference = settings.teacher, job.config.inference
    if job.by_server:
        changes = _server(job, lab)
    else:
        kind = "vllm" if lab.kind == "vllm" else "hf"
        changes = {"kind": kind, "model": job.teacher, "temperature": 0.0}
    if inference.max_new_tokens is not None:
        changes["max_new_tokens"] = inference.max_new_tokens
    values = {"teacher": lab.model_dump() | changes}
    ignored = {"stream"} if job.by_server else INFERENCE.keys() - {"stream", "system_prompt", "api_key"}
    names: dict[str, list[str]] = {}
    for name, why in INFERENCE.items():
        if name in ignored and getattr(inference, name):
            names.setdefault(why, []).append(name)
    notes = [f"inference.{', '.join(keys)} has no effect: {why}." for why, keys in names.items()]
    return checked_settings(values, str(job.path)).teacher, notes


def _server(job: ForeignJob, lab: TeacherSettings) -> dict[str, Any]:
    given = job.config.inference.base_url or ""
    is_address = given.startswith(("http://", "https://"))
    from_lab = lab.kind == "server"
    if not is_address and not (from_lab and lab.url):
        raise SettingsError(
            f"{job.path}: inference.base_url is no http or https address: {given!r}",
            "Write the server's address there, or name one: "
            "--set teacher.kind=server --set teacher.url=http://localhost:8000/v1",
        )
    url = given if is_address else lab.url
    # As 1.0 does it, unless the lab names one: the model that the server offers.
    changes = {"kind": "server", "url": url, "model": lab.model if from_lab else ""}
    if not lab.api_key_env and not lab.api_key_file and _key(job, url):
        changes["api_key_env"] = KEY_VARIABLE
    return changes


def _key(job: ForeignJob, url: str) -> str:
    """The key that stands in the config; empty when it is a placeholder.

    Raises:
        SettingsError: when others can read the config that holds it.
    """
    value = job.config.inference.api_key
    key = value.strip() if isinstance(value, str) else ""
    if key.lower().strip("<>") in _NO_KEYS:
        return ""
    if stat.S_IMODE(job.path.stat().st_mode) & 0o077 and not is_local(url):
        raise SettingsError(
            f"Others can read the key in {job.path}",
            f"Close it: chmod 600 {job.path}. Better: remove it, and --set teacher.api_key_env=NAME",
        )
    return key


def hold_key(job: ForeignJob, teacher: TeacherSettings) -> None:
    """Put the config's own key where the teacher looks for it: the environment of this process alone."""
    if teacher.api_key_env == KEY_VARIABLE:
        os.environ[KEY_VARIABLE] = _key(job, teacher.url)


def system_prompt(job: ForeignJob) -> str:
    """The system prompt under which the teacher answers.

    Raises:
        SettingsError: when the config's template is not ChatML.
    """
    if job.by_server:
        return job.config.inference.system_prompt or ""
    return _chatml(job, f'Name "{STOCK_NAME}", for which ours stands in, or write ChatML.')


def _chatml(job: ForeignJob, hint: str) -> str:
    prompt = job.template.system_prompt if job.template is not None else None
    if prompt is None:
        raise SettingsError(f"{job.path}: dataset.template is no ChatML, and the lab asks in ChatML", hint)
    return prompt


def write_training_config(job: ForeignJob, lab: Lab, labeled: Path, path: Path) -> Path:
    """Write the config that the runtime trains from, and the template it names.

    Everything in `training` is kept as the user wrote it; paths become absolute, and the sections about the
    teacher, with the key they may hold, stay behind.

    Args:
        job: What was read.
        lab: Holds the template, when ours stands in for the config's.
        labeled: The labelled rows.
        path: Where to write.

    Returns:
        `path`.
    """
    assert job.template is not None
    template = job.template_file
    extras = job.config.qdl.model_dump(exclude_unset=True)
    if template is None:
        prompt = job.template.system_prompt or ""
        template = lab.configs / f"{path.stem}_template.jinja"
        write_text_atomic(template, training_template(prompt))
        extras |= {"system_prompt": prompt, "template_sha256": job.template.sha256}
    extras["data"] = {"path": str(labeled), "source": str(job.rows)}
    config: dict[str, Any] = {
        "job_type": TRAIN_ONLY,
        "dataset": {"labeled_path": str(labeled), "template": str(template), "seed": job.seed},
        "models": {"student": job.student},
        "training": job.config.training | {"output_dir": str(job.output_dir)},
        "qdl": extras,
    }
    write_json_atomic(path, config)
    return path


@dataclass(frozen=True)
class Mapped:
    """One setting, its value, the key of the config that it comes from, and what the lab had before."""

    setting: str
    value: Any
    origin: str
    was: Any

    @property
    def changes(self) -> bool:
        """Whether the value differs from the lab's own."""
        return bool(self.value != self.was)


@dataclass(frozen=True)
class RecipeImport:
    """A config read as a recipe; nothing is saved."""

    system: System
    settings: LabSettings
    mapped: list[Mapped]
    dropped: dict[str, str]
    """Keys that have no place in a recipe, and why."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "mapped": [asdict(item) for item in self.mapped],
            "dropped": [{"key": key, "why": why} for key, why in self.dropped.items()],
        }


def import_recipe(job: ForeignJob, settings: LabSettings, system: System | None, lab: Lab) -> RecipeImport:
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
            f"{job.path}: {job.job_type} lets a teacher answer, but System 2 trains on existing chains",
            "Use --system system1, or let qdl run label and import a kd_black_box_train_only of the result.",
        )
    values, mapped = settings.model_dump(), []
    teacher = _teacher(job, settings) if job.kind == "label" else ()
    for section, settings_found in ((chosen, _recipe(job, chosen)), ("teacher", teacher)):
        for name, value, origin in settings_found:
            mapped.append(Mapped(f"{section}.{name}", value, origin, values[section][name]))
            values[section][name] = value
    dropped = dict(_dropped(job, lab.checkpoint(chosen)))
    return RecipeImport(chosen, checked_settings(values, str(job.path)), mapped, dropped)


def _system_of(job: ForeignJob) -> System:
    """System 2 for a config that says so, or whose rows reason."""
    if job.config.qdl.system is not None or job.kind == "label":
        return job.config.qdl.system or "system1"
    rows = [row.value for row in islice(read_file(job.rows), 20) if isinstance(row.value, dict)]
    try:
        _, schema = choose_schema("auto", {}, rows, source=str(job.rows))
    except LabError:
        return "system1"
    chains = [chain for row in rows for chain in chains_of(row, schema) if isinstance(chain, Chain)]
    return "system2" if chains and all(chain.thought for chain in chains) else "system1"


Found = Iterator[tuple[str, Any, str]]
"""Settings, their values, and where in the config they come from."""

_DEFAULT = "1.0's default"


def _recipe(job: ForeignJob, system: System) -> Found:
    training, extras = job.config.training, job.config.qdl
    rows_key = f"dataset.{'labeled_path' if job.kind == 'train' else 'instruction_path'}"
    count = sum(1 for _ in read_file(job.rows))
    if not count:
        raise SettingsError(f"No rows in {job.rows}", "A recipe trains on one row at least.")
    prompt = _chatml(job, f"A recipe cannot hold it. Train it as it is: qdl run {job.path}")
    yield "student", job.student, "models.student"
    yield "source", str(job.rows), rows_key
    yield "fields", "auto", rows_key
    yield "rows", count, f"all rows of {rows_key}"
    yield "system_prompt", prompt, "dataset.template"
    if system == "system1":
        yield "label", job.kind == "label", "job_type"
    # A recipe has one seed: all rows are taken, so it is training's that decides their order.
    seed_key = "dataset.seed" if job.config.dataset.seed is not None else _DEFAULT
    yield "seed", training.get("seed", job.seed), "training.seed" if "seed" in training else seed_key
    yield from _numbers(training)
    flag = next((name for name in ("bf16", "fp16") if training.get(name)), "")
    if extras.precision is not None:
        # As in training: a config of ours says there what the recipe said, `auto` too.
        yield "precision", extras.precision, "qdl.precision"
    elif flag:
        yield "precision", flag, f"training.{flag}"
    if "held_out" in extras.model_fields_set:
        yield "held_out", extras.held_out, "qdl.held_out"
        yield "eval_steps", extras.eval_steps, "qdl.eval_steps"
    if "lora" in extras.model_fields_set:
        yield "lora_rank", extras.lora.rank, "qdl.lora.rank"
        yield "lora_alpha", extras.lora.alpha, "qdl.lora.alpha"


def _numbers(training: dict[str, Any]) -> Found:
    """What the table of keys has a setting for; what is silent and changes the student is 1.0's own."""
    given = recipe_keys(training)
    for key in RECIPE.values():
        name = given.get(key.setting, "")
        value = training.get(name, key.default)
        if value is not None:
            origin = f"training.{name}" if name else _DEFAULT
            yield key.setting, max(0, value) if key.setting == "max_steps" else value, origin


def _teacher(job: ForeignJob, settings: LabSettings) -> Found:
    teacher, _ = teacher_settings(job, settings)
    yield "kind", teacher.kind, "job_type"
    if job.by_server:
        yield "url", teacher.url, "inference.base_url"
        yield "model", teacher.model, "the model that the server offers"
    else:
        yield "model", teacher.model, "models.teacher"
        # Locally 1.0 takes the likeliest token, whatever its temperature says.
        yield "temperature", teacher.temperature, "1.0 samples with top_k = 1"
    if job.config.inference.max_new_tokens is not None:
        yield "max_new_tokens", teacher.max_new_tokens, "inference.max_new_tokens"


def _dropped(job: ForeignJob, lab_student: Path) -> Iterator[tuple[str, str]]:
    config, training = job.config, job.config.training
    yield "training.output_dir", f"the lab's student is {lab_student}"
    if config.dataset.seed not in (None, training.get("seed", config.dataset.seed)):
        yield "dataset.seed", "a recipe has one seed, and training.seed is taken"
    for name in training:
        key = TRAINING[name]
        if not key.setting and name not in ("bf16", "fp16", "output_dir", "seed"):
            yield f"training.{name}", key.no_effect or "no setting of a recipe; qdl run keeps it"
    if job.kind == "label":
        yield "dataset.labeled_path", "the lab's answers are in data/train_labeled.json"
        for name in config.inference.model_dump(exclude_unset=True, exclude={"max_new_tokens", "base_url"}):
            yield f"inference.{name}", INFERENCE.get(name, "no setting of a recipe")
