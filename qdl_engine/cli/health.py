"""`doctor`: what this machine and this lab have, what they lack, and how to get it."""

from __future__ import annotations

from argparse import Namespace

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group


def add_commands(group: Group) -> None:
    command = group.command(
        "doctor", doctor, "check versions, GPU, EasyDistill, disk and hub, and say what is missing"
    )
    command.add_argument("--offline", action="store_true", help="do not ask the hub")


def doctor(context: Context, given: Namespace) -> int:
    from qdl_engine.lab_state.doctor import examine

    report = examine(context.lab, ask_hub=not given.offline)
    context.emit(report.to_dict(), report.table())
    return 0 if report.healthy else 1
