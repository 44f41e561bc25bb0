"""How long a training takes: the least that the hardware allows, and a prediction.

The least time is arithmetic: 6 operations a weight and token (Kaplan et al. 2020, arXiv 2001.08361) for the
matrices, the output layer only for the answer's tokens, and for causal attention half of 12 x layers x width
x length a token (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B), at the device's peak. The
prediction comes from earlier runs of the same student on this device, or else from the class of the device;
that of a CPU is fitted to measured trainings: `tests/bench/bench_preflight.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from qdl_engine.core.errors import LabError
from qdl_engine.core.events import Metrics, Started
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.models.shape import ModelShape
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Pass, Training, direct_logits, layer_bytes, scored_tokens
from qdl_engine.preflight.rows import RowFigures
from qdl_engine.settings import RecipeSettings

START_SECONDS = {"cpu": 6.0, "cuda": 20.0}
"""Importing the libraries and starting CUDA; the first is measured, the second an estimate."""
_FILE_BYTES_PER_SECOND = 5e8
"""Speed of reading a student and of writing checkpoints; an estimate."""
_OPTIMIZER_BYTES = 28
"""Bytes that AdamW in fp32 reads and writes for each trained weight: weight, gradient and two moments."""
_EARLIER_RUNS = 3
_ADAPTER_MOVES = 10
"""How often a value that enters or leaves an adapter is read or written; measured on a CPU."""
_TILE_SECONDS = 70e-9
"""On a CPU, for each logit made in tiles. TRL's plain torch version passes over each tile some 27 times, most
of them into fresh memory; measured."""
_TILE_FORWARD = 0.45
"""The forward pass's share of it."""


@dataclass(frozen=True)
class Duration:
    """Seconds of one training."""

    floor_seconds: float
    """The least that the hardware allows, at its peak."""
    seconds: float
    """The prediction; start, held-out loss and saving included."""
    tokens_per_second: float
    origin: Literal["measured", "estimated"]
    source: str
    """The runs that were measured, or the assumption behind an estimate."""
    error: str
    """How far off the prediction may be, in words."""


@dataclass(frozen=True)
class Measured:
    """Tokens a second of earlier runs."""

    tokens_per_second: float
    runs: str
    """`run 0003` or `runs 0003, 0004`."""


def predict(
    shape: ModelShape,
    training: Training,
    hardware: Hardware,
    recipe: RecipeSettings,
    figures: RowFigures,
    passes: list[Pass],
    measured: Measured | None,
) -> Duration:
    """Seconds of a training.

    An estimate takes for each pass its operations, at the share of the peak that the device's class reaches,
    the bytes that it moves, and the launching of each layer's kernels; for each step, one pass of the
    optimizer over the trained weights. Where earlier runs were measured, they replace the estimate, and the
    seconds of the held-out loss are scaled by how far the estimate was off.
    """
    speed = Speed(shape, training, hardware)
    epoch = speed.epoch_seconds(figures, passes)
    evaluating = speed.evaluation_seconds(figures, passes) * _evaluations(figures, recipe)
    around = START_SECONDS[training.device] + _file_seconds(shape, recipe, figures)
    floor = speed.least_seconds(figures, passes)
    if measured is not None:
        rate = measured.tokens_per_second
        seconds = figures.tokens / rate
        evaluating *= seconds / epoch if epoch else 1
        seconds = seconds * figures.epochs + evaluating + around
        return Duration(floor, seconds, rate, "measured", measured.runs, "± 20 %")
    return Duration(
        floor_seconds=floor,
        seconds=epoch * figures.epochs + evaluating + around,
        tokens_per_second=figures.tokens / epoch if epoch else 0.0,
        origin="estimated",
        source=f"{100 * hardware.utilisation:.0f} % of peak speed",
        error="within a factor of 2" if hardware.is_gpu else "± 30 %",
    )


