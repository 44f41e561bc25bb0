"""`preflight`: will it fit, how long will it take, what is trained; before a run."""

from __future__ import annotations

from argparse import Namespace

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.core.systems import SYSTEMS

DOES_NOT_FIT = 1


def add_commands(group: Group) -> None:
    command = group.command(
        "preflight",
        preflight,
        "predict memory, time and disk of a training, before it starts",
        "From the model's config.json, the recipe and the prepared rows alone: whether it fits, how long it "
        "takes, what is trained. Exit code 0 when it fits, 1 when it does not.",
    )
    command.add_argument("system", choices=SYSTEMS)
    command.add_argument(
        "--device",
        default="",
        metavar="NAME",
        help="predict for another device: T4, V100, A10, L4, 3090, 4090, L40S, A100-40, A100-80, H100, "
        "H200 or cpu (default: this machine's)",
    )
    command.add_argument("--offline", action="store_true", help="do not ask the hub")


def preflight(context: Context, given: Namespace) -> int:
    from qdl_engine.preflight.examine import examine

    lab, settings = context.open_lab(), context.settings()
    found = examine(lab, settings, given.system, device=given.device, ask_hub=not given.offline)
    context.emit(found.to_dict(), found.table())
    return 0 if found.ready else DOES_NOT_FIT
