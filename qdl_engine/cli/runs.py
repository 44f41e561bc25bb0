"""`runs`, `attach`, `stop`, `resume`, `rename`, `note`, `delete` and `runs export`: the runs of a lab."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from qdl_engine.cli.context import Context, dump_json
from qdl_engine.cli.jobs import described, follow
from qdl_engine.cli.parser import Group, Parser
from qdl_engine.core.errors import RunError, SettingsError
from qdl_engine.core.words import duration, one_line

if TYPE_CHECKING:
    from qdl_engine.core.lab import Lab
    from qdl_engine.runs.reader import RunSummary
    from qdl_engine.runs.store import Run

_HEADS = ("run", "state", "when", "took", "progress", "loss", "name, message")
_SHOWN_MESSAGE = 60
"""Characters of a run's message at a terminal; a pipe or a file gets the whole message."""


def add_commands(group: Group) -> None:
    """Add the commands that list, watch, control and edit runs."""
    command = group.command("runs", runs, "list the lab's runs, newest first")
    command.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="only runs with all of the words in their id, name, state, kind, student or note",
    )
    inner = command.add_subparsers(metavar="COMMAND", required=False, parser_class=Parser)
    command = Group(inner, 2).command(
        "export", export, "print the figures of a run as CSV, or as JSON with --json"
    )
    _add_run(command)
    command.add_argument("--csv", action="store_true", help="print CSV (the default)")
    command.add_argument("--output", metavar="FILE", help="write to a file instead: JSON if .json, else CSV")
    command = group.command("attach", attach, "watch a run until it ends; Ctrl-C leaves it running")
    command.add_argument("run", nargs="?", help="its number or id (default: the active run, else the last)")
    command = group.command("stop", stop, "stop a run; it saves a checkpoint to resume from")
    command.add_argument("run", nargs="?", help="its number or id (default: the active run)")
    command.add_argument("--force", action="store_true", help="kill it at once, without a checkpoint")
    command.add_argument(
        "--grace",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long it may take to save its checkpoint (default: 120)",
    )
    command = group.command("resume", resume, "resume a stopped, failed or lost run")
    command.add_argument("run", nargs="?", help="its number or id (default: the last one that can resume)")
    command.add_argument("--detach", action="store_true", help="return at once")
    command = group.command("rename", rename, "give a run a name, to list it and find it by")
    _add_run(command)
    command.add_argument("name", help='the name; "" removes it')
    command = group.command("note", note, "write a note on a run, or show its note")
    _add_run(command)
    command.add_argument("text", nargs="?", help='the note; "" removes it (default: show it)')
    command = group.command("delete", delete, "delete a run with its log and figures; keep its student")
    _add_run(command)
    command.add_argument("--yes", action="store_true", help="do not ask")


def _add_run(command: Parser) -> None:
    command.add_argument("run", help="its number, id or name, or `last`")


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
        text = f"None of the {len(every)} runs has all of: {given.filter}"
    else:
        text = f"No runs yet. Start one: qdl --lab {context.lab.word} train system1"
    values = [{**described(run, summary), "student": student} for run, student, summary in found]
    context.emit({"runs": values}, text)
    return 0


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
    """Three decimals; a smaller loss in powers of ten, so that it never reads `0.000`."""
    return f"{loss:.1e}" if 0 < loss < 0.001 else f"{loss:.3f}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def attach(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.store import get_run

    lab = context.open_lab()
    return follow(context, _choose(lab, given.run, "attach") or get_run(lab, "last"))


def stop(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.launch import stop_run, wait_for

    lab = context.open_lab()
    run = _choose(lab, given.run, "stop")
    if run is None:
        raise RunError("No run is active", f"List them: qdl --lab {lab.word} runs")
    run = stop_run(run, force=given.force, grace=given.grace)
    if run.active:
        context.tell(f"Stopping run {run.id} ...")
        run = wait_for(run)
    context.emit(run.to_dict(), f"Run {run.id} is {run.state}. {run.message}".rstrip())
    return 0


def resume(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.launch import resume_run

    lab = context.open_lab()
    run = _choose(lab, given.run, "resume")
    if run is None:
        raise RunError("No run can be resumed", "Only a stopped, failed or lost run can be resumed.")
    run = resume_run(run)
    if given.detach:
        context.emit(run.to_dict(), f"Run {run.id} is {run.state}.")
        return 0
    return follow(context, run)


def _choose(lab: Lab, name: str | None, command: str) -> Run | None:
    """The run that `command` means: the one named, else the newest that it can work on."""
    from qdl_engine.runs.store import get_run, list_runs

    if name:
        return get_run(lab, name)
    resuming = command == "resume"
    found = [run for run in list_runs(lab) if (run.resumable if resuming else run.active)]
    if len(found) > 1 and not resuming:
        ways = "\n".join(f"qdl --lab {lab.word} {command} {run.id}" for run in found)
        raise RunError("More than one run is active", f"Choose one:\n{ways}")
    return found[0] if found else None


def rename(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.edit import rename_run
    from qdl_engine.runs.store import get_run

    run = rename_run(get_run(context.open_lab(), given.run), given.name)
    context.emit(
        run.to_dict(), f"Run {run.id} is now named {run.name}" if run.name else f"Run {run.id} has no name"
    )
    return 0


def note(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.edit import note_run
    from qdl_engine.runs.store import get_run

    run = get_run(context.open_lab(), given.run)
    if given.text is not None:
        run = note_run(run, given.text)
    context.emit(run.to_dict(), run.note or f"Run {run.id} has no note")
    return 0


def delete(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.edit import delete_run, deletion
    from qdl_engine.runs.store import get_run

    run = get_run(context.open_lab(), given.run)
    found = deletion(run)
    if not given.yes and not run.active and not _agreed(context, f"Delete run {run.id}?", found.text()):
        raise RunError(f"Run {run.id} was not deleted")
    delete_run(run)
    context.emit({"deleted": run.id, **found.to_dict()}, f"Deleted run {run.id}")
    return 0


def _agreed(context: Context, question: str, detail: str) -> bool:
    """Ask the person at the terminal.

    Raises:
        SettingsError: when there is no terminal.
    """
    if not sys.stdin.isatty():
        raise SettingsError("Not a terminal: use --yes")
    context.tell(f"{detail}\n{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def export(context: Context, given: Namespace) -> int:
    from qdl_engine.core.lab import write_text_atomic
    from qdl_engine.runs.reader import metrics_document, some_rows, to_csv
    from qdl_engine.runs.store import get_run

    if given.csv and context.as_json:
        raise SettingsError("--csv and --json exclude each other", "Use one of them.")
    run = get_run(context.open_lab(), given.run)
    rows = some_rows(run)
    if given.output is None:
        context.emit(metrics_document(run, rows), to_csv(rows))
        return 0
    path = Path(given.output).expanduser().absolute()
    as_json = path.suffix == ".json"
    write_text_atomic(path, dump_json(metrics_document(run, rows)) + "\n" if as_json else to_csv(rows))
    context.emit({"file": str(path), "rows": len(rows)}, f"Wrote {len(rows):,} rows to {path}")
    return 0
