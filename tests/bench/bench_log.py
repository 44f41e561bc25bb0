"""The log pane in a real terminal: a log written at 50,000 lines/s, and one of a gigabyte.

Run it with `pytest -m bench tests/bench/bench_log.py -s`. It prints figures and asserts nothing about time.
The app runs in a pseudo-terminal of 120x40; the time of a key is from writing it to reading what it changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LINE = (
    b"step %010d \x1b[32mloss\x1b[0m 0.123456 "
    + b"the quick brown fox jumps over the lazy dog " * 4
    + b"end\n"
)
RATE = 50_000


def write_lines(path: Path, seconds: float) -> None:
    """Append at `RATE`, in bursts of 10 ms as a busy program does."""
    start, written = time.monotonic(), 0
    with open(path, "ab", buffering=0) as handle:
        while (passed := time.monotonic() - start) < seconds:
            due = int(passed * RATE)
            handle.write(b"".join(LINE % number for number in range(written, due)))
            written = due
            time.sleep(0.01)


def run_app(path: Path, figures: Path) -> None:
    """The app under test; it writes its own figures when it ends."""
    from textual.app import App, ComposeResult

    from qdl_tui.log.pane import LogPane

    class BenchApp(App[None]):
        BINDINGS = [("o", "open", "Open"), ("q", "quit", "Quit"), ("r", "mark", "Restart the figures")]

        def compose(self) -> ComposeResult:
            yield LogPane(None)

        def on_mount(self) -> None:
            self.query_one(LogPane).focus()
            self.marks: list[dict[str, float]] = []
            self.lags: list[float] = []
            self.behind: list[int] = []
            self.sampler = asyncio.get_running_loop().create_task(self.sample())
            self.action_mark()

        def action_open(self) -> None:
            self.query_one(LogPane).show_file(path)

        def action_mark(self) -> None:
            lags = sorted(self.lags) or [0.0]
            self.marks.append(
                {
                    "at": time.monotonic(),
                    "cpu": time.process_time(),
                    "rss": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(),
                    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                    "lag_p95": lags[int(len(lags) * 0.95)],
                    "lag_max": lags[-1],
                    "behind_p95": sorted(self.behind or [0])[int(len(self.behind) * 0.95)],
                    "behind_max": max(self.behind, default=0),
                }
            )
            figures.write_text(json.dumps(self.marks))
            self.lags, self.behind = [], []

        async def sample(self) -> None:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                self.lags.append(time.monotonic() - before - 0.01)
                file = self.query_one(LogPane).view.rows.file
                if path.exists():
                    self.behind.append(path.stat().st_size - file.index.end)

    BenchApp().run()


class Terminal:
    """The app in a pseudo-terminal."""

    def __init__(self, path: Path, figures: Path) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            command = [sys.executable, __file__, "app", str(path), str(figures)]
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.figures = figures
        self.received = 0
        self._output = b""
        self._news = threading.Condition()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.handle, 65536):
                with self._news:
                    self.received += len(data)
                    self._output = self._output[-100_000:] + data
                    self._news.notify_all()

    def press(self, keys: str, shows: bytes = b"", seconds: float = 20) -> float:
        """Type, and wait for bytes on the screen; how long it took."""
        with self._news:
            self._output = b""
            start = time.monotonic()
            os.write(self.handle, keys.encode())
            if shows and not self._news.wait_for(lambda: shows in self._output, seconds):
                raise TimeoutError(f"{shows!r} did not come after {keys!r}")
            return time.monotonic() - start

    def keys(self) -> list[float]:
        """How long holding and following take to be seen, shortest first."""
        times = []
        for _ in range(20):
            times += [self.press("k", b" lines "), self.press("G", b"FOLLOW")]
            time.sleep(0.02)
        return sorted(times)

    def mark(self) -> dict[str, float]:
        """The app's own figures since the last mark."""
        known = len(json.loads(self.figures.read_text()))
        self.press("r")
        while True:
            with contextlib.suppress(json.JSONDecodeError):
                marks = json.loads(self.figures.read_text())
                if len(marks) > known:
                    return {
                        **marks[-1],
                        "wall": marks[-1]["at"] - marks[-2]["at"],
                        "used": marks[-1]["cpu"] - marks[-2]["cpu"],
                    }
            time.sleep(0.01)

    def close(self) -> None:
        """End the app."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)


@contextlib.contextmanager
def terminal(path: Path, figures: Path) -> Iterator[Terminal]:
    """The app, started and painted."""
    app = Terminal(path, figures)
    try:
        app.press("", b"no log")
        yield app
    finally:
        app.close()


def say(what: str, figure: float, bar: float, unit: str) -> None:
    """One figure beside what it must reach."""
    print(f"{what:<44} {figure:10.3f} {unit:<6} of {bar:g} allowed: {figure / bar:.2f}")


@pytest.mark.bench
def test_log_at_50000_lines_a_second(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"".join(LINE % number for number in range(1000)))
    with terminal(path, tmp_path / "figures.json") as app:
        app.press("o", b"FOLLOW")
        quiet = app.keys()
        writer = subprocess.Popen([sys.executable, __file__, "write", str(path), "18"])
        time.sleep(1)
        start = app.mark()
        received = app.received
        time.sleep(10)
        follow = app.mark()
        sent = (app.received - received) / follow["wall"]
        busy = app.keys()
        writer.wait()
        end = app.mark()
    print()
    say("behind, p95", follow["behind_p95"] / len(LINE % 0) / RATE, 0.3, "s")
    say("behind, most", follow["behind_max"] / len(LINE % 0) / RATE, 0.3, "s")
    say("processor", follow["used"] / follow["wall"], 0.5, "core")
    say("event loop late, p95", follow["lag_p95"] * 1000, 100, "ms")
    say("key to paint, median", busy[len(busy) // 2] * 1000, 100, "ms")
    say("key to paint, p95", busy[int(len(busy) * 0.95)] * 1000, 100, "ms")
    say("the same before, median", quiet[len(quiet) // 2] * 1000, 100, "ms")
    say("the same before, p95", quiet[int(len(quiet) * 0.95)] * 1000, 100, "ms")
    say("memory grown in 10 s", (follow["rss"] - start["rss"]) / 1e6, 5, "MB")
    say("memory grown in 17 s", (end["rss"] - start["rss"]) / 1e6, 5, "MB")
    print(f"to the terminal: {sent / 1000:.0f} KB/s; written: {path.stat().st_size // len(LINE % 0):,} lines")


@pytest.mark.bench
def test_log_of_a_gigabyte(tmp_path: Path) -> None:
    path, lines = tmp_path / "output.log", 5_000_000
    with open(path, "wb") as handle:
        handle.write(b"the needle\n")
        for first in range(1, lines, 10_000):
            handle.write(b"".join(LINE % number for number in range(first, min(first + 10_000, lines))))
    with terminal(path, tmp_path / "figures.json") as app:
        before = app.mark()
        opened = app.press("o", b"%010d" % (lines - 1))
        numbered = app.press("", b"/5,000,000")
        after = app.mark()
        found = app.press("/needle\r", b" 1/5,000,000")
        search = app.mark()
        app.press("G", b"FOLLOW")
        kept = app.press("&0000999999\r", b"999999 1")
        end = app.mark()
    print(f"\n{path.stat().st_size / 1e9:.2f} GB")
    say("last page after", opened, 0.5, "s")
    say("lines numbered after", opened + numbered, 2, "s")
    say("memory more", (after["rss"] - before["rss"]) / 1e6, 60, "MB")
    say("peak memory more", (end["peak"] - before["rss"]) / 1e6, 60, "MB")
    say("backward search over all lines", found, 1, "s")
    say("its processor time", search["used"], 1, "s")
    say("event loop late meanwhile, most", search["lag_max"] * 1000, 100, "ms")
    say("filter over all lines", kept, 2, "s")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_lines(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        run_app(Path(sys.argv[2]), Path(sys.argv[3]))
