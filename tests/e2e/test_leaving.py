"""Whatever ends the app, the work goes on, and the worker with the models does not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.process import identity_of, is_alive
from qdl_engine.runs.store import get_run
from tests.e2e.terminal import Terminal, app_command
from tests.tiny import make_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with rows to prepare, and models that answer nonsense."""
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    model = make_tiny_model(tmp_path / "model")
    write_json_atomic(
        lab.root / "rows.json", [{"instruction": f"Say {n}", "output": f"It is {n}."} for n in range(50)]
    )
    lab.settings_file.write_text(
        f"[teacher]\nmodel = {json.dumps(str(model))}\nquantization = 'none'\n"
        f"[system1]\nstudent = {json.dumps(str(model))}\nsource = 'rows.json'\nrows = 20\n"
        "[comparison]\nmax_new_tokens = 8\n",
        encoding="utf-8",
    )
    lab.sample_prompts.write_text("Say 3\n", encoding="utf-8")
    return lab


def test_kill_9_leaves_the_run_going_and_the_next_app_finds_it(lab: Lab, tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    terminal = Terminal(app_command(str(lab.root)), env=env)
    terminal.wait_for("qdl prepare system1")
    terminal.press("\r")
    terminal.wait_for("qdl attach", 60)
    terminal.process.send_signal(signal.SIGKILL)
    assert terminal.end() == -signal.SIGKILL
    terminal.close()

    assert wait_for(get_run(lab, "last"), timeout=180).state == "done"

    again = Terminal(app_command(str(lab.root)), env=env)
    try:
        again.wait_for("20 rows")
        again.press("q")
        assert again.end() == 0
    finally:
        again.close()


def test_q_names_what_goes_on(lab: Lab, tmp_path: Path) -> None:
    terminal = Terminal(app_command(str(lab.root)), env={"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        terminal.wait_for("qdl prepare system1")
        terminal.press("\r")
        terminal.wait_for("qdl attach", 60)
        terminal.press("q")
        assert terminal.end() == 0
        assert "continues" in terminal.text()
    finally:
        terminal.close()
    assert wait_for(get_run(lab, "last"), timeout=180).state == "done"


def test_kill_9_ends_the_model_worker(lab: Lab, tmp_path: Path) -> None:
    terminal = Terminal(app_command(str(lab.root)), env={"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        terminal.wait_for("Next step")
        terminal.press("6")
        terminal.wait_for("Prompt 1/1")
        terminal.press("\r")
        terminal.wait_for("tok/s", 120)
        children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text()
        worker = int(children.split()[0])
        identity = identity_of(worker)
        terminal.process.send_signal(signal.SIGKILL)
        terminal.end()
        terminal.wait_until(lambda _shown: not is_alive(worker, identity), 20)
    finally:
        terminal.close()
