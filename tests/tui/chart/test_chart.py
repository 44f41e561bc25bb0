"""The charts: what a column keeps of a curve, the rows as text, and the widget under keys and new points."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from qdl_tui.chart.panels import PANELS, Chart
from qdl_tui.chart.plot import Line, legend, plot
from qdl_tui.chart.series import Curve, Point, Scale, short, short_step, ticks
from tests.tui.screen import screen_text


def line(number: int, name: str, points: Sequence[Point]) -> Line:
    return Line(number, name, Curve.of(points))


def drawn(lines: Sequence[Line], width: int = 36, height: int = 8, *, log: bool = False) -> list[str]:
    return [row.plain for row in plot(lines, width, height, log=log, note="note", title="loss")]


def test_columns_keep_spikes_and_break_at_gaps() -> None:
    points: list[Point] = [(x, 1.0) for x in range(1000)]
    points[500], points[700] = (500, 9.0), (700, math.nan)
    columns = Curve.of(points).columns(0, 999, 10)
    assert [column.high for column in columns if column] == [1, 1, 1, 1, 1, 9, 1, 1, 1, 1]
    assert [column.joined for column in columns if column] == [False, *[True] * 6, False, True, True]
    gap = Curve.of([(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]).columns(0, 3, 4)
    assert [column and column.joined for column in gap] == [False, None, None, False]
    sparse = Curve.of([(0, 1.0), (9, 2.0)]).columns(0, 9, 10)
    assert sparse == [(1, 1, 1, 1, False), *[None] * 8, (2, 2, 2, 2, True)]


def test_smoothing_starts_without_bias_and_skips_gaps() -> None:
    raw = Curve.of([(0, 2.0), (1, math.nan), (2, 2.0), (3, 4.0)], factor=2.0)
    smooth = raw.smoothed(0.9).y
    assert [smooth[0], smooth[2]] == pytest.approx([4.0, 4.0])
    assert math.isnan(smooth[1])
    assert 4.0 < smooth[3] < 8.0


def test_a_curve_at_36_by_8() -> None:
    rows = drawn([line(0, "train", [(x, 3.0 - x / 50) for x in range(101)])])
    assert rows[0].startswith("loss 1 ")
    assert rows[7].split() == ["0", "step", "100"]
    assert any("2┤" in row for row in rows)
    first, last = rows[1], rows[6]
    assert first[2:6].strip(" │┤") and not first[30:].strip()
    assert last[30:].strip() and not last[3:9].strip()


def test_twenty_thousand_points_draw_in_milliseconds() -> None:
    points = [(step, math.sin(step)) for step in range(20_000)]
    began = time.process_time()
    rows = drawn([line(0, "train", points)], 120, 30)
    assert time.process_time() - began < 0.5  # Measured: 0.013 s.
    assert all(set(row[6:]) == {"⣿"} for row in rows[2:-2])


@pytest.mark.parametrize(
    ("values", "log", "message"),
    [
        ([], False, "no values yet"),
        ([math.nan], False, "no values yet"),
        ([-1.0], True, "no value above zero"),
    ],
)
def test_a_message_where_there_is_nothing_to_draw(values: list[float], log: bool, message: str) -> None:
    assert message in drawn([line(0, "train", list(enumerate(values)))], log=log)[4]


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (15, 8), (36, 3), (16, 4), (36, 8), (200, 60)])
@pytest.mark.parametrize("log", [False, True])
def test_any_values_at_any_size(size: tuple[int, int], log: bool) -> None:
    extreme = ([2.0], [2.0, 2.0], [0.0, 0.0], [1e-9, 2e-9], [1e300, -1e300], [5e-324, 1.0], [-3.0, -2.0])
    for values in (*extreme, [0.0, 1e-3, 10.0], [1.7e308, -1.7e308, 1.0]):
        rows = drawn([line(0, "train", list(enumerate(values)))], *size, log=log)
        assert [len(row) for row in rows] == [size[0]] * size[1], values


def test_curves_differ_without_colour() -> None:
    names = ("train", "held out", "run 7")
    lines = [line(nr, name, [(x, 1.0 + nr) for x in range(200)]) for nr, name in enumerate(names)]
    rows = drawn(lines, 60, 14)
    assert rows[0].split("  ")[:4] == ["loss", "A train 1", "B held out 2", "C run 7 3"]
    body = "\n".join(rows[1:-1])
    assert body.count("B") == body.count("C") == 1
    cells = [len([c for c in row[4:] if c not in " BC│┤"]) for row in rows[1:-1]]
    solid, dashed, dotted = cells[-1], max(cells[3:9]), cells[0]
    assert solid > dashed >= dotted > 0
    # A raw curve behind a smoothed one has no letter and no entry of its own.
    assert drawn([replace(it, faint=True) for it in lines] + lines, 60, 14) == rows


@pytest.mark.parametrize("width", range(16, 40))
def test_wide_names_keep_the_rows_in_line(width: int) -> None:
    names = ("训练损失", "e\u0301val", "x")
    rows = drawn([line(nr, name, [(0, 1.0), (1, 2.0)]) for nr, name in enumerate(names)], width, 6)
    assert [cell_len(row) for row in rows] == [width] * 6
    assert rows[0].endswith("note")


def test_the_legend_keeps_values_or_letters_in_little_room() -> None:
    pair = [line(0, "train", [(0, 2.0), (1, 1.5)]), line(1, "held out", [(0, 3.0)])]
    assert legend(pair[:1], 30, "log y", "learning rate").plain == "learning rate 1.5        log y"
    assert legend(pair, 40, "log y", "loss").plain == "loss  A train 1.5  B held out 3    log y"
    assert legend(pair, 30, "log y", "loss").plain == "loss  A train  B held    log y"
    only, note = line(0, "memory, GB", [(1, 0.512)]), "log y  smoothed 0.6"
    for width in (17, 20, 26, 30, 40):
        row = legend([only], width, note, "memory, GB").plain
        assert row.startswith("memory, GB 0.512") and len(row) == width
        assert row.endswith(f"  {note}") is (width >= 37)
    assert legend([line(0, "x", [(0, 1.0), (1, math.nan)])], 6, "", "loss").plain == "loss -"


def test_numbers_are_short() -> None:
    numbers = {0: "0", 1.5: "1.5", 0.12345: "0.123", 123.456: "123.5", 12345: "12k", 2e-5: "2e-5", 1e7: "1e7"}
    assert {number: short(number) for number in numbers} == numbers
    steps = {1: "1", 9999: "9999", 12000: "12k", 1234567: "1.2M"}
    assert {step: short_step(step) for step in steps} == steps
    assert list(ticks(Scale(0.01, 10, True), 20).values()) == ["0.01", "0.1", "1", "10"]


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart(PANELS[0])


async def shown(pilot: Pilot[None], seconds: float | None = None) -> list[str]:
    await pilot.pause(seconds)
    return screen_text(pilot.app).splitlines()


async def test_new_points_wait_for_the_period_and_keys_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdl_tui.chart.panels.PERIOD", 60.0)
    async with ChartApp().run_test(size=(48, 8)) as pilot:
        chart = pilot.app.query_one(Chart)
        points: list[Point] = [(x, 4.0 / (x + 1)) for x in range(100)]
        chart.set_series({"train": points, "held out": points[::10]})
        linear = await shown(pilot)
        assert linear[0].startswith("▸loss  A train 0.04  B held out 0.044")
        chart.set_series({"train": [*points, (100, 9.0)], "held out": points[::10]})
        assert await shown(pilot) == linear
        chart.action_scale()
        log = await shown(pilot)
        assert "log y" in log[0] and log[-1].endswith("100")
        for weight in ("0.6", "0.9", "0.98", ""):
            chart.action_smooth()
            assert (await shown(pilot))[0].partition("smoothed ")[2] == weight
        # Another choice of series shows at once.
        chart.set_series({"run\x1b[2J": [(1, 2.0)], "train": points})
        title = (await shown(pilot))[0]
        assert "A run" in title and "\x1b" not in title
        monkeypatch.setattr("qdl_tui.chart.panels.PERIOD", 0.1)
        for last in (2.0, 3.0, 5.0):
            chart.set_series({"run\x1b[2J": [(1, 2.0)], "train": [(0, 1.0), (1, last)]})
        assert "B train 5" in (await shown(pilot, 0.3))[0]
