"""How long a training takes: the hardware's floor, and a prediction from measured runs or the device's class.

The floor is arithmetic: 6 operations a weight and token (Kaplan et al. 2020, arXiv 2001.08361) for the
matrices, the output layer only for the answer's tokens, and for causal attention half of 12 x layers x width
x length a token (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B), at the device's peak. No
training is faster. What is predicted for a CPU is fitted to trainings: `tests/bench/bench_preflight.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from qdl_engine.core.errors import LabError
from qdl_engine.core.events import Metrics, Started
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.models.shape import ModelShape
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Pass, Training, direct_logits, layer_bytes, scored_tokens
from qdl_engine.preflight.rows import RowFigures
from qdl_engine.settings import RecipeSettings

START_SECONDS = {"cpu": 6.0, "cuda": 20.0}
"""Importing the libraries, and making CUDA ready; the first is measured, the second an estimate."""
_FILE_BYTES_PER_SECOND = 5e8
"""Students are read, and checkpoints written, at about this; an estimate."""
_OPTIMIZER_BYTES = 28
"""Read and written by AdamW in fp32 for each trained weight: weight, gradient and two moments, and back."""
_EARLIER_RUNS = 3
_ADAPTER_MOVES = 10
"""How often a value that goes into or out of an adapter is read or written; measured on a CPU."""
_TILE_SECONDS = 70e-9
"""On a CPU: of each logit made in tiles. TRL's plain torch version goes over each tile some 27 times, most of
them into memory that is new; measured."""
_TILE_FORWARD = 0.45
"""The forward pass's share of it."""


@dataclass(frozen=True)
class Duration:
    """Seconds of one training."""

    floor_seconds: float
    """What the hardware needs at its peak."""
    seconds: float
    """What is to be expected, start, held-out loss and saving included."""
    tokens_per_second: float
    origin: Literal["measured", "estimated"]
    source: str
    error: str
    """How far it may be off, in words."""

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

    Estimated, each pass costs its operations at the share of the peak that the device's class reaches, what
    is moved beside them, and for each layer what launching its kernels takes; each step, the optimizer's way
    over all weights. Measured, the held-out loss is scaled by the same.

    Args:
        measured: Tokens a second of earlier runs, and which ones; see `measured_speed`.
    """
    passes = list(passes)
    lora = bool(training.lora_rank)
    peak = _peak(training, hardware) * hardware.count
    mean_square = sum(batch.rows * batch.length**2 for batch in passes) * (1 - figures.padding)
    least = training_flops(shape, lora, figures.tokens, figures.trained_tokens, mean_square)
    floor = least / peak * figures.epochs
    guess = _epoch_seconds(shape, training, hardware, figures, passes)
    evaluating = _evaluation_seconds(shape, training, hardware, figures, passes)
    evaluating *= _evaluations(figures, recipe)
    around = START_SECONDS[training.device] + _file_seconds(shape, training, recipe, figures)
    if measured is not None:
        rate, source = measured
        epoch = figures.tokens / rate
        seconds = epoch * figures.epochs + evaluating * (epoch / guess if guess else 1) + around
        return Duration(floor, seconds, rate, "measured", source, "± 20 %")
    rate = figures.tokens / guess if guess else 0.0
    source = f"{hardware.utilisation:.0%} of the peak of {hardware.name}"
    error = "to a factor of 2" if hardware.is_gpu else "± 30 %"
    return Duration(floor, guess * figures.epochs + evaluating + around, rate, "estimated", source, error)


def _peak(training: Training, hardware: Hardware) -> float:
    return hardware.long_flops if training.precision == "fp32" else hardware.short_flops


def _epoch_seconds(
    shape: ModelShape, training: Training, hardware: Hardware, figures: RowFigures, passes: list[Pass]
) -> float:
    trained = shape.lora_parameters(training.lora_rank) if training.lora_rank else shape.parameters
    stepping = figures.steps_per_epoch * trained * _OPTIMIZER_BYTES / hardware.bandwidth
    return sum(pass_seconds(shape, training, hardware, batch) for batch in passes) / hardware.count + stepping


def pass_seconds(shape: ModelShape, training: Training, hardware: Hardware, batch: Pass) -> float:
    """One forward and backward pass on one device."""
    lora = bool(training.lora_rank)
    work = training_flops(shape, lora, batch.tokens, 0, batch.rows * batch.length**2)
    work *= (4 / 3 if not lora else 3 / 2) if training.checkpointing else 1
    work += _head_flops(shape, training, batch)
    computing = work / (_peak(training, hardware) * hardware.utilisation)
    moving = _moved_bytes(shape, training, hardware, batch) / hardware.bandwidth
    tiling = _tiled_logits(shape, training, batch) * _TILE_SECONDS
    return computing + moving + tiling + shape.layers * hardware.launch_seconds


def _head_flops(shape: ModelShape, training: Training, batch: Pass) -> float:
    """Operations of the output layer. In tiles, the way back makes all logits once more."""
    each = 4 if training.lora_rank else 6
    again = 0 if direct_logits(shape, training, batch) else 2
    return (each + again) * shape.embedding * scored_tokens(shape, training, batch)


def _tiled_logits(shape: ModelShape, training: Training, batch: Pass) -> float:
    """Logits that plain torch makes in tiles; on a GPU a kernel does it, at next to no cost."""
    if training.device != "cpu" or direct_logits(shape, training, batch):
        return 0.0
    return scored_tokens(shape, training, batch) * shape.vocabulary


def _moved_bytes(shape: ModelShape, training: Training, hardware: Hardware, batch: Pass) -> float:
    """What goes through memory beside the matrices: the values that layers keep, and those at adapters."""
    kept = shape.layers * layer_bytes(shape, training, batch)
    size = 4 if training.precision == "fp32" else 2
    at_adapters = shape.lora_parameters(1) * batch.tokens if training.lora_rank else 0
    return hardware.moves * kept + _ADAPTER_MOVES * size * at_adapters


def _evaluation_seconds(
    shape: ModelShape, training: Training, hardware: Hardware, figures: RowFigures, passes: list[Pass]
) -> float:
    """One measuring of the held-out loss: forward passes over rows like those trained, logits in tiles."""
    share = figures.held_out_rows / max(1, figures.trained_rows) / hardware.count
    tokens = share * sum(batch.tokens for batch in passes)
    squares = share * sum(batch.rows * batch.length**2 for batch in passes)
    on_cpu = training.device == "cpu"
    scored = tokens if on_cpu else share * figures.trained_tokens
    work = training_flops(shape, False, tokens, scored, squares) / 3
    moving = share * sum(_moved_bytes(shape, training, hardware, batch) for batch in passes) / 3
    tiling = _TILE_FORWARD * _TILE_SECONDS * scored * shape.vocabulary if on_cpu else 0.0
    computing = work / (_peak(training, hardware) * hardware.utilisation)
    return computing + moving / hardware.bandwidth + tiling


def _file_seconds(
    shape: ModelShape, training: Training, recipe: RecipeSettings, figures: RowFigures
) -> float:
    """Reading the student, writing checkpoints on the way, and the trained student at the end."""
    trained = shape.lora_parameters(training.lora_rank) if training.lora_rank else shape.parameters
    saved = 12 * trained * (figures.steps // recipe.save_steps)
    return (2 * shape.dtype_bytes * shape.parameters + saved) / _FILE_BYTES_PER_SECOND


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
        if isinstance(event, Started) and event.device != hardware.name:
            return []
        rate = event.tokens_per_second if isinstance(event, Metrics) else None
        if rate and rate > 0:
            rates.append(rate)
    return rates[1:]
