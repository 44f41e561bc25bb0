"""From arguments to an exit code: 0 done, 1 failed, 2 usage or settings, 130 interrupted."""

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

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import UsageError, build_parser, overrides_of
from qdl_engine.cli.streams import make_streams_safe, silence_streams
from qdl_engine.core.errors import LabError, from_system
from qdl_engine.core.events import Failed, append_event
from qdl_engine.core.lab import Lab

INTERRUPTED = 130


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn whatever goes wrong into words for a person and an exit code for a script."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    make_streams_safe()
    # Needed before parsing, so that a mistake in the arguments is reported in the form that was asked for.
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
        # Whoever read our output has had enough of it: `qdl runs | head`.
        silence_streams()
        return 0
    except OSError as error:
        return _report(context, from_system(error) or _unexpected(context.lab, error))
    except Exception as error:  # noqa: BLE001 - the last line: no traceback reaches a person
        return _report(context, _unexpected(context.lab, error))


class _Interrupted(LabError):
    """Ctrl-C."""

    exit_code = INTERRUPTED


def _run(context: Context, given: Namespace) -> int:
    code: int = given.handler(context, given)
    sys.stdout.flush()
    return code


def _report(context: Context, error: LabError) -> int:
    """Say what went wrong; inside a run also to whoever reads its events."""
    events = os.environ.get("QDL_EVENTS")
    if events and os.environ.get("QDL_RUN_DIR"):
        # A full disk must not hide the words below, which go to the log.
        with suppress(OSError):
            append_event(Path(events), Failed(error.message, error.hint))
    try:
        _say(context, error)
    except OSError:
        # Nobody can be told; the exit code still says it.
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


def _unexpected(lab: Lab, error: Exception) -> LabError:
    """A fault of ours (or of a library) as an error a person can pass on."""
    home = lab.logs if lab.settings_file.is_file() else Path(tempfile.gettempdir())
    path = home / time.strftime(f"qdl-%Y%m%d-%H%M%S-{os.getpid()}.log")
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
