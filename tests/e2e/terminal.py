"""A program in a real pseudo terminal, its screen as a terminal emulator or tmux draws it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
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


class Screen:
    """What a person sees, and waits for."""

    def read(self, seconds: float = 0.05) -> None:
        """Take in what the program writes within `seconds`."""
        raise NotImplementedError

    def text(self) -> str:
        raise NotImplementedError

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


class Terminal(Screen):
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
        environment = environment_of({"TERM": "xterm-256color", **(env or {})})
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cwd, preexec_fn=_own_terminal
        )
        self._slave = slave

    def read(self, seconds: float = 0.05) -> None:
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

    def drop(self, seconds: float = 20.0) -> int:
        """Take the terminal away, as a dropped SSH link does, and return the program's exit code."""
        os.close(self._master)
        self._master = -1
        return self.process.wait(seconds)

    def restored(self) -> bool:
        """Whether the terminal's modes are as they were before the program."""
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)


class TmuxPane(Screen):
    """`argv` in a pane of 80x24 of a tmux server of its own, as most people on a GPU box have it.

    Args:
        argv: The program.
        directory: Where the server's settings and socket go.
        env: Added to the program's environment.
    """

    def __init__(self, argv: Sequence[str], directory: Path, *, env: Mapping[str, str] | None = None) -> None:
        settings = directory / "tmux.conf"
        settings.write_text("set -g status off\nset -g remain-on-exit on\n", encoding="utf-8")
        self._tmux = ["tmux", "-S", str(directory / "tmux"), "-f", str(settings)]
        self._exit = directory / "exit"
        self._exit.unlink(missing_ok=True)
        # tmux 3.3a does not always know the status of a dead pane.
        command = f"{shlex.join(argv)}; echo $? > {shlex.quote(str(self._exit))}"
        start = [*self._tmux, "new-session", "-d", "-x", "80", "-y", "24", command]
        subprocess.run(start, check=True, env=environment_of(env or {}))

    def _ask(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True).stdout

    def read(self, seconds: float = 0.05) -> None:
        time.sleep(seconds)

    def text(self) -> str:
        return self._ask("capture-pane", "-p")

    def press(self, keys: str) -> None:
        self._ask("send-keys", "-l", "--", keys)

    def end(self, seconds: float = 20.0) -> int:
        """Wait for the end of the program and return its exit code."""
        deadline = time.monotonic() + seconds
        while not (self._exit.exists() and self._exit.read_text()):
            assert time.monotonic() < deadline, f"still running:\n{self.text()}"
            self.read()
        return int(self._exit.read_text())

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


def environment_of(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what is the developer's own: settings, colours, a tmux, a size."""
    environment = {**os.environ, **changes}
    environment["XDG_CONFIG_HOME"] = environment.get("XDG_STATE_HOME", os.devnull)
    for name in ("NO_COLOR", "TMUX", "TMUX_PANE", "COLUMNS", "LINES"):
        if name not in changes:
            environment.pop(name, None)
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment.get("PYTHONPATH", "")])
    return environment


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def app_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qdl_tui", *arguments]
