"""`runs`, `attach`, `stop` and `resume`; what is kept of runs is in `keeping`."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from qdl_engine.cli import keeping
from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group, Parser
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.errors import RunError
from qdl_engine.core.words import duration, one_line

if TYPE_CHECKING:
    from qdl_engine.core.lab import Lab
    from qdl_engine.runs.reader import RunSummary
    from qdl_engine.runs.store import Run

_POLL_SECONDS = 0.2
_PAST_EVENTS = 50
"""Of a run that is looked at later: its notes among so many of the last ones are told."""
INTERRUPTED = 130
_SHOWN_MESSAGE = 60
"""Characters of a run's message at a terminal; elsewhere it is whole."""


def add_commands(group: Group) -> None:
    command = group.command("runs", runs, "list the runs of the lab, the newest first")
    command.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="only those with each of the words in id, name, state, kind, student or note",
    )
    more = command.add_subparsers(metavar="COMMAND", required=False, parser_class=Parser)
    keeping.add_export(Group(more, 2))
    command = group.command("attach", attach, "watch a run to its end; Ctrl-C leaves it running")
    command.add_argument("run", nargs="?", help="its number or id (default: the one running, else the last)")
    command = group.command("stop", stop, "stop a run; it writes a checkpoint to resume from")
    command.add_argument("run", nargs="?", help="its number or id (default: the one running)")
    command.add_argument("--force", action="store_true", help="kill it at once, without a checkpoint")
    command.add_argument(
        "--grace", type=float, default=120.0, metavar="SECONDS", help="time for its checkpoint (default: 120)"
    )
    command = group.command("resume", resume, "go on with a stopped, failed or lost run")
    command.add_argument("run", nargs="?", help="its number or id (default: the last that can be resumed)")
    command.add_argument("--detach", action="store_true", help="return at once")
    keeping.add_commands(group)


def runs(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.reader import summarise
    from qdl_engine.runs.store import fits, list_runs, student_of

    every = [(run, student_of(run)) for run in list_runs(context.open_lab())]
    found = [(run, student, summarise(run)) for run, student in every if fits(run, given.filter, student)]
    width = _SHOWN_MESSAGE if sys.stdout.isatty() else sys.maxsize
    rows = [_row(run, summary, width) for run, _student, summary in found]
    if rows:
        text = "\n".join(_aligned([_HEADS, *rows]))
    elif every:
        text = f"None of {len(every)} runs has all of: {given.filter}"
    else:
        text = f"No runs yet. Start one: qdl --lab {context.lab.word} train system1"
    values = [{**described(run, summary), "student": student} for run, student, summary in found]
    context.emit({"runs": values}, text)
    return 0


_HEADS = ("run", "state", "when", "took", "progress", "loss", "name, message")


def _row(run: Run, summary: RunSummary, width: int) -> tuple[str, ...]:
    return (
        run.id,
        run.state,
        time.strftime("%m-%d %H:%M", time.localtime(run.created)),
        "" if run.seconds is None else duration(run.seconds),
        "" if summary.progress is None else f"{summary.progress:.0%}",
        "" if summary.loss is None else _loss(summary.loss),
        one_line(": ".join(part for part in (run.name, run.message or run.note) if part), width),
    )


def _loss(loss: float) -> str:
    """Three decimals, but never a loss that is there as `0.000`."""
    return f"{loss:.1e}" if 0 < loss < 0.001 else f"{loss:.3f}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def described(run: Run, summary: RunSummary) -> dict[str, Any]:
    return {**run.to_dict(), "summary": summary.to_dict()}


def attach(context: Context, given: Namespace) -> int:
    lab = context.open_lab()
    return follow(context, _choose(lab, given.run, "active", "attach") or _last(lab))


def stop(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.launch import stop_run, wait_for

    lab = context.open_lab()
    run = _choose(lab, given.run, "active", "stop")
    if run is None:
        raise RunError("No run is going on", f"List them: qdl --lab {lab.word} runs")
    run = stop_run(run, force=given.force, grace=given.grace)
    if run.active:
        context.tell(f"Stopping run {run.id} ...")
        run = wait_for(run)
    context.emit(run.to_dict(), f"Run {run.id} is {run.state}. {run.message}".rstrip())
    return 0


def resume(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.launch import resume_run

    lab = context.open_lab()
    run = _choose(lab, given.run, "resumable", "resume")
    if run is None:
        raise RunError("No run can be resumed", "Only a stopped, failed or lost run can.")
    run = resume_run(run)
    if given.detach:
        context.emit(run.to_dict(), f"Run {run.id} is {run.state}.")
        return 0
    return follow(context, run)


def _choose(lab: Lab, name: str | None, need: str, command: str) -> Run | None:
    """The run that `command` is meant for: the one named, or the newest that is as needed."""
    from qdl_engine.runs.store import get_run, list_runs

    if name:
        return get_run(lab, name)
    found = [run for run in list_runs(lab) if getattr(run, need)]
    if need == "active" and len(found) > 1:
        ways = "\n".join(f"qdl --lab {lab.word} {command} {run.id}" for run in found)
        raise RunError("More than one run is going on", f"Which one?\n{ways}")
    return found[0] if found else None


def _last(lab: Lab) -> Run:
    from qdl_engine.runs.store import get_run

    return get_run(lab, "last")


def follow(context: Context, run: Run) -> int:
    """Show a run until it ends. Interrupted, it is left alone and the exit code says so."""
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
            f"Left run {run.id}; it goes on. Watch it again: qdl --lab {run.lab.word} attach {run.id}"
        )
        # The text is told above; a script gets its one document too.
        context.emit(described(watch.run, watch.summary), "")
        return INTERRUPTED
    return _ended(context, watch.run, described(watch.run, watch.summary))


def _ended(context: Context, run: Run, value: dict[str, Any]) -> int:
    took = "" if run.seconds is None else f" after {duration(run.seconds)}"
    lines = [f"Run {run.id} is {run.state}{took}."]
    lines += [run.message] if run.message else []
    lines += [run.hint] if run.hint else []
    if run.state == "done":
        held_out = value["summary"]["held_out_loss"]
        lines += [] if held_out is None else [f"Held-out loss: {held_out:.3f}"]
        lines += [f"Checkpoint: {run.output_dir}"] if run.output_dir else []
    elif run.resumable:
        lines.append(f"Go on with it: qdl --lab {run.lab.word} resume {run.id}")
    context.emit(value, "\n".join(lines))
    return 0 if run.state == "done" else 1
