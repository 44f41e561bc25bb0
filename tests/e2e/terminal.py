"""A program in a real pseudo terminal, its screen as a terminal emulator would draw it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

REPOSITORY = Path(__file__).parents[2]

SETTLED = 0.2
"""Seconds without output after which a frame is taken for whole."""


class Terminal:
    """`argv` in a pty of `columns` x `rows`; keys go in, `text()` is what a person would see."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.sent = b""
        """Every byte the program wrote."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": "xterm-256color", **(env or {})}
        # The developer's own settings are none of a test's business.
        environment["XDG_CONFIG_HOME"] = environment.get("XDG_STATE_HOME", os.devnull)
        if "NO_COLOR" not in (env or {}):
            environment.pop("NO_COLOR", None)
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cwd, preexec_fn=_own_terminal
        )
        self._slave = slave

    def read(self, seconds: float = 0.05) -> None:
        """Take in what the program writes within `seconds`."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.sent += data
            # pyte takes XTMODKEYS and kitty's sequences for text or colours; no terminal does.
            self._stream.feed(
                data.replace(b"\x1b[>4;", b"\x1b[?4;").replace(b"\x1b[>1u", b"").replace(b"\x1b[<u", b"")
            )
            seconds = 0.0

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_until(self, condition: Callable[[str], bool], seconds: float = 20.0) -> str:
        """Read until the screen fulfils `condition`, and still does when nothing more comes at once.

        A read may end in the middle of a frame, with the new screen's top and the old one's bottom.

        Raises:
            AssertionError: with the screen, when it does not in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read()
            if condition(self.text()):
                self.read(SETTLED)
                if condition(self.text()):
                    return self.text()
        raise AssertionError(f"not within {seconds} s:\n{self.text()}")

    def wait_for(self, text: str, seconds: float = 20.0) -> str:
        return self.wait_until(lambda shown: text in shown, seconds)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self, seconds: float = 20.0) -> int:
        """Wait for the end of the program and return its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        assert self.process.poll() is not None, f"still running:\n{self.text()}"
        return self.process.returncode

    def hang_up(self) -> None:
        """What a dropped SSH link does to the program."""
        self.process.send_signal(signal.SIGHUP)

    def restored(self) -> bool:
        """Whether the terminal's modes are as they were before the program."""
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def app_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qdl_tui", *arguments]
