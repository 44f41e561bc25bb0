"""Whether a process is still the one we started, and how to kill every process of a run.

Not with psutil: its start times are seconds since the epoch, computed from a boot time that Linux moves with
the wall clock, so setting the clock would turn a running run into a lost one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_PROC = Path("/proc")

RUN_DIRECTORY = "QDL_RUN_DIR"
"""The environment variable that marks the processes of a run with the run's directory."""


def identity_of(pid: int) -> str | None:
    """A text that distinguishes this process from any later one with the same pid; None when it has ended.

    A zombie has ended: only its parent has not collected it yet. The start time counts from boot, so the text
    contains the boot's id too.
    """
    if pid <= 0:
        return None
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if (_PROC / "self" / "stat").exists() else _identity_from_ps(pid)
    # The second field is the program's name in parentheses, which may itself contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in "ZXx":
        return None
    return f"{fields[19]}@{_boot_id()}"


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _identity_from_ps(pid: int) -> str | None:
    """The same where there is no /proc (macOS): the start time as `ps` prints it."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def is_alive(pid: int | None, identity: str | None) -> bool:
    """Whether `pid` is alive and still the process with this identity."""
    return pid is not None and identity is not None and identity_of(pid) == identity


def belongs(pid: int, leader: int, directory: Path) -> bool:
    """Whether a process belongs to the run in `directory` whose program is `leader`.

    Its process group shows that, or its environment: torch's launcher for several GPUs gives each worker a
    session of its own (torch/distributed/elastic, `start_new_session`), so no signal to the group reaches it.
    """
    try:
        if os.getpgid(pid) == leader:
            return True
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # It has ended, belongs to another user, or there is no /proc.
        return False
    return os.fsencode(f"{RUN_DIRECTORY}={directory}") in environment.split(b"\0")


def run_alive(leader: int, directory: Path) -> bool:
    """Whether any process of a run is alive; without /proc, any process of its group."""
    pids = _pids()
    if not pids:
        return signal_group(leader, None)
    return any(belongs(pid, leader, directory) and identity_of(pid) is not None for pid in pids)


def kill_run(leader: int, directory: Path) -> None:
    """Kill every process of a run."""
    signal_group(leader, signal.SIGKILL)
    kill_workers(directory)


def kill_workers(directory: Path) -> None:
    """Kill every process whose environment carries the mark of the run in `directory`."""
    for pid in _pids():
        # No group has leader 0, so only the environment decides.
        if pid != os.getpid() and belongs(pid, 0, directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in _PROC.glob("[0-9]*")]


def signal_group(leader: int, number: signal.Signals | None) -> bool:
    """Signal every process of the group that `leader` leads (None: only check); False when none is left."""
    try:
        os.killpg(leader, number or 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS raises this for a group of zombies only.
        return False
    return True
