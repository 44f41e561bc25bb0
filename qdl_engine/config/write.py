"""The EasyDistill 1.x config of a recipe, written with the template that it names."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from qdl_engine.config.jobs import TRAIN_ONLY
from qdl_engine.config.keys import RECIPE
from qdl_engine.config.model import Extras, LoraExtras
from qdl_engine.config.template import parse_template
from qdl_engine.core.lab import Lab, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import training_template
from qdl_engine.core.systems import System
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.settings import LabSettings, RecipeSettings
from qdl_engine.settings.arguments import Config, LabLike, as_lab, settings_of


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
    extras = Extras(
        system=system,
        system_prompt=recipe.system_prompt,
        template_sha256=parse_template(training_template(recipe.system_prompt)).sha256,
        held_out=recipe.held_out,
        eval_steps=recipe.eval_steps,
        precision=recipe.precision,
        lora=LoraExtras(rank=recipe.lora_rank, alpha=recipe.lora_alpha),
        longest_first=True,
        threads=settings.runtime.threads,
        data={"path": str(data), "source": recipe.source},
    )
    return {
        "job_type": TRAIN_ONLY,
        "dataset": {
            "labeled_path": str(data),
            "template": str(template_path(lab, system, recipe.system_prompt)),
            "seed": recipe.seed,
        },
        "models": {"student": student_reference(lab, recipe.student)},
        "training": _training(recipe, checkpoint),
        "qdl": extras.model_dump(exclude_unset=True),
    }


def _training(recipe: RecipeSettings, output_dir: Path) -> dict[str, Any]:
    """`training`: only keys that trl 0.17's SFTConfig takes as they are, numbers as numbers."""
    return {
        "output_dir": str(output_dir),
        **{name: getattr(recipe, key.setting) for name, key in RECIPE.items()},
        "max_steps": recipe.max_steps or -1,
        # The device decides `auto` in the built-in runtime; EasyDistill 1.0 gets what suits today's GPUs.
        "bf16": recipe.precision in ("auto", "bf16"),
        "fp16": recipe.precision == "fp16",
        "logging_first_step": True,
        # The default of 1.0 prints a diverged loss as 0.0.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
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
        with open(data, "rb") as handle:
            own = data == lab.training_data(system).absolute() and handle.peek(1)[:1] == b"["
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        config["qdl"]["data"] |= {"bytes": data.stat().st_size, "sha256": digest, "prepared": own}
    write_text_atomic(Path(config["dataset"]["template"]), training_template(config["qdl"]["system_prompt"]))
    path = lab.config_file(system, config_id) if config_id else _free_config_file(lab, system)
    write_json_atomic(path, config)
    return path


def _free_config_file(lab: Lab, system: System) -> Path:
    stamp = new_config_id()
    names = [stamp, *(f"{stamp}-{count}" for count in range(2, 1000))]
    return next(path for name in names if not (path := lab.config_file(system, name)).exists())
