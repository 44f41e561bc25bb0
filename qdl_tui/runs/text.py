"""A run in a few lines of text, fitted to the width: nothing is cut that a shorter word could say."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from qdl_engine.core.words import money_text, printable, sentences, size_text
from qdl_engine.runs.reader import RunSummary
from qdl_engine.runs.store import Run
from qdl_tui.runs.feed import duration_text, number_text

SEPARATOR = " · "
LONGEST_BAR, SHORTEST_BAR = 20, 6

Part = tuple[str, str]
"""A figure in words, and shorter."""


def figures(run: Run, summary: RunSummary, held_out_at: int | None = None) -> list[Part]:
    """What a run has to tell, the most wanted first; what it has not said is left out.

    Args:
        run: The run.
        summary: Where it stands.
        held_out_at: The step of its last held-out loss, which is told where the run has gone on since.
    """
    parts = [_progress(run, summary)]
    if summary.loss is not None:
        parts.append((f"loss {number_text(summary.loss)}",) * 2)
    if summary.held_out_loss is not None:
        number = number_text(summary.held_out_loss)
        at = f"{held_out_at:,}" if held_out_at is not None and held_out_at < (summary.step or 0) else ""
        parts.append(
            (f"held out {number} at step {at}", f"held {number} at {at}")
            if at
            else (f"held out {number}", f"held {number}")
        )
    if summary.tokens_per_second is not None and not _between_steps(run, summary):
        parts.append((f"{summary.tokens_per_second:,.0f} tokens/s", f"{summary.tokens_per_second:,.0f} t/s"))
    if summary.cost is not None:
        parts.append((f"cost {money_text(summary.cost)}",) * 2)
    if summary.failed:
        parts.append((f"{summary.failed:,} failed",) * 2)
    if run.seconds is not None:
        parts.append((f"time {duration_text(run.seconds)}", duration_text(run.seconds)))
    if summary.epoch is not None:
        parts.append((f"epoch {summary.epoch:.2f}", f"ep {summary.epoch:.2f}"))
    if summary.learning_rate is not None:
        parts.append((f"lr {number_text(summary.learning_rate)}",) * 2)
    if summary.grad_norm is not None:
        parts.append((f"grad {number_text(summary.grad_norm)}",) * 2)
    if summary.gpu_memory_bytes is not None:
        parts.append((f"GPU {size_text(summary.gpu_memory_bytes)}",) * 2)
    if summary.gpu_use is not None:
        parts.append((f"GPU use {summary.gpu_use:.0%}", f"use {summary.gpu_use:.0%}"))
    if summary.memory_bytes is not None:
        size = size_text(summary.memory_bytes)
        parts.append((f"memory {size} with libraries", f"mem {size} with libs"))
    return [part for part in parts if part[0]]


def _between_steps(run: Run, summary: RunSummary) -> bool:
    """Whether a training is under way and makes no steps now: it loads, measures or saves."""
    return run.kind == "train" and run.active and summary.stage not in ("", "train")


def _progress(run: Run, summary: RunSummary) -> Part:
    """`step 40/80` of a training, `label 12 of 900 rows` of a job."""
    if summary.stage and summary.stage != "train":
        if not summary.done and not summary.total:
            return (summary.stage,) * 2
        done = "" if summary.done is None else f" {summary.done:,}"
        of = f" of {summary.total:,}" if summary.total else ""
        return f"{summary.stage}{done}{of} {summary.unit}".strip(), f"{summary.stage}{done}{of}"
    if summary.step is None:
        return "", ""
    of = f"/{summary.total_steps:,}" if summary.total_steps else ""
    return f"step {summary.step:,}{of}", f"{summary.step:,}{of}"


def fit(parts: Sequence[Part], width: int, rows: int = 2) -> list[str]:
    """The parts in at most `rows` lines: in words when they fit, else shorter, else without the last ones."""
    for words in ([long for long, _short in parts], [short for _long, short in parts]):
        lines = _wrap(words, width)
        if len(lines) <= rows:
            return lines
    return lines[:rows]


def _wrap(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(SEPARATOR) + len(word) <= width:
            lines[-1] += SEPARATOR + word
        else:
            lines.append(word[:width])
    return lines


def head(run: Run, summary: RunSummary, place: str, width: int) -> tuple[str, str]:
    """What stands behind the state in the first line: id and name, then bar, ETA and place.

    The bar shrinks first, then the name; a bar that has no room at all leaves its share alone. The place,
    such as `1 of 6`, says that it is the run's where that costs neither.
    """
    eta = f"ETA {duration_text(summary.eta_seconds)}" if run.active and summary.eta_seconds else ""
    share = summary.progress
    tail = [part for part in ("" if share is None else f"{share:.0%}", eta, place) if part]
    fixed = len(run.id) + sum(len(part) + 2 for part in tail)
    name = printable(run.name)
    least = len(name) + 1 + (0 if share is None else LONGEST_BAR + 2)
    if place and fixed + least + len("run ") <= width:
        tail[-1] = f"run {place}"
        fixed += len("run ")
    room = width - fixed - (0 if share is None else SHORTEST_BAR + 2)
    title = run.id
    if name and room >= 8:
        title += f" {name if len(name) < room else name[: room - 2] + '…'}"
    bar = ""
    if share is not None:
        length = min(LONGEST_BAR, width - fixed - (len(title) - len(run.id)) - 2)
        full = round(share * length)
        bar = f"{'━' * full}{'─' * (length - full)} " if length >= SHORTEST_BAR else ""
    return title, bar + "  ".join(tail)


def told_of(run: Run) -> str:
    """How a run ended, and what to do about it."""
    return sentences(run.message, run.hint)


def paragraphs(text: str, width: int, rows: int = 3) -> list[str]:
    """A message on as many lines as it needs, up to `rows`."""
    flat = " ".join(printable(text).split())
    return textwrap.wrap(flat, width, max_lines=rows, placeholder="…") if flat else []
