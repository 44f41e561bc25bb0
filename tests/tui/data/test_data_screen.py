"""The prepared rows as the student meets them."""

from __future__ import annotations

from textual.pilot import Pilot
from tokenizers import Tokenizer

from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_tui.app import QdlApp
from qdl_tui.data.rows import Found, Place
from qdl_tui.data.screen import DataScreen
from tests.tiny import make_tiny_model
from tests.tui.conftest import opened
from tests.tui.screen import check_golden, screen_text, settled


def chain(number: int) -> str:
    return f"<think>\n{number}\x1b[2J\n</think>\n{number + 1}"


def prepare(lab: Lab, count: int = 3) -> None:
    rows = [
        {"id": str(n), "instruction": f"What is {n} + 1?", "output": chain(n), "rv": n % 10, "cd": 2}
        for n in range(count)
    ]
    write_json_atomic(lab.omnithought_cot, rows)
    broken = {"line": 17, "row": 0, "detail": "not valid JSON: Expecting value"}
    report = {
        "source": "rows.json",
        "fields": "omnithought",
        "source_rows": 6,
        "wanted": 4,
        "kept": count,
        "steps": [
            {"name": "read", "dropped": 0, "remaining": 6, "why": "every chain of every row"},
            {
                "name": "broken",
                "dropped": 1,
                "remaining": 5,
                "why": "no JSON object",
                "examples": [broken],
            },
            {"name": "outside RV", "dropped": 2, "remaining": 3, "why": "Reasoning Verbosity outside"},
        ],
        "tokens": {
            "minimum": 10,
            "median": 12,
            "p95": 14,
            "maximum": 14,
            "histogram": [[10, 12, 1], [12, 14, 2]],
        },
    }
    write_json_atomic(lab.report_file("system2"), report)


def top(app: QdlApp) -> str:
    return screen_text(app).splitlines()[1]


def tokens_line(app: QdlApp) -> str:
    return screen_text(app).splitlines()[2]


