"""What a lab needs from the hub and has not: models and data sets that are neither local nor in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from qdl_engine.data.sources import find_local
from qdl_engine.easydistill.config import student_reference
from qdl_engine.errors import LabError
from qdl_engine.lab import Lab
from qdl_engine.preflight.shape import CONFIG, cached_file
from qdl_engine.settings import LabSettings, System

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_SYSTEMS: tuple[System, ...] = ("system1", "system2")


def lacks_from_hub(lab: Lab, settings: LabSettings) -> list[str]:
    """Hub ids that the recipes name and this machine lacks; data that are prepared need no source.

    A path that is not there is none of the hub's: whoever uses it says so.
    """
    models = [settings.recipe(system).student for system in _SYSTEMS]
    asked = settings.system1.label and not lab.train_labeled.is_file()
    if asked and settings.teacher.kind in ("hf", "vllm"):
        models.append(settings.teacher.model)
    lacking = [name for name in models if _of_hub(lab, name) and not _model_here(name)]
    for system in _SYSTEMS:
        source = settings.recipe(system).source
        if not _is_prepared(lab, settings, system) and not _data_here(lab, source):
            lacking.append(source)
    return list(dict.fromkeys(lacking))


def _of_hub(lab: Lab, name: str) -> bool:
    return student_reference(lab, name) == name and name.count("/") <= 1 and not name.startswith((".", "~"))


def _model_here(name: str) -> bool:
    if not cached_file(name, CONFIG):
        return False
    return any(cached_file(name, file) is not None for file in _WEIGHTS)


def _is_prepared(lab: Lab, settings: LabSettings, system: System) -> bool:
    labels = system == "system1" and settings.system1.label
    return (lab.train_instructions if labels else lab.training_data(system)).is_file()


def _data_here(lab: Lab, source: str) -> bool:
    """Whether a source is local or was downloaded; the libraries' caches each spell its name in their way."""
    from huggingface_hub import constants

    try:
        if find_local(lab, source) is not None:
            return True
    except LabError:
        return True
    built = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    wanted = _letters(source)
    folders = [*Path(constants.HF_HUB_CACHE).glob("datasets--*"), *built.glob("*___*")]
    return any(_letters(folder.name.removeprefix("datasets--")) == wanted for folder in folders)


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
