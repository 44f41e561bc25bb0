"""Whether a process is still the one we started, and how its whole group is ended."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

_PROC = Path("/proc")


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


def group_alive(leader: int) -> bool:
    """Whether any process of the group that `leader` led still does something."""
    stats = list(_PROC.glob("[0-9]*/stat"))
    if not stats:
        return signal_group(leader, None)
    for path in stats:
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[2:3] == [str(leader)] and fields[0] not in "ZXx":
            return True
    return False


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
