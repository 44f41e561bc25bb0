"""`easydistill`: an installation of EasyDistill of your own."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qdl_engine.cli import easydistill2
from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.cli.progress import ProgressLine

_CHECK = """\
Prove that a checkout of EasyDistill 1.0 and an interpreter work together: what it is and at which commit, the
packages that it needs, and ten steps of training on a tiny student. What works is recorded in your settings,
and runtime.kind = "easydistill" then means it wherever runtime.checkout and runtime.python are empty."""


def add_commands(group: Group) -> None:
    inner = group.group("easydistill", "check and use an installation of EasyDistill")
    command = inner.command("check", check, "prove that an EasyDistill 1.0 trains, and remember it", _CHECK)
    command.add_argument("checkout", metavar="CHECKOUT", help="a git checkout of branch 1.0")
    command.add_argument(
        "--python", default="", help="the interpreter to run it with (default: CHECKOUT/.venv/bin/python)"
    )
    easydistill2.add_run(inner)


def check(context: Context, given: Namespace) -> int:
    from qdl_engine.upstream.version1.check import check_easydistill

    with ProgressLine() as progress:
        report = check_easydistill(Path(given.checkout), given.python, on_event=progress)
    context.emit(report.to_dict(), report.table())
    return 0 if report.works else 1
