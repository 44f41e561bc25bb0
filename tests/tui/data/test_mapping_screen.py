"""The mapping editor: columns chosen, rows drawn with them at once, saved into qdl.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from textual.pilot import Pilot

from qdl_engine.core.lab import Lab
from qdl_tui.app import QdlApp
from tests.tui.conftest import opened
from tests.tui.screen import check_golden, screen_text, settled


def source(lab: Lab, rows: list[dict[str, object]], system: str = "system1") -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (lab.root / "rows.jsonl").write_text(lines + "{broken\n", encoding="utf-8")
    lab.settings_file.write_text(f'# mine\n[{system}]\nsource = "rows.jsonl"\n', encoding="utf-8")


ODD: list[dict[str, object]] = [{"frage": f"Was ist {n} + 1?", "antwort": str(n + 1)} for n in range(3)]


async def choose(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    await pilot.press("enter")
    await pilot.pause()
    await pilot.press(*keys, "enter")
    await settled(app, pilot)


async def test_columns_are_chosen_and_the_rows_follow(lab: Lab) -> None:
    source(lab, ODD)
    async with opened(lab, "2", "m") as (app, pilot):
        assert "No named schema fits" in " ".join(screen_text(app).split())
        await pilot.press("j")
        await choose(app, pilot, "j")
        assert "instruction frage" in screen_text(app)
        assert "dropped, empty: no answer" in " ".join(screen_text(app).split())
        await pilot.press("j", "j")
        await choose(app, pilot, "j", "j")
        assert "3 of 4 taken" in screen_text(app)
        check_golden("mapping-80x24", screen_text(app), lab.root)
        await pilot.press("n", "n", "n", "n")
        await pilot.pause()
        assert "line 4" in screen_text(app) and "dropped, broken" in screen_text(app)
        await pilot.press("backspace")
        await settled(app, pilot)
        assert "0 of 4 taken" in screen_text(app)
        await pilot.press("ctrl+z")
        await settled(app, pilot)
        assert "3 of 4 taken" in screen_text(app)
        await pilot.press("ctrl+s", "y")
        await settled(app, pilot)
        saved = lab.settings_file.read_text(encoding="utf-8")
        assert saved.startswith("# mine\n")
        assert tomllib.loads(saved)["system1"] == {
            "source": "rows.jsonl",
            "fields": "mapping",
            "mapping": {"instruction": "frage", "output": "antwort"},
        }


async def test_a_known_source_is_recognised_and_its_columns_begin_the_mapping(lab: Lab) -> None:
    source(lab, [{"question": "Why?", "answer": "So.\n#### 1"}])
    async with opened(lab, "2", "m", size=(120, 40)) as (app, pilot):
        shown = screen_text(app)
        assert "auto → qa" in shown and "* question" in shown and "* answer" in shown
        assert "instruction question" in shown
        await choose(app, pilot, "G")
        assert app.draft is not None
        assert app.draft.current.system1.mapping == {"instruction": "question", "output": "answer"}
        check_golden("mapping-120x40", screen_text(app), lab.root)


async def test_enter_on_the_setting_opens_the_editor_and_levels_are_shown(lab: Lab) -> None:
    chains = [{"thought": "t", "solution": "s", "Reasoning_Verbosity": {"level": n}} for n in (2, 8)]
    source(lab, [{"question": "q", "reasoning": chains}], "system2")
    async with opened(lab, "3") as (app, pilot):
        await pilot.press("slash", *"mapping", "enter", "j", "enter")
        await settled(app, pilot)
        assert "auto → omnithought" in screen_text(app)
        assert "RV 2" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "only 'mapping'" in screen_text(app)


async def test_the_hub_is_asked_only_when_a_person_asks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_hub(lab: Lab, system: str, recipe: object) -> None:
        from qdl_engine.core.errors import DataError

        asked.append(system)
        raise DataError("The hub cannot be reached", "Use a local file.")

    monkeypatch.setattr("qdl_tui.data.mapping.read_source", no_hub)
    async with opened(lab, "2", "m") as (app, pilot):
        assert "f5 reads" in screen_text(app)
        assert asked == []
        await pilot.press("f5")
        await settled(app, pilot)
        assert asked == ["system1"]
        assert "The hub cannot be reached" in screen_text(app)


def test_a_parquet_source_is_read_in_its_own_process(lab: Lab, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from qdl_engine.core.errors import DataError
    from qdl_engine.settings import System1Settings
    from qdl_tui.data.mapping import needs_network, read_source

    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"q": "one", "raw": b"\x00"}, {"q": "two", "raw": b""}]), path)
    assert not needs_network(lab, str(path)) and needs_network(lab, "someone/data")
    head = read_source(lab, "system1", System1Settings(source=str(path)))
    assert [row.value["q"] for row in head.rows] == ["one", "two"]
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="Cannot read"):
        read_source(lab, "system1", System1Settings(source=str(path)))


async def test_long_names_keep_their_ends_and_their_line(lab: Lab) -> None:
    column = "the_column_of_the_question_that_is_long"
    source(lab, [{column: "Why?", "answer": "So."}])
    (lab.root / ("deep" * 20)).mkdir()
    path = lab.root / ("deep" * 20) / "the-rows.jsonl"
    (lab.root / "rows.jsonl").rename(path)
    mapping = f'{{instruction = "{column}", output = "answer"}}'
    lab.settings_file.write_text(
        f'[system1]\nsource = "{path}"\nfields = "mapping"\nmapping = {mapping}\n', encoding="utf-8"
    )
    async with opened(lab, "2", "m") as (app, _pilot):
        lines = screen_text(app).splitlines()
        assert lines[1].endswith("the-rows.jsonl")
        assert lines[3].startswith(" instruction the_c") and "is_long" in lines[3]
        assert lines[4].startswith(" input")


async def test_the_way_back_stays_in_the_footer_of_the_narrowest_terminal(lab: Lab) -> None:
    source(lab, ODD)
    async with opened(lab, "2", "m", size=(60, 20)) as (app, pilot):
        assert "esc Back" in screen_text(app).split("\n")[-1]
        await pilot.press("escape", "v")
        await settled(app, pilot)
        assert "esc Back" in screen_text(app).split("\n")[-1]