@dataclass(frozen=True)
class Speed:
    """The speed of one student, trained in one way, on one device."""

    shape: ModelShape
    training: Training
    hardware: Hardware

    @property
    def peak(self) -> float:
        """Operations a second of one device."""
        hardware = self.hardware
        return hardware.long_flops if self.training.precision == "fp32" else hardware.short_flops

    def least_seconds(self, figures: RowFigures, passes: list[Pass]) -> float:
        """The whole training at the peak, without padding: no training is faster."""
        squares = sum(batch.squares for batch in passes) * (1 - figures.padding)
        least = self._flops(figures.tokens, figures.trained_tokens, squares)
        return least / (self.peak * self.hardware.count) * figures.epochs

    def epoch_seconds(self, figures: RowFigures, passes: list[Pass]) -> float:
        """All passes of one epoch, and the optimizer's steps."""
        trained = self.shape.trained_parameters(self.training.lora_rank)
        stepping = figures.steps_per_epoch * trained * _OPTIMIZER_BYTES / self.hardware.bandwidth
        return sum(map(self.pass_seconds, passes)) / self.hardware.count + stepping

    def pass_seconds(self, batch: Pass) -> float:
        """One forward and backward pass on one device."""
        work = self._flops(batch.tokens, 0, batch.squares)
        if self.training.checkpointing:
            work *= 3 / 2 if self.training.lora_rank else 4 / 3
        work += self._head_flops(batch)
        computing = work / (self.peak * self.hardware.utilisation)
        moving = self._moved_bytes(batch) / self.hardware.bandwidth
        tiling = self._tiled_logits(batch) * _TILE_SECONDS
        return computing + moving + tiling + self.shape.layers * self.hardware.launch_seconds

    def evaluation_seconds(self, figures: RowFigures, passes: list[Pass]) -> float:
        """The held-out loss once: forward passes over rows like those trained, logits in tiles."""
        share = figures.held_out_rows / max(1, figures.trained_rows) / self.hardware.count
        tokens = share * sum(batch.tokens for batch in passes)
        squares = share * sum(batch.squares for batch in passes)
        on_cpu = self.training.device == "cpu"
        scored = tokens if on_cpu else share * figures.trained_tokens
        work = self._flops(tokens, scored, squares, lora=False) / 3
        moving = share * sum(map(self._moved_bytes, passes)) / 3
        tiling = _TILE_FORWARD * _TILE_SECONDS * scored * self.shape.vocabulary if on_cpu else 0.0
        computing = work / (self.peak * self.hardware.utilisation)
        return computing + moving / self.hardware.bandwidth + tiling

    def _flops(self, tokens: float, scored: float, squares: float, *, lora: bool | None = None) -> float:
        """Operations of forward and backward passes.

        Args:
            tokens: Tokens that go through the layers.
            scored: Tokens that go through the output layer.
            squares: The sum of the squared lengths of the rows, for attention.
            lora: Whether most weights are frozen and need no gradient: 4 operations and not 6. The
                training decides where it is None.
        """
        shape = self.shape
        each = 4 if (bool(self.training.lora_rank) if lora is None else lora) else 6
        matrices = each * (shape.linear * tokens + shape.embedding * scored)
        return matrices + 6 * shape.layers * shape.query_width * squares

    def _head_flops(self, batch: Pass) -> float:
        """Operations of the output layer. In tiles, the backward pass makes all logits once more."""
        each = 4 if self.training.lora_rank else 6
        again = 0 if direct_logits(self.shape, self.training, batch) else 2
        return (each + again) * self.shape.embedding * scored_tokens(self.shape, self.training, batch)

    def _tiled_logits(self, batch: Pass) -> float:
        """Logits that plain torch makes in tiles; on a GPU a kernel does it, at next to no cost."""
        if self.training.device != "cpu" or direct_logits(self.shape, self.training, batch):
            return 0.0
        return scored_tokens(self.shape, self.training, batch) * self.shape.vocabulary

    def _moved_bytes(self, batch: Pass) -> float:
        """Bytes moved beside the matrices: the values that layers keep, and those at adapters."""
        kept = self.shape.layers * layer_bytes(self.shape, self.training, batch)
        at_adapters = self.shape.lora_parameters(1) * batch.tokens if self.training.lora_rank else 0
        return self.hardware.moves * kept + _ADAPTER_MOVES * self.training.value_bytes * at_adapters


def _file_seconds(shape: ModelShape, recipe: RecipeSettings, figures: RowFigures) -> float:
    """Reading the student, writing checkpoints, and writing the trained student at the end."""
    saved = 12 * shape.trained_parameters(recipe.lora_rank) * (figures.steps // recipe.save_steps)
    return (2 * shape.dtype_bytes * shape.parameters + saved) / _FILE_BYTES_PER_SECOND


def _evaluations(figures: RowFigures, recipe: RecipeSettings) -> int:
    """How often the held-out loss is measured: at the start, every `eval_steps`, and at the end."""
    if not figures.held_out_rows:
        return 0
    return 2 + (figures.steps - 1) // recipe.eval_steps


def measured_speed(lab: Lab, student: str, recipe: RecipeSettings, hardware: Hardware) -> Measured | None:
    """The speed of the latest trainings of the same student on this device; None where there are none.

    Only runs count that trained the same part of the student, and recomputed activations or not, as this
    training will.
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
    return Measured(median(rates), f"run{'s' if len(names) > 1 else ''} {', '.join(names)}")


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
    """Tokens a second at each report but the first, which includes the start."""
    from qdl_engine.runs.reader import EventTail

    rates: list[float] = []
    for event in EventTail(events_file).read():
        if isinstance(event, Started) and event.device != hardware.name:
            return []
        rate = event.tokens_per_second if isinstance(event, Metrics) else None
        if rate and rate > 0:
            rates.append(rate)
    return rates[1:]
