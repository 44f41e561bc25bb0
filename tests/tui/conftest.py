"""What the screen tests share. No test reads or writes what the developer's own app remembers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from qdl_engine.core.events import Metrics, append_event
from qdl_engine.core.lab import Lab
from qdl_engine.runs.process import identity_of
from qdl_engine.runs.store import Run, State, create_run, save_run
from qdl_tui.app import QdlApp
from qdl_tui.shared.state import UserState
from tests.tui.screen import settled


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    return directory


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A fresh lab with every setting at its default."""
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    lab.settings_file.write_text("# mine\n[system1]\nrows = 1000 # few\n", encoding="utf-8")
    return lab


@asynccontextmanager
async def opened(
    lab: Lab,
    *keys: str,
    size: tuple[int, int] = (80, 24),
    state: UserState | None = None,
    notifications: bool = False,
) -> AsyncIterator[tuple[QdlApp, Pilot[None]]]:
    """The app with its lab open, after these keys: each is pressed once all that came before it is done."""
    app = QdlApp(lab, state=state)
    async with app.run_test(size=size, notifications=notifications) as pilot:
        await settled(app, pilot)
        for key in keys:
            await pilot.press(key)
            await settled(app, pilot)
        yield app, pilot


def finished_run(lab: Lab, *, state: State = "done", losses: int = 5, message: str = "") -> Run:
    """A training run of System 1 as its supervisor leaves it, from 100 s to 225 s after the epoch."""
    run = create_run(lab, "train", system="system1", argv=["true", "qdl_engine.trainer"])
    for step in range(1, losses + 1):
        append_event(
            run.events_file,
            Metrics(step=step, total_steps=losses, epoch=step / losses, loss=3.0 / step),
        )
    run.log_file.write_text("first line\nsecond \x1b]0;title\x07 line\n", encoding="utf-8")
    run = replace(run, state=state, started=100.0, ended=225.0, exit_code=0, message=message)
    save_run(run)
    return run


def run_under_way(lab: Lab, system: str = "system1") -> Run:
    """A training at its 45th step of 100, alive as long as the tests are."""
    run = create_run(lab, "train", system=system, argv=["true", "qdl_engine.trainer"])
    append_event(run.events_file, Metrics(step=45, total_steps=100, loss=1.0))
    run = replace(run, state="running", pid=os.getpid(), identity=identity_of(os.getpid()))
    save_run(run)
    return run
