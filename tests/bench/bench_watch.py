"""What watching costs: CPU and bytes to the terminal, idle and with a run that reports once a second."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.events import Metrics, append_event
from qdl_engine.core.lab import Lab
from qdl_engine.runs.process import identity_of
from qdl_engine.runs.store import Run, create_run, save_run
from tests.e2e.terminal import Terminal, app_command

SECONDS = 15.0


def reporting_run(lab: Lab) -> Run:
    """A run that reads as running, because this very process poses as it."""
    run = create_run(lab, "train", system="system1", argv=["true"])
    pid = os.getpid()
    run = replace(run, state="running", started=time.time(), pid=pid, identity=identity_of(pid))
    save_run(run)
    return run


def report(run: Run, stop: threading.Event) -> None:
    step = 0
    while not stop.wait(1.0):
        step += 1
        append_event(
            run.events_file,
            Metrics(step=step, total_steps=1000, loss=3.0 / step, eta_seconds=1000.0 - step),
        )
        with open(run.log_file, "a", encoding="utf-8") as log:
            log.write(f"step {step}/1000  loss {3.0 / step:.4f}\n")


def cost(terminal: Terminal) -> tuple[float, float]:
    """Share of one core, and bytes a second, over `SECONDS`."""

    def cpu() -> float:
        fields = Path(f"/proc/{terminal.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, sent = cpu(), len(terminal.sent)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        terminal.read(0.2)
    return (cpu() - before) / SECONDS, (len(terminal.sent) - sent) / SECONDS


def measure(directory: Path) -> dict[str, tuple[float, float]]:
    """Cost of the lab screen at rest, and of the training screen with a report a second."""
    lab = Lab.at(directory / "lab")
    lab.create_directories()
    lab.settings_file.write_text("", encoding="utf-8")
    found: dict[str, tuple[float, float]] = {}
    terminal = Terminal(app_command(str(lab.root)), env={"XDG_STATE_HOME": str(directory)})
    stop = threading.Event()
    try:
        terminal.wait_for("Next step")
        terminal.read(2.0)
        found["idle"] = cost(terminal)
        run = reporting_run(lab)
        threading.Thread(target=report, args=(run, stop), daemon=True).start()
        terminal.press("5")
        terminal.wait_for("loss")
        terminal.read(2.0)
        found["watching at 1 Hz"] = cost(terminal)
        terminal.press("q")
        terminal.end()
    finally:
        stop.set()
        terminal.close()
    return found


def show(found: dict[str, tuple[float, float]]) -> None:
    for name, (share, rate) in found.items():
        print(f"{name}: {share:.1%} of a core, {rate / 1000:.1f} KB/s to the terminal")


@pytest.mark.bench
def test_watching(tmp_path: Path) -> None:
    show(measure(tmp_path))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        show(measure(Path(temporary)))
