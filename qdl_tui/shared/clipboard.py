"""Copying over SSH: into tmux, to the terminal's clipboard by OSC 52, and always into a file.

A terminal never answers an OSC 52, and tmux drops one silently by default (`set-clipboard external`), so no
single way is sure. The app takes every way that applies, and names each.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qdl_tui.shared.state import copied_file

OSC52_LIMIT = 74_994
"""Most base64 bytes that go out: what the strictest common terminals take (xterm's documentation)."""
TMUX_SECONDS = 2.0


@dataclass(frozen=True)
class Copied:
    """Where a text went.

    Attributes:
        text: What was copied.
        places: The places, as a person reads them.
        sequence: What the caller still has to write to the terminal; empty for nothing.
    """

    text: str
    places: tuple[str, ...]
    sequence: str

    def sentence(self, what: str = "") -> str:
        """`Copied the run id: tmux buffer, file ~/.local/state/qdl/copied.txt`."""
        lines = self.text.count("\n") + 1
        name = what or (f"{lines:,} lines" if lines > 1 else "the text")
        if not self.places:
            return f"Could not copy {name}: no clipboard, and the state directory is not writable"
        return f"Copied {name}: {', '.join(self.places)}"


def copy(text: str) -> Copied:
    """Put `text` into every place in reach; the caller writes the terminal's sequence.

    It may wait for tmux, so it belongs in a thread.
    """
    text = defused(text)
    places = []
    in_tmux = bool(os.environ.get("TMUX"))
    buffered = in_tmux and _to_tmux(text)
    if buffered:
        places.append("tmux buffer")
    sequence = "" if buffered else osc52(text)
    if sequence:
        places.append("clipboard of the terminal (OSC 52)")
    if _to_file(text):
        places.append(f"file {_short(copied_file())}")
    return Copied(text, tuple(places), sequence)


def osc52(text: str) -> str:
    """The sequence that sets the terminal's clipboard, wrapped for tmux or screen; empty when too long.

    The wrapping is tmux's passthrough (`allow-passthrough`) and screen's DCS string.
    """
    encoded = base64.b64encode(text.encode("utf-8", errors="replace")).decode("ascii")
    if len(encoded) > OSC52_LIMIT:
        return ""
    sequence = f"\x1b]52;c;{encoded}\x07"
    if os.environ.get("TMUX"):
        return f"\x1bPtmux;\x1b{sequence}\x1b\\"
    if os.environ.get("STY"):
        return f"\x1bP{sequence}\x1b\\"
    return sequence


def defused(text: str) -> str:
    """`text` without control characters but newlines and tabs: what is pasted is typed into a shell."""
    from qdl_engine.core.words import printable

    return printable(text)


def _to_tmux(text: str) -> bool:
    """Whether tmux took it; `-w` (tmux 3.2) passes it on to the outer terminal too."""
    tmux = shutil.which("tmux")
    if tmux is None:
        return False
    try:
        subprocess.run(
            [tmux, "load-buffer", "-w", "-"],
            input=text.encode("utf-8", errors="replace"),
            capture_output=True,
            timeout=TMUX_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _to_file(text: str) -> bool:
    from qdl_engine.core.lab import write_text_atomic

    try:
        write_text_atomic(copied_file(), text if text.endswith("\n") else f"{text}\n", mode=0o600)
    except OSError:
        return False
    return True


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