async def press(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settled(app, pilot)


async def test_rows_one_by_one_and_the_report(lab: Lab) -> None:
    prepare(lab)
    async with opened(lab, "3", "v") as (app, pilot):
        await press(app, pilot, "n")
        check_golden("data-row-80x24", screen_text(app), lab.root)
        for _ in range(4):
            await press(app, pilot, "n")
        assert "row 3 of 3" in top(app)
        await press(app, pilot, "p")
        assert "row 2 of 3" in top(app)
        await press(app, pilot, "h")
        check_golden("data-report-80x24", screen_text(app), lab.root)
        await press(app, pilot, "escape")
        assert "What is 1 + 1?" in screen_text(app)
        await press(app, pilot, "q")
        assert "system2.student" in screen_text(app)


async def test_a_wide_terminal_shows_row_and_report_beside_each_other(lab: Lab) -> None:
    prepare(lab)
    async with opened(lab, "3", "v", size=(120, 40)) as (app, _pilot):
        check_golden("data-120x40", screen_text(app), lab.root)


async def test_a_filter_shows_only_what_it_keeps(lab: Lab) -> None:
    prepare(lab, 120)
    async with opened(lab, "3", "v") as (app, pilot):
        await press(app, pilot, "slash", *"rv:3-4", "enter")
        assert "24 match" in top(app) and "row 4 of 120" in top(app)
        await press(app, pilot, "n", "n")
        await press(app, pilot, "G")
        assert "row 115 of 120  RV 4" in top(app)
        await press(app, pilot, "p")
        assert "row 114 of 120  RV 3" in top(app)
        await press(app, pilot, "slash", "ctrl+u", *"no such text", "enter")
        assert "No row matches" in screen_text(app)
        await press(app, pilot, "slash", "ctrl+u", *"rv:9-1", "enter")
        assert "0 match" in top(app)
        await press(app, pilot, "escape", "escape")  # the first takes the error away
        assert "match" not in top(app) and "of 120" in top(app)


async def test_go_to_a_row(lab: Lab) -> None:
    prepare(lab, 120)
    async with opened(lab, "3", "v") as (app, pilot):
        for typed, row in (("77", 77), ("50%", 60), ("999", 120), ("0", 1)):
            await press(app, pilot, "colon", *(key.replace("%", "percent_sign") for key in typed), "enter")
            assert f"row {row} of 120" in top(app)


def test_a_place_steps_and_jumps_among_the_rows_that_its_filter_keeps() -> None:
    whole, kept = Found(9, range(1, 10)), Found(9, [3, 4, 8])
    assert [Place(number, "", whole).step(1) for number in (1, 9)] == [2, None]
    assert Place(1, "", whole).step(-1) is None and Place(5, "", None).step(1) == 6
    assert [Place(number, "rv:3", kept).step(1) for number in (3, 4, 8)] == [4, 8, None]
    assert [Place(number, "rv:3", kept).step(-1) for number in (8, 4, 3)] == [4, 3, None]
    assert [Place(1, "rv:3", kept).nearest(number) for number in (0, 5, 7, 99)] == [3, 4, 8, 8]
    assert Place(1, "rv:3", Found(9, [])).nearest(5) is None and not Place(1, "rv:3", Found(9, [])).matches


async def test_data_prepared_anew_are_read_again(lab: Lab) -> None:
    prepare(lab)
    async with opened(lab, "3", "v") as (app, pilot):
        prepare(lab, 50)
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "row 1 of 50" in top(app)


async def test_a_long_row_scrolls_to_its_end(lab: Lab) -> None:
    row = {"instruction": "x", "output": "\n".join(f"step {n}" for n in range(60)), "rv": None, "cd": None}
    write_json_atomic(lab.omnithought_cot, [row])
    async with opened(lab, "3", "v") as (app, pilot):
        assert "step 59" not in screen_text(app)
        await press(app, pilot, *["ctrl+d"] * 6)
        assert "▌ step 59" in screen_text(app)


async def test_no_data_and_a_broken_file_are_told(lab: Lab) -> None:
    lab.omnithought_cot.write_text('[{"instruction": "x"', encoding="utf-8")
    async with opened(lab, "2", "v") as (app, pilot):
        assert "Nothing is prepared yet" in screen_text(app)
        await press(app, pilot, "3", "v")
        assert "Not valid JSON" in screen_text(app)


async def test_the_tokens_of_a_row_are_counted_by_the_students_own_tokenizer(lab: Lab) -> None:
    prepare(lab, 30)
    student = make_tiny_model(lab.root / "student")
    lab.settings_file.write_text(f'[system2]\nstudent = "{student}"\nmax_length = 16\n', encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(student / "tokenizer.json"))
    async with opened(lab, "3", "v") as (app, pilot):
        for key in ("n", "G"):
            await press(app, pilot, key)
            screen = app.screen
            assert isinstance(screen, DataScreen) and screen.row is not None
            trained = len(tokenizer.encode(f"{screen.row['output']}<|im_end|>", add_special_tokens=False))
            assert f" prompt + {trained} trained = " in tokens_line(app)
            assert "about" not in tokens_line(app)
            assert "✗ too long" in tokens_line(app)


async def test_without_the_tokenizer_the_tokens_are_estimated_and_of_an_unlabelled_row_only_the_prompt(
    lab: Lab,
) -> None:
    write_json_atomic(lab.train_instructions, [{"id": "1", "instruction": "Why?"}])
    lab.settings_file.write_text("[system1]\nlabel = true\n", encoding="utf-8")
    async with opened(lab, "2", "v") as (app, _pilot):
        assert tokens_line(app).startswith(" about ")
        assert "prompt, no answer yet, of 2,048 tokens" in tokens_line(app)


async def test_going_to_a_row_that_the_filter_drops_goes_to_the_nearest_it_keeps(lab: Lab) -> None:
    prepare(lab, 120)
    async with opened(lab, "3", "v") as (app, pilot):
        await press(app, pilot, "slash", *"rv:3-4", "enter")
        await press(app, pilot, "colon", *"58", "enter")
        assert "row 55 of 120" in top(app)
        assert any("nearest that does is 55" in notice.message for notice in app._notifications)
        await press(app, pilot, "colon", *"64", "enter")
        assert "row 64 of 120" in top(app) and not list(app._notifications)
