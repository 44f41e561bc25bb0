"""The form of EasyDistill 2.x: a stand-in checkout, the config shown, the run started and its rows made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import list_runs
from qdl_engine.upstream.version2 import Version2, remember
from qdl_tui.app import QdlApp
from qdl_tui.synthesis.form import SynthesisForm
from qdl_tui.synthesis.screen import SynthesisScreen, open_synthesis
from tests.engine.upstream.version2_stand_in import make_stand_in
from tests.tui.screen import screen_text, settled

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """A lab with a server as its teacher, and seven questions."""
    toml = f'[teacher]\nkind = "server"\nurl = "{URL}"\nmodel = "big"\n'
    lab.settings_file.write_text(toml, encoding="utf-8")
    rows = [{"instruction": f"What is {number}?"} for number in range(7)]
    lab.train_instructions.write_text(json.dumps(rows), encoding="utf-8")
    return lab


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = make_stand_in(tmp_path / "checkout")
    remember(Version2(made, sys.executable))
    return made


async def opened(app: QdlApp, pilot: Pilot[None]) -> SynthesisScreen:
    await settled(app, pilot)
    open_synthesis(app)
    await settled(app, pilot)
    assert isinstance(app.screen, SynthesisScreen)
    return app.screen


async def previewed(app: QdlApp, pilot: Pilot[None], screen: SynthesisScreen) -> str:
    """What the engine makes of the values as they stand."""
    await screen.preview().wait()
    await pilot.pause()
    return str(screen.query_one("#synthesis-text", Static).content)


def test_only_what_differs_is_said(lab: Lab) -> None:
    form = SynthesisForm(lab)
    assert form.words() == ["easydistill", "run", "instruct_distill", str(lab.train_instructions)]
    form.set("output", "made.jsonl")
    form.set("settings", "teacher.temperature=0.8 'teacher.model=a b'")
    changed = ["--set", "teacher.temperature=0.8", "--set", "teacher.model=a b"]
    assert form.words()[4:] == ["--output", "made.jsonl", *changed]
    with pytest.raises(SettingsError, match="quote"):
        form.set("settings", "'open")
    assert form.words()[6:] == changed


def test_a_lab_without_a_server_is_asked_for_one_and_forgets_the_name_of_its_weights(lab: Lab) -> None:
    lab.settings_file.write_text("", encoding="utf-8")
    form = SynthesisForm(lab)
    assert form.words()[4:] == [
        *("--set", "teacher.kind=server"),
        *("--set", "teacher.url="),
        *("--set", "teacher.model="),
    ]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_the_config_and_the_command_are_shown(lab: Lab, checkout: Path, size: tuple[int, int]) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        shown = await previewed(app, pilot, screen)
        assert "Questions: 7." in shown and '"job_type": "instruct_distill"' in shown
        assert f"$ qdl --lab {lab.root} easydistill run" in shown
        text = screen_text(app)
        assert "Make data with EasyDistill 2.x" in text and "instruct_distill" in text
        assert "enter Edit" in text and "r Run" in text and "Questions: 7" in text


async def test_values_are_edited_by_keys_and_wrong_ones_are_refused(lab: Lab, checkout: Path) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("j", "enter")
        await pilot.pause()
        form = screen.form
        assert form is not None and form.values["job"] == "cot_distill"
        await pilot.press("j", "j")
        for typed in ("teacher.temperature=9", "teacher.temperature=1.5"):
            await pilot.press("enter")
            await pilot.pause()
            await pilot.press("ctrl+u", *typed, "enter")
            await pilot.pause()
            assert form.values["settings"] == typed
            shown = await previewed(app, pilot, screen)
            assert ("0 to 2" in shown) is (typed == "teacher.temperature=9")
        assert '"job_type": "cot_distill"' in shown and '"temperature": 1.5' in shown


async def test_without_questions_nothing_starts(lab: Lab, checkout: Path) -> None:
    lab.train_instructions.unlink()
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        assert "(required)" in screen_text(app)
        await pilot.press("r")
        await settled(app, pilot)
        assert app.screen is screen and not list_runs(lab)


async def test_the_job_is_started_as_a_run_and_shown(lab: Lab, checkout: Path) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        await pilot.press("r")
        await settled(app, pilot)
        run = list_runs(lab)[0]
        assert app.run_id == run.id and not isinstance(app.screen, SynthesisScreen)
        assert wait_for(run).state == "done"
        screen = await opened(app, pilot)
        assert "answered earlier: 7" in await previewed(app, pilot, screen)
    made = (lab.data / "instruct_distill.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(made) == 7


async def test_without_an_easydistill_2_the_steps_to_one_are_shown(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        shown = await previewed(app, pilot, screen)
        assert "not configured" in shown and "git clone" in shown and "pip install" in shown
        await pilot.press("r")
        await settled(app, pilot)
        assert isinstance(app.screen, SynthesisScreen) and not list_runs(lab)
        assert "EasyDistill 2.x is not configured" in screen_text(app)


async def test_the_config_and_the_command_are_copied(lab: Lab, checkout: Path, own_state: Path) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await previewed(app, pilot, screen)
        copied = own_state / "qdl" / "copied.txt"
        await pilot.press("y")
        await settled(app, pilot)
        assert json.loads(copied.read_text(encoding="utf-8"))["job_type"] == "instruct_distill"
        await pilot.press("Y")
        await settled(app, pilot)
        assert copied.read_text(encoding="utf-8").startswith("qdl --lab ")
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, SynthesisScreen)
