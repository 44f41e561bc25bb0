"""How long a training takes: the hardware's floor, and a prediction from measured runs or the device's class.

The floor is arithmetic: 6 operations a weight and token (Kaplan et al. 2020, arXiv 2001.08361) for the
matrices, the output layer only for the answer's tokens, and for causal attention half of 12 x layers x width
x length a token (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B), at the device's peak. No
training is faster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from qdl_engine.errors import LabError
from qdl_engine.events import as_number
from qdl_engine.lab import Lab, read_json
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Pass, Training
from qdl_engine.preflight.rows import RowFigures
from qdl_engine.preflight.shape import ModelShape
from qdl_engine.settings import RecipeSettings

START_SECONDS = 20.0
"""Importing the libraries, loading the student, writing the checkpoint; a little more for large ones."""
_OPTIMIZER_BYTES = 28
"""Read and written by AdamW in fp32 for each trained weight: weight, gradient and two moments, and back."""
_EARLIER_RUNS = 3


@dataclass(frozen=True)
class Duration:
    """Seconds of one training."""

    floor_seconds: float
    """What the hardware needs at its peak."""
    seconds: float
    """What is to be expected, start and held-out loss included."""
    tokens_per_second: float
    origin: Literal["measured", "estimated"]
    source: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def training_flops(shape: ModelShape, lora: bool, tokens: float, trained: float, squares: float) -> float:
    """Operations of one epoch.

    Args:
        shape: The student.
        lora: Whether most weights are frozen: they need no gradient of their own, 4 operations and not 6.
        tokens: Tokens that go through the layers.
        trained: Tokens that go through the output layer.
        squares: The sum of the squared lengths of the rows, for attention.
    """
    each = 4 if lora else 6
    return (
        each * (shape.linear * tokens + shape.embedding * trained)
        + 6 * shape.layers * shape.query_width * squares
    )


def predict(
    shape: ModelShape,
    training: Training,
    hardware: Hardware,
    recipe: RecipeSettings,
    figures: RowFigures,
    passes: Iterable[Pass],
    measured: tuple[float, str] | None,
) -> Duration:
    """Seconds of a training.

    Estimated, each pass costs its operations at the share of the peak that the device's class reaches, and
    for each layer what launching its kernels takes; each step, the optimizer's way over all weights.

    Args:
        measured: Tokens a second of earlier runs, and which ones; see `measured_speed`.
    """
    passes = list(passes)
    lora = bool(training.lora_rank)
    peak = (hardware.long_flops if training.precision == "fp32" else hardware.short_flops) * hardware.count
    mean_square = sum(batch.rows * batch.length**2 for batch in passes) * (1 - figures.padding)
    least = training_flops(shape, lora, figures.tokens, figures.trained_tokens, mean_square)
    floor = least / peak * figures.epochs
    evaluations = _evaluations(figures, recipe)
    held_out = figures.held_out_rows / max(1, figures.trained_rows) * evaluations / 3
    if measured is not None:
        rate, source = measured
        seconds = figures.tokens * figures.epochs / rate
        seconds += held_out * figures.tokens / rate + START_SECONDS
        return Duration(floor, seconds, rate, "measured", source)
    epoch = _epoch_seconds(shape, training, hardware, figures, passes)
    seconds = epoch * (figures.epochs + held_out) + START_SECONDS
    rate = figures.tokens / epoch if epoch else 0.0
    source = f"{hardware.utilisation:.0%} of the peak of {hardware.name}"
    return Duration(floor, seconds, rate, "estimated", source)


def _epoch_seconds(
    shape: ModelShape, training: Training, hardware: Hardware, figures: RowFigures, passes: list[Pass]
) -> float:
    lora = bool(training.lora_rank)
    peak = hardware.long_flops if training.precision == "fp32" else hardware.short_flops
    padded = sum(batch.tokens for batch in passes)
    squares = sum(batch.rows * batch.length**2 for batch in passes)
    work = training_flops(shape, lora, padded, figures.trained_tokens, squares)
    work *= (4 / 3 if not lora else 3 / 2) if training.checkpointing else 1
    launching = len(passes) * shape.layers * hardware.launch_seconds
    trained = shape.lora_parameters(training.lora_rank) if lora else shape.parameters
    stepping = figures.steps_per_epoch * trained * _OPTIMIZER_BYTES / hardware.bandwidth
    return (work / (peak * hardware.utilisation) + launching) / hardware.count + stepping


def _evaluations(figures: RowFigures, recipe: RecipeSettings) -> int:
    """How often the held-out loss is measured: before, every so many steps, and at the end."""
    if not figures.held_out_rows:
        return 0
    return 2 + (figures.steps - 1) // recipe.eval_steps


def measured_speed(
    lab: Lab, student: str, recipe: RecipeSettings, hardware: Hardware
) -> tuple[float, str] | None:
    """Tokens a second of the last trainings of the same student on this device; None when there are none.

    Only runs that trained the same part of it, and recomputed activations or not, as this one will.
    """
    from qdl_engine.runs.store import list_runs

    if not hardware.measured:
        return None
    rates: list[float] = []
    names: list[str] = []
    for run in list_runs(lab):
        if run.kind != "train" or run.config is None or not _alike(run.config, student, recipe):
            continue
        found = _rates(run.events_file, hardware)
        if found:
            rates += found
            names.append(run.id)
        if len(names) == _EARLIER_RUNS:
            break
    if not rates:
        return None
    return median(rates), f"runs {', '.join(names)}" if len(names) > 1 else f"run {names[0]}"


def _alike(config: Path, student: str, recipe: RecipeSettings) -> bool:
    try:
        raw = read_json(config)
        return (
            raw["models"]["student"] == student
            and bool(raw["qdl"]["lora"]["rank"]) == bool(recipe.lora_rank)
            and raw["training"]["gradient_checkpointing"] == recipe.gradient_checkpointing
        )
    except (LabError, OSError, KeyError, TypeError):
        return False


def _rates(events_file: Path, hardware: Hardware) -> list[float]:
    """Tokens a second at each report but the first, which also has the start in it."""
    from qdl_engine.runs.reader import EventTail

    rates: list[float] = []
    for event in EventTail(events_file).read():
        if event["event"] == "started" and event.get("device") != hardware.name:
            return []
        rate = as_number(event.get("tokens_per_second")) if event["event"] == "metrics" else None
        if rate and rate > 0:
            rates.append(rate)
    return rates[1:]
