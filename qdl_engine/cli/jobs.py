"""Jobs: their options, where their progress goes, and how to start and watch one as a run."""

from __future__ import annotations

import argparse
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.cli.context import INTERRUPTED, Context
from qdl_engine.cli.parser import Parser
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.events import Event, EventSink, append_event
from qdl_engine.core.words import duration

if TYPE_CHECKING:
    from qdl_engine.runs.reader import RunSummary
    from qdl_engine.runs.store import Run

_POLL_SECONDS = 0.2
_PAST_EVENTS = 50
"""How many of a run's past events are read for notes when somebody attaches later."""


def add_run_options(command: Parser) -> None:
    """Add `--detach` and `--name`, and the options with which a run calls `qdl` itself."""
    command.add_argument("--detach", action="store_true", help="start it as a run and return at once")
    command.add_argument("--name", default="", help="the run's name in the list")
    # How a run calls `qdl` itself; not for people.
    command.add_argument("--in-run", action="store_true", help=argparse.SUPPRESS)
    command.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)


@contextmanager
def progress_sink(given: Namespace) -> Iterator[EventSink]:
    """Where progress goes: inside a run to its events and its log, else to the terminal alone."""
    if given.in_run:
        with in_run_sink() as sink:
            yield sink
    else:
        with ProgressLine() as progress:
            yield progress


@contextmanager
def in_run_sink() -> Iterator[EventSink]:
    """A sink that writes each event to the run's events and shows it in the run's log."""
    events = os.environ.get("QDL_EVENTS")
    with ProgressLine() as progress:

        def sink(event: Event) -> None:
            if events:
                append_event(Path(events), event)
            progress(event)

        yield sink


def config_of_this_run() -> Path | None:
    """Where the current run has its config; None outside a run."""
    from qdl_engine.runs.store import load_record

    directory = os.environ.get("QDL_RUN_DIR")
    return load_record(Path(directory)).config if directory else None


def start(context: Context, given: Namespace, words: list[str]) -> Run:
    """Start `qdl` with `words` and this command's `--set` in a run of its own."""
    from qdl_engine.runs.launch import start_job

    overrides = [word for override in context.overrides for word in ("--set", override)]
    return start_job(context.lab, [*words, *overrides], name=given.name)


def detach(context: Context, given: Namespace, words: list[str], *, note: str = "") -> Literal[0]:
    """Start a run and return; `note` is what the run will say first, for those who do not watch it."""
    run = start(context, given, words)
    text = f"Run {run.id} is {run.state}.\nWatch it: qdl --lab {context.lab.word} attach {run.id}"
    context.emit(
        run.to_dict() | ({"note_on_data": note} if note else {}), f"{note}\n{text}" if note else text
    )
    return 0


def follow(context: Context, run: Run) -> int:
    """Show a run until it ends. Ctrl-C leaves it running and returns `INTERRUPTED`."""
    from qdl_engine.runs.reader import RunWatch

    watch = RunWatch(run)
    context.tell(f"Run {run.id}: {run.log_file}")
    try:
        with ProgressLine() as progress:
            progress.catch_up(watch.refresh()[-_PAST_EVENTS:])
            while not watch.run.final:
                time.sleep(_POLL_SECONDS)
                for event in watch.refresh():
                    progress(event)
    except KeyboardInterrupt:
        context.tell(
            f"Run {run.id} is still running. Watch it again: qdl --lab {run.lab.word} attach {run.id}"
        )
        # People have read the line above; a script gets its one document too.
        context.emit(described(watch.run, watch.summary), "")
        return INTERRUPTED
    return _ended(context, watch.run, watch.summary)


def _ended(context: Context, run: Run, summary: RunSummary) -> int:
    took = "" if run.seconds is None else f" after {duration(run.seconds)}"
    lines = [f"Run {run.id} is {run.state}{took}.", *(text for text in (run.message, run.hint) if text)]
    if run.state == "done":
        held_out = summary.held_out_loss
        lines += [] if held_out is None else [f"Held-out loss: {held_out:.3f}"]
        lines += [f"Checkpoint: {run.output_dir}"] if run.output_dir else []
    elif run.resumable:
        lines.append(f"Resume it: qdl --lab {run.lab.word} resume {run.id}")
    context.emit(described(run, summary), "\n".join(lines))
    return 0 if run.state == "done" else 1


def described(run: Run, summary: RunSummary) -> dict[str, Any]:
    """A run as JSON, with what its events say of it."""
    return {**run.to_dict(), "summary": summary.to_dict()}
