"""`accelerate launch` for the built-in runtime, without its two faults.

The launcher of one process dies of the SIGTERM that asks the trainer for a checkpoint, and whoever waits for
it then believes the trainer gone; and it turns every exit code into 1. This one waits, and hands the code on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Launch as `accelerate launch ARGUMENTS` does, and return the trainer's own exit code."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for number in (signal.SIGTERM, signal.SIGINT):
        # The trainer in the same group hears it too, and has a handler of its own.
        signal.signal(number, signal.SIG_IGN)
    try:
        launch_command(launch_command_parser().parse_args(list(arguments)))
    except subprocess.CalledProcessError as ended:
        return ended.returncode if ended.returncode > 0 else FAILED
    except ChildFailedError as ended:
        codes = [failure.exitcode for failure in ended.failures.values() if failure.exitcode > 0]
        return codes[0] if codes else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
