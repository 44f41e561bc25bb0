"""`demo`: the tiny lab that needs no network and no GPU."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.demo import DEMO_DIRECTORY


def add_commands(group: Group) -> None:
    command = group.command(
        "demo", demo, "distil a tiny teacher into both students, in minutes, without network or GPU"
    )
    command.add_argument("directory", nargs="?", help=f"where its lab goes (default: ./{DEMO_DIRECTORY})")


def demo(context: Context, given: Namespace) -> int:
    from qdl_engine.demo.runner import run_demo

    directory = Path(given.directory).expanduser() if given.directory else context.lab.root / DEMO_DIRECTORY
    with ProgressLine() as progress:
        report = run_demo(directory, progress)
    context.emit(report.as_dict(), str(report))
    return 0
