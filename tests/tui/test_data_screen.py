"""The prepared rows as the student meets them."""

from __future__ import annotations

from qdl_engine.lab import Lab, write_json_atomic
from qdl_tui.app import QdlApp
from tests.tui.screen import check_golden, screen_text, settled


def chain(number: int) -> str:
    return f"<think>\n{number}\x1b[2J\n</think>\n{number + 1}"


def prepare(lab: Lab) -> None:
    rows = [
        {"id": str(n), "instruction": f"What is {n} + 1?", "output": chain(n), "rv": n, "cd": 2}
        for n in range(3)
    ]
    write_json_atomic(lab.omnithought_cot, rows)
    report = {
        "source": "rows.json",
        "source_rows": 5,
        "wanted": 4,
        "kept": 3,
        "steps": [
            {"name": "read", "dropped": 0, "remaining": 5},
            {"name": "outside RV", "dropped": 2, "remaining": 3},
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


async def test_rows_one_by_one_and_the_report(lab: Lab) -> None:
    prepare(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("3")
        await settled(app, pilot)
        await pilot.press("v")
        await settled(app, pilot)
        await pilot.press("right_square_bracket")
        await settled(app, pilot)
        check_golden("data-row-80x24", screen_text(app), lab.root)
        for _ in range(4):
            await pilot.press("right_square_bracket")
            await settled(app, pilot)
        assert "row 3 of 3" in screen_text(app)
        await pilot.press("h")
        await settled(app, pilot)
        check_golden("data-report-80x24", screen_text(app), lab.root)


async def test_nothing_prepared_says_so(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press("v")
        await settled(app, pilot)
        assert "Nothing is prepared yet" in screen_text(app)
