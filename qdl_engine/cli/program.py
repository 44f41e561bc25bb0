"""The whole of `qdl`: the grammar of all commands, and the way from arguments to an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from qdl_engine import __version__
from qdl_engine.cli import compare, data, easydistill, lab, run_config, runs, train
from qdl_engine.cli.context import INTERRUPTED, Context
from qdl_engine.cli.parser import Group, Parser, UsageError, add_shared_options, overrides_of
from qdl_engine.cli.streams import make_streams_safe, silence_streams
from qdl_engine.core.errors import LabError, from_system
from qdl_engine.core.events import Failed, append_event
from qdl_engine.core.lab import Lab

DESCRIPTION = (
    "Distil one big Qwen teacher into two small students: System 1 answers at once, System 2 reasons first."
)
EPILOG = (
    "From nothing:   qdl init; qdl train system1; qdl train system2; qdl compare\n"
    "Without a GPU:  qdl demo\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage or settings, 130 interrupted (runs continue)."
)


def build_parser() -> Parser:
    """The whole grammar; building it imports none of the engine's heavy parts."""
    parser = Parser(prog="qdl", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"qdl {__version__}")
    add_shared_options(parser, 0)
    group = Group(parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser))
    for module in (lab, data, train, run_config, runs, compare, easydistill):
        module.add_commands(group)
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 usage or settings, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    make_streams_safe()
    # Made before parsing, so that an error in the arguments is reported as JSON too.
    context = Context(Lab.at("."), (), as_json="--json" in words)
    try:
        given = build_parser().parse_args(words)
        context = Context(Lab.at(given.lab), tuple(overrides_of(given)), as_json=given.json)
        return _run(context, given)
    except LabError as error:
        return _report(context, error)
    except KeyboardInterrupt:
        return _report(context, _Interrupted("Interrupted."))
    except BrokenPipeError:
        # The reader of our output has closed it: `qdl runs | head`.
        silence_streams()
        return 0
    except OSError as error:
        return _report(context, from_system(error) or _unexpected(context.lab, error))
    except Exception as error:  # noqa: BLE001 - the last resort: nobody sees a traceback
        return _report(context, _unexpected(context.lab, error))


class _Interrupted(LabError):
    """Ctrl-C."""

    exit_code = INTERRUPTED


def _run(context: Context, given: Namespace) -> int:
    code: int = given.handler(context, given)
    sys.stdout.flush()
    return code


def _report(context: Context, error: LabError) -> int:
    """Print what went wrong, and inside a run write it to the run's events too."""
    events = os.environ.get("QDL_EVENTS")
    if events and os.environ.get("QDL_RUN_DIR"):
        # A full disk must not hide the error below, which goes to the log.
        with suppress(OSError):
            append_event(Path(events), Failed(error.message, error.hint))
    try:
        _say(context, error)
    except OSError:
        # Both streams are gone; only the exit code is left.
        silence_streams()
    return error.exit_code


def _say(context: Context, error: LabError) -> None:
    if context.as_json:
        context.emit({"error": {"message": error.message, "hint": error.hint}}, "")
        sys.stdout.flush()
        return
    plain = isinstance(error, UsageError | _Interrupted)
    context.tell(f"{'' if plain else 'Error: '}{error.message}")
    if error.hint:
        context.tell(error.hint)


def _unexpected(home: Lab, error: Exception) -> LabError:
    """A bug, ours or a library's, as an error with a log file that a person can send us."""
    folder = home.logs if home.settings_file.is_file() else Path(tempfile.gettempdir())
    path = folder / time.strftime(f"qdl-%Y%m%d-%H%M%S-{os.getpid()}.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace"
        )
        hint = f"The details are in {path}"
    except OSError as unwritable:
        hint = f"The details could not be written: {unwritable}"
    words = str(error).strip().split("\n")[0]
    return LabError(f"Unexpected {type(error).__name__}{': ' + words if words else ''}", hint)
