"""`qdl-tui [LAB]`. `--version`, `--help`, `--paths` and the plain text report import no Textual (0.6 s)."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdl_tui.app import QdlApp


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qdl-tui",
        description="The Qwen Distillation Lab in the terminal, by keyboard alone. Without a screen: qdl.",
    )
    parser.add_argument("lab", nargs="?", metavar="LAB", help="directory of the lab (default: here)")
    parser.add_argument(
        "--demo", action="store_true", help="make a demo lab in LAB, or in a directory of its own"
    )
    parser.add_argument(
        "--no-mouse", action="store_true", help="leave the mouse to the terminal, to select text"
    )
    parser.add_argument("--paths", action="store_true", help="print where the app keeps what it remembers")
    parser.add_argument("--keys", action="store_true", help="print every action's id, keys and what it does")
    parser.add_argument("--json", action="store_true", help="with --keys or --paths: as JSON")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _plain_reason() -> str:
    """Why no screen can be drawn here; empty when one can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "not a terminal"
    return "TERM=dumb" if os.environ.get("TERM", "") in ("", "dumb") else ""


def _plain_report(directory: str, reason: str) -> int:
    """What a pipe or a dumb terminal gets: where the lab stands, and the `qdl` command to use."""
    from qdl_engine.core.lab import Lab
    from qdl_engine.core.words import printable
    from qdl_engine.lab_state.status import lab_status, report_text

    for line in report_text(lab_status(Lab.at(directory))).splitlines():
        print(printable(line))
    print(f"qdl-tui needs a terminal ({reason}); use qdl here: qdl --help", file=sys.stderr)
    return 2


def _calm_over_ssh() -> None:
    """No animation and at most 15 frames a second over SSH. Textual reads these once, at its import."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
        os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
        os.environ.setdefault("TEXTUAL_FPS", "15")


def _app_class() -> type[QdlApp]:
    """What is imported lives to the end: to look through it for garbage delays the first paint and keys."""
    gc.disable()
    from qdl_tui.app import QdlApp

    gc.freeze()
    gc.enable()
    return QdlApp


def _print_keys(as_json: bool) -> int:
    """The table of keys with the user's in it; what is wrong with those goes to stderr, and the code is 1."""
    from qdl_engine.core.errors import LabError
    from qdl_engine.core.lab import user_settings_file
    from qdl_engine.core.words import printable
    from qdl_tui.shared.keymap import keymap_json, keymap_text, user_keymap

    try:
        keymap = user_keymap()
    except LabError as error:
        print(printable(f"qdl-tui: {error.message}\n{error.hint}".rstrip()), file=sys.stderr)
        return 1
    file = str(user_settings_file())
    if as_json:
        print(json.dumps(keymap_json(keymap, file), indent=1, ensure_ascii=False))
    else:
        print(keymap_text(keymap))
        print(printable(f'\nYour own keys go into [keymap] in {file}:  "app.theme" = "f2"'))
    for problem in keymap.problems:
        print(printable(problem), file=sys.stderr)
    return 1 if keymap.problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the app; the exit code is 0 after `q`, 2 without a terminal, 143 or 129 after a signal."""
    from qdl_engine.cli.streams import make_streams_safe, silence_streams

    make_streams_safe()
    try:
        code = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough of it: `qdl-tui --keys | head`.
        silence_streams()
        return 0
    return code


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.version:
        from qdl_engine import __version__

        print(f"qdl-tui {__version__}")
        return 0
    if options.paths:
        from qdl_tui.shared.state import paths

        found = paths()
        print(json.dumps(found) if options.json else "\n".join(f"{k:9} {v}" for k, v in found.items()))
        return 0
    if options.keys:
        return _print_keys(options.json)
    from qdl_engine.demo import DEMO_DIRECTORY

    directory = options.lab or (DEMO_DIRECTORY if options.demo else ".")
    reason = _plain_reason()
    if reason:
        return _plain_report(directory, reason)
    if Path(directory).expanduser().is_file():
        print(f"qdl-tui: LAB is a directory, and {directory} is a file", file=sys.stderr)
        return 2
    _calm_over_ssh()
    from qdl_engine.core.lab import Lab

    app = _app_class()(Lab.at(directory), demo=options.demo)
    app.run(mouse=not options.no_mouse)
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
