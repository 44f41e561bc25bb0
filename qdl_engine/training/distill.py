"""A whole distillation in one call: prepare, label where wanted, write the config, train."""

from __future__ import annotations

from qdl_engine.config.write import write_system1_config, write_system2_config
from qdl_engine.core.events import EventSink, no_sink
from qdl_engine.core.lab import Lab
from qdl_engine.settings.arguments import Config, LabLike, as_lab, lab_settings
from qdl_engine.training.command import RunResult, check_runtime, run_easy_distill

__all__ = ["distill_system1", "distill_system2", "lab_settings"]


def distill_system1(
    config: Config, lab: LabLike | None = None, *, on_event: EventSink = no_sink, wait: bool = True
) -> RunResult:
    """Distil the student that answers at once.

    Args:
        config: Settings of the lab or of System 1 alone, or a plain dict of either's keys; in a dict those of
            System 1 may stand beside the tables `teacher`, `runtime` and so on.
        lab: Where to work, a lab or its directory; by default the current directory. It need not have a
            `qdl.toml`.
        on_event: Takes the progress of every stage.
        wait: Follow the training to its end; else it goes on by itself.

    Raises:
        LabError: of the stage that failed, with what to do about it.
    """
    settings = lab_settings(config, "system1")
    home = _prepared(lab)
    check_runtime(settings, "system1")
    from qdl_engine.data.prepare import prepare_system1_dataset

    prepare_system1_dataset(home, settings.system1, on_event=on_event)
    if settings.system1.label:
        from qdl_engine.label.label import label_with_teacher

        label_with_teacher(home, settings, mode=settings.system1.label_mode, on_event=on_event)
    path = write_system1_config(home, settings)
    return run_easy_distill(path, lab=home, runtime=settings.runtime, wait=wait, on_event=on_event)


def distill_system2(
    config: Config, lab: LabLike | None = None, *, on_event: EventSink = no_sink, wait: bool = True
) -> RunResult:
    """Distil the student that reasons first; see `distill_system1`."""
    settings = lab_settings(config, "system2")
    home = _prepared(lab)
    check_runtime(settings, "system2")
    from qdl_engine.data.prepare import prepare_system2_dataset

    prepare_system2_dataset(home, settings.system2, on_event=on_event)
    path = write_system2_config(home, settings)
    return run_easy_distill(path, lab=home, runtime=settings.runtime, wait=wait, on_event=on_event)


def _prepared(lab: LabLike | None) -> Lab:
    home = as_lab("." if lab is None else lab)
    home.create_directories()
    return home
