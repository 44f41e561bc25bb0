"""Whether a process is still the one we started, and how its whole group is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_PROC = Path("/proc")

RUN_DIRECTORY = "QDL_RUN_DIR"
"""The environment variable that tells a run's processes where the run is."""


def identity_of(pid: int) -> str | None:
    """What tells this process from any other that gets the same pid, or None when it is gone.

    A zombie counts as gone: it does nothing any more, only its parent has not asked yet. The start time alone
    is counted from boot, so the boot's id goes with it.
    """
    if pid <= 0:
        return None
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if (_PROC / "self" / "stat").exists() else _identity_from_ps(pid)
    # The second field is the program's name in parentheses and may hold spaces and parentheses itself.
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
    """Systems without /proc: the start time as `ps` prints it."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def is_alive(pid: int | None, identity: str | None) -> bool:
    """Whether `pid` is alive and still the process that `identity` was taken from."""
    return pid is not None and identity is not None and identity_of(pid) == identity


def belongs(pid: int, leader: int, directory: Path) -> bool:
    """Whether a process is of the run in `directory` whose program is `leader`.

    It is by its group, or by its environment: torch's launcher for several GPUs gives each worker a session
    of its own (torch/distributed/elastic, `start_new_session`), so that no signal to the group reaches it.
    """
    try:
        if os.getpgid(pid) == leader:
            return True
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # It is gone, another user's, or there is no /proc.
        return False
    return _mark(directory) in environment.split(b"\0")


def run_alive(leader: int, directory: Path) -> bool:
    """Whether any process of a run still does something; without /proc, any of its group."""
    pids = _pids()
    if not pids:
        return signal_group(leader, None)
    return any(belongs(pid, leader, directory) and identity_of(pid) is not None for pid in pids)


def kill_run(leader: int, directory: Path) -> None:
    """SIGKILL to every process of a run."""
    signal_group(leader, signal.SIGKILL)
    kill_workers(directory)


def kill_workers(directory: Path) -> None:
    """SIGKILL to every process whose environment says that it is of the run in `directory`."""
    for pid in _pids():
        # Pid 0 leads no group: what is left is the environment.
        if pid != os.getpid() and belongs(pid, 0, directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in _PROC.glob("[0-9]*")]


def _mark(directory: Path) -> bytes:
    return os.fsencode(f"{RUN_DIRECTORY}={directory}")


def signal_group(leader: int, number: signal.Signals | None) -> bool:
    """Signal every process of the group that `leader` leads (None only asks); False when none is left."""
    try:
        os.killpg(leader, number or 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of a group that holds only zombies.
        return False
    return True
