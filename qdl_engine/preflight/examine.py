"""Everything that can be known of a training before it starts, put together."""

from __future__ import annotations

from collections.abc import Iterator

from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES, System
from qdl_engine.core.words import size_text
from qdl_engine.lab_state.stages import DOING
from qdl_engine.models.checkpoint import check_place, checkpoint_ready, student_reference, trained_by
from qdl_engine.models.outputs import previous_place
from qdl_engine.models.shape import ModelShape, read_shape
from qdl_engine.preflight.fit import (
    Disk,
    disk_use,
    download_bytes,
    find_cure,
    recipe_memory,
    training_of,
    verdict_of,
)
from qdl_engine.preflight.hardware import Hardware, cpu, find_hardware
from qdl_engine.preflight.report import Preflight
from qdl_engine.preflight.rows import RowFigures, load_rows, row_figures
from qdl_engine.preflight.speed import measured_speed, predict
from qdl_engine.preflight.teacher import look_at_teacher
from qdl_engine.runs.record import number_of
from qdl_engine.runs.store import list_runs
from qdl_engine.settings import LabSettings, RecipeSettings
from qdl_engine.trainer.selection import few_steps

MUCH_PADDING = 0.3
MUCH_DROPPED = 0.1


def examine(
    lab: Lab, settings: LabSettings, system: System, *, device: str = "", ask_hub: bool = True
) -> Preflight:
    """Predict memory, time and disk of training one student.

    Args:
        lab: Where the data is, or will be.
        settings: The lab's settings.
        system: Which student.
        device: A device of the table instead of this machine's; see `hardware.DEVICES`.
        ask_hub: Whether the hub may be asked for a model's config.

    Raises:
        LabError: for an invalid model or an unknown device, or when no row is left to train on.
    """
    recipe = settings.recipe(system)
    student = student_reference(lab, recipe.student)
    check_place(student, "student", lab.root)
    shape = read_shape(student, "student", ask_hub=ask_hub)
    hardware = _hardware(settings, device)
    rows = load_rows(lab, settings, system)
    if not rows.kept:
        why = f"{len(rows.too_long):,} rows exceed {recipe.max_length:,} tokens"
        raise DataError(
            f"No data for {SYSTEM_NAMES[system]} distillation: {why}",
            f"Raise {system}.max_length, or prepare other rows.",
        )
    figures = row_figures(rows, recipe, hardware.count)
    training = training_of(recipe, hardware)
    memory = recipe_memory(shape, recipe, rows, hardware)
    verdict = verdict_of(memory.total, hardware.free)
    passes = rows.passes(recipe, hardware.count)
    measured = measured_speed(lab, student, recipe, hardware)
    teacher = look_at_teacher(lab, settings, system, rows, hardware, ask_hub=ask_hub)
    disk = disk_use(lab, shape, recipe, figures, download_bytes(shape) + teacher.download)
    return Preflight(
        lab=lab.word,
        system=system,
        student=recipe.student,
        parameters=shape.parameters,
        trained_parameters=shape.trained_parameters(recipe.lora_rank),
        verdict=verdict,
        hardware=hardware,
        training=training,
        batch_size=recipe.batch_size,
        memory=memory,
        rows=figures,
        duration=predict(shape, training, hardware, recipe, figures, passes, measured),
        disk=disk,
        labelling=teacher.labelling,
        cure=find_cure(shape, recipe, rows, hardware) if verdict != "fits" else None,
        warnings=[*_warnings(settings, recipe, shape, figures, disk), *teacher.notes],
        notes=_notes(lab, system, elsewhere=bool(device)),
    )


def _hardware(settings: LabSettings, device: str) -> Hardware:
    found = find_hardware(device, all_gpus=settings.runtime.launcher == "accelerate")
    return found if found.is_gpu else cpu(settings.runtime.threads)


def _warnings(
    settings: LabSettings, recipe: RecipeSettings, shape: ModelShape, figures: RowFigures, disk: Disk
) -> list[str]:
    found = [text for text in (figures.note, few_steps(figures.steps)) if text]
    if figures.too_long_rows > MUCH_DROPPED * figures.read:
        found.append(f"{figures.too_long_rows:,} rows exceed max_length and will be dropped.")
    if figures.padding > MUCH_PADDING:
        cure = "" if recipe.group_by_length else " group_by_length = true saves most of it."
        found.append(f"{100 * figures.padding:.0f} % of the computation is padding.{cure}")
    if recipe.max_length > shape.positions:
        found.append(f"max_length exceeds the student's context of {shape.positions:,} tokens.")
    if disk.needed > disk.free:
        lack = size_text(disk.needed - disk.free)
        found.append(f"The disk lacks {lack}: free it, or lower save_total_limit.")
    if disk.download > disk.download_free:
        lack = size_text(disk.download - disk.download_free)
        found.append(f"The hub's cache lacks {lack} for the download: set HF_HOME to a larger disk.")
    if settings.runtime.kind != "builtin":
        found.append(
            "Predicted for the built-in runtime: EasyDistill 1.0 makes all logits at once and needs more."
        )
    return found


def _notes(lab: Lab, system: System, *, elsewhere: bool) -> list[str]:
    """What the training meets in the lab; this machine's runs do not slow another device down."""
    beside = [] if elsewhere else runs_beside(lab, system)
    return [note for note in (student_in_place(lab, system), *beside) if note]


def student_in_place(lab: Lab, system: System) -> str:
    """Where the current student moves to when the new one takes its place; empty without one."""
    place = lab.checkpoint(system)
    if not checkpoint_ready(place):
        return ""
    maker = trained_by(place)
    student = f"The student of run {number_of(maker)}" if maker else "The current student"
    previous = previous_place(place)
    deleted = "; the older backup is deleted" if previous.exists() else ""
    return f"{student} moves to {previous.name}{deleted}"


def runs_beside(lab: Lab, system: System) -> Iterator[str]:
    """The active runs of this lab; one that trains the same student has to end first."""
    for run in list_runs(lab):
        if run.active:
            doing = f"run {number_of(run.id)} is {DOING.get(run.kind, f'active ({run.kind})')}"
            same = run.writes_to(lab.checkpoint(system))
            yield f"{doing} this student: it has to end first" if same else f"{doing}: both will be slower"
