"""A whole distillation in one call: prepare, label where wanted, write the config, train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from qdl_engine.easydistill.command import RunResult, check_runtime, run_easy_distill
from qdl_engine.easydistill.config import write_system1_config, write_system2_config
from qdl_engine.errors import SettingsError
from qdl_engine.events import EventSink, no_sink
from qdl_engine.lab import Lab
from qdl_engine.problems import from_pydantic, settings_error
from qdl_engine.settings import LabSettings, System, System1Settings, System2Settings

Config = LabSettings | System1Settings | System2Settings | Mapping[str, Any]


def distill_system1(
    config: Config, *, lab: Lab | None = None, on_event: EventSink = no_sink, wait: bool = True
) -> RunResult:
    """Distil the student that answers at once.

    Args:
        config: Settings of the lab or of System 1 alone, or a plain dict of either's keys.
        lab: Where to work; by default the current directory. It need not have a `qdl.toml`.
        on_event: Takes the progress of every stage.
        wait: Follow the training to its end; else it goes on by itself.

    Raises:
        LabError: of the stage that failed, with what to do about it.
    """
    lab = _prepared(lab)
    settings = lab_settings(config, "system1")
    check_runtime(settings, "system1")
    from qdl_engine.data.prepare import prepare_system1_dataset

    prepare_system1_dataset(lab, settings.system1, on_event=on_event)
    if settings.system1.label:
        from qdl_engine.data.label import label_with_teacher

        label_with_teacher(lab, settings, mode=settings.system1.label_mode, on_event=on_event)
    path = write_system1_config(lab, settings)
    return run_easy_distill(path, lab=lab, runtime=settings.runtime, wait=wait, on_event=on_event)


def distill_system2(
    config: Config, *, lab: Lab | None = None, on_event: EventSink = no_sink, wait: bool = True
) -> RunResult:
    """Distil the student that reasons first; see `distill_system1`."""
    lab = _prepared(lab)
    settings = lab_settings(config, "system2")
    check_runtime(settings, "system2")
    from qdl_engine.data.prepare import prepare_system2_dataset

    prepare_system2_dataset(lab, settings.system2, on_event=on_event)
    path = write_system2_config(lab, settings)
    return run_easy_distill(path, lab=lab, runtime=settings.runtime, wait=wait, on_event=on_event)


def lab_settings(config: Config, system: System) -> LabSettings:
    """The lab's settings that a config means.

    Raises:
        SettingsError: naming the key that is not accepted, and the nearest that is.
    """
    if isinstance(config, LabSettings):
        return config
    if isinstance(config, System1Settings | System2Settings):
        # Not `model_dump` alone: the other tables keep their defaults.
        return LabSettings.model_validate({system: config.model_dump()})
    if not isinstance(config, Mapping):
        raise SettingsError(
            f"A {type(config).__name__} is no config", "Give settings, or a dict of them: {'rows': 100}"
        )
    values = dict(config)
    whole = any(key in LabSettings.model_fields for key in values)
    try:
        return LabSettings.model_validate(values if whole else {system: values}, strict=True)
    except ValidationError as error:
        raise settings_error(from_pydantic(error, "config")) from error


def _prepared(lab: Lab | None) -> Lab:
    lab = lab or Lab.at(".")
    lab.create_directories()
    return lab
