"""What the runs screen says below its table of the run under the cursor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.runs.store import save_run
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import screen_text, settled

STUDENT = "/somewhere/far/away/in/a/directory/of/models/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("width", [60, 80, 119])
async def test_a_long_message_is_shown_to_its_end_and_a_student_from_both_ends(lab: Lab, width: int) -> None:
    config = lab.root / "config.json"
    write_json_atomic(config, {"models": {"student": STUDENT}})
    message = "Its process is gone and left no result. Its last words are in the log of the run, at the end"
    save_run(replace(finished_run(lab, state="lost", message=message), config=config))
    async with opened(lab, "4", size=(width, 24)) as (app, _pilot):
        shown = screen_text(app)
        assert message in " ".join(shown.split())
        about = next(line for line in shown.splitlines() if "from the student" in line)
        assert "/some" in about and about.endswith("-Instruct")


async def test_on_a_wide_terminal_its_figures_stand_beside_the_table(lab: Lab) -> None:
    message = "Its process is gone and left no result. Its last words are in the log of the run"
    finished_run(lab, state="lost", message=message)
    async with opened(lab, "4", size=(120, 30)) as (app, pilot):
        side = [line[80:].strip(" ▏") for line in screen_text(app).splitlines()]
        assert message in " ".join(side)
        assert {"step 5/5", "loss 0.600", "time 2:05"} <= set(side)
        await pilot.resize_terminal(119, 30)
        await settled(app, pilot)
        assert "step 5/5" not in screen_text(app)
