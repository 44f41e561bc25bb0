"""`rename`, `note`, `delete` and `runs export`: what a person keeps of runs, and what not."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group, Parser
from qdl_engine.core.errors import RunError, SettingsError


def add_commands(group: Group) -> None:
    command = group.command("rename", rename, "give a run a name that the list shows and that finds it")
    _add_run(command)
    command.add_argument("name", help='the name; "" takes it away')
    command = group.command("note", note, "write a note on a run, or show it")
    _add_run(command)
    command.add_argument("text", nargs="?", help='the note; "" takes it away (default: show it)')
    command = group.command("delete", delete, "delete a run with its log and figures; its student stays")
    _add_run(command)
    command.add_argument("--yes", action="store_true", help="do not ask")


def add_export(group: Group) -> None:
    command = group.command("export", export, "print the figures of a run as CSV, or with --json as JSON")
    _add_run(command)
    command.add_argument("--csv", action="store_true", help="as CSV, which is the default")
    command.add_argument("--output", metavar="FILE", help="write a file instead: .json, else CSV")


def _add_run(command: Parser) -> None:
    command.add_argument("run", help="its number, id or name, or `last`")


def rename(context: Context, given: Namespace) -> int:
    from qdl_engine.runs.edit import rename_run
    from qdl_engine.runs.store import get_run

    run = rename_run(get_run(context.open_lab(), given.run), given.name)
    context.emit(run.to_dict(), f"Run {run.id} is called {run.name}" if run.name else f"Run {run.id}")
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
    context.emit({"deleted": run.id, **found.to_dict()}, f"Run {run.id} is deleted")
    return 0


def _agreed(context: Context, question: str, detail: str) -> bool:
    """The answer of a person at a terminal.

    Raises:
        SettingsError: when nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise SettingsError("Nobody can be asked here", "Delete without a question: --yes")
    context.tell(f"{detail}\n{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def export(context: Context, given: Namespace) -> int:
    from qdl_engine.cli.context import dump_json
    from qdl_engine.core.lab import write_text_atomic
    from qdl_engine.runs.reader import metrics_document, some_rows, to_csv
    from qdl_engine.runs.store import get_run

    if given.csv and context.as_json:
        raise SettingsError("--csv and --json are two forms of one thing", "Give one of them.")
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
