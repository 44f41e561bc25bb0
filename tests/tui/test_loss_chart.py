"""The chart: its pyramid against the plain answer, and its rows as text."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from qdl_tui.widgets.chart_data import Curve, Point, Series
from qdl_tui.widgets.chart_plot import Scale, plot, ticks
from qdl_tui.widgets.chart_text import Line, count, legend, short
from qdl_tui.widgets.loss_chart import LossChart


def curve(points: Sequence[Point]) -> Curve:
    made = Curve()
    for x, y in points:
        made.append(x, y)
    return made


def drawn(points: Sequence[Point], width: int = 36, height: int = 8, *, log: bool = False) -> list[str]:
    rows = plot([Line(0, "train", curve(points))], width, height, log=log, x_label="step", note="")
    return ["".join(cell.character for cell in row) for row in rows]


def test_pyramid_agrees_with_the_plain_answer() -> None:
    chance = random.Random(3)
    values = [math.nan if chance.random() < 0.1 else chance.gauss(0, 1) for _ in range(5000)]
    made = curve(list(enumerate(values)))
    for _ in range(500):
        start, stop = sorted(chance.sample(range(5001), 2))
        finite = [value for value in values[start:stop] if value == value]
        expected = (min(finite), max(finite)) if finite else (math.inf, -math.inf)
        assert made.extremes(start, stop) == expected


def test_columns_keep_spikes_ends_and_gaps() -> None:
    points: list[Point] = [(x, 1.0) for x in range(1000)]
    points[500] = (500, 9.0)
    points[700] = (700, math.nan)
    columns = curve(points).columns(0, 999, 10)
    assert [column.high for column in columns if column] == [1, 1, 1, 1, 1, 9, 1, 1, 1, 1]
    assert [column.joined for column in columns if column].count(False) == 2
    gap = curve([(0, 1.0), (1, None), (2, math.inf), (3, 2.0)]).columns(0, 3, 4)
    assert [column is None for column in gap] == [False, True, True, False]
    assert gap[3] is not None and not gap[3].joined
    sparse = curve([(0, 1.0), (9, 2.0)]).columns(0, 9, 10)
    assert sparse[9] is not None and sparse[9].joined


def test_a_resumed_run_replaces_what_it_repeats() -> None:
    made = curve([(1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5), (3, 3.5)])
    assert list(made.x) == [1, 2, 3]
    assert list(made.y) == [5.0, 4.5, 3.5]


def test_series_looks_only_at_what_was_added() -> None:
    series = Series()
    points: list[Point] = [(x, 1.0 / (x + 1)) for x in range(50)]
    assert series.update(points)
    assert not series.update(points)
    raw = series.raw
    assert series.update([*points, (50, math.nan), (51, 0.5)])
    assert series.raw is raw
    assert not series.update([*points, (50, math.nan), (51, 0.5)])
    series.update([(0, 7.0)])
    assert list(series.raw.y) == [7.0]


def test_smoothing_starts_without_bias_and_skips_gaps() -> None:
    series = Series()
    series.update([(0, 4.0), (1, math.nan), (2, 4.0)])
    smooth = series.smoothed(0.9)
    assert smooth.y[0] == pytest.approx(4.0)
    assert math.isnan(smooth.y[1])
    series.append(3, 8.0)
    assert series.smoothed(0.9) is smooth
    assert 4.0 < smooth.y[3] < 8.0
    assert series.smoothed(0.0) is series.raw


def test_curve_at_36_by_8() -> None:
    rows = drawn([(x, 3.0 - x / 50) for x in range(101)])
    assert len(rows) == 8
    assert {len(row) for row in rows} == {36}
    assert rows[0].startswith("A train 1")
    assert rows[7].split() == ["0", "step", "100"]
    assert any("2┤" in row for row in rows)
    first, last = rows[1], rows[6]
    assert first[2:6].strip(" │┤") and not first[30:].strip()
    assert last[30:].strip() and not last[3:9].strip()


@pytest.mark.parametrize(
    ("points", "log", "word"),
    [
        ([], False, "no values yet"),
        ([(1, math.nan)], False, "no values yet"),
        ([(1, -1.0)], True, "no value above zero"),
    ],
)
def test_nothing_to_draw_is_said(points: list[Point], log: bool, word: str) -> None:
    assert word in "\n".join(drawn(points, log=log))


@pytest.mark.parametrize(("width", "height"), [(0, 0), (1, 1), (15, 8), (36, 3), (16, 4), (200, 60)])
def test_any_size(width: int, height: int) -> None:
    rows = drawn([(1, 1.0), (2, 2.0)], width, height)
    assert [len(row) for row in rows] == [width] * height


@pytest.mark.parametrize(
    "values",
    [
        [2.0],
        [2.0, 2.0],
        [0.0, 0.0],
        [1e-9, 2e-9],
        [1e300, -1e300],
        [5e-324, 1.0],
        [-3.0, -2.0],
        [0.0, 1e-3, 10.0],
        [1.7e308, -1.7e308, 1.0],
    ],
)
@pytest.mark.parametrize("log", [False, True])
def test_any_values(values: list[float], log: bool) -> None:
    rows = drawn(list(enumerate(values)), log=log)
    assert [len(row) for row in rows] == [36] * 8


def test_series_differ_without_colour() -> None:
    lines = [
        Line(number, name, curve([(x, 1.0 + number) for x in range(200)]))
        for number, name in enumerate(["train", "held out", "run 7"])
    ]
    rows = [
        "".join(cell.character for cell in row)
        for row in plot(lines, 60, 14, log=False, x_label="step", note="")
    ]
    assert rows[0].split("  ")[:3] == ["A train 1", "B held out 2", "C run 7 3"]
    body = "\n".join(rows[1:-1])
    assert body.count("B") == body.count("C") == 1
    cells = [len([c for c in row[4:] if c not in " BC│┤"]) for row in rows[1:-1]]
    solid, dashed, dotted = cells[-1], max(cells[3:9]), cells[0]
    assert solid > dashed >= dotted > 0
    narrow = plot(lines, 24, 8, log=False, x_label="step", note="")
    assert all(letter in "".join(cell.character for cell in narrow[0]) for letter in "ABC")


@pytest.mark.parametrize("width", range(16, 40))
def test_wide_names_keep_the_rows_in_line(width: int) -> None:
    lines = [
        Line(n, name, curve([(0, 1.0), (1, 2.0)])) for n, name in enumerate(["训练损失", "e\u0301val", "x"])
    ]
    for row in plot(lines, width, 6, log=False, x_label="step", note="log"):
        assert cell_len("".join(cell.character for cell in row)) == width == len(row)


def test_a_single_series_stands_behind_the_title_and_the_note_always_fits() -> None:
    line = Line(0, "train", curve([(0, 2.0), (1, 1.5)]))
    rows = plot([line], 30, 6, log=True, x_label="step", note="log y", title="learning rate")
    assert "".join(cell.character for cell in rows[0]) == "learning rate 1.5        log y"
    pair = [line, Line(1, "held out", curve([(0, 3.0)]))]
    rows = plot(pair, 30, 6, log=True, x_label="step", note="log y", title="loss")
    assert "".join(cell.character for cell in rows[0]) == "loss  A train  B held    log y"


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0, 1.5, 0.12345, 123.456, 12345.0, 2e-5, 1e7)] == [
        "0",
        "1.5",
        "0.123",
        "123.5",
        "12k",
        "2e-5",
        "1e7",
    ]
    assert [count(v) for v in (1, 9999, 12000, 1234567, 0.5)] == ["1", "9999", "12k", "1.2M", "0.5"]
    assert list(ticks(Scale(0.01, 10, True), 20).values()) == ["0.01", "0.1", "1", "10"]


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield LossChart()

    def on_mount(self) -> None:
        self.query_one(LossChart).focus()


async def test_keys_and_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    app = ChartApp()
    async with app.run_test(size=(36, 8)) as pilot:
        chart = app.query_one(LossChart)
        points: list[Point] = [(x, 4.0 / (x + 1)) for x in range(100)]
        chart.set_series({"train": points, "held out": points[::10]}, x_label="step")
        linear = chart.text
        assert linear[0].startswith("A train 0.04  B held out 0.044")
        chart.set_series({"train": [*points, (100, 9.0)], "held out": points[::10]})
        assert chart.text == linear  # Less than half a second ago.
        chart.action_scale()
        assert chart.log_scale
        assert chart.text != linear
        assert "A train 9 " in chart.text[0]
        assert chart.text[0].endswith("  log y")
        chart.action_smooth()
        assert chart.smoothing == 0.6
        assert chart.text[0].endswith("  log y  smoothed 0.6")
        for _ in range(3):
            chart.action_smooth()
        assert chart.smoothing == 0
        await pilot.pause()
        shown = ["".join(s.text for s in strip) for strip in app.screen._compositor.render_strips()]
        assert shown == chart.text
        chart.extend("run\x1b[2J", [(1, 2.0)])
        chart.action_scale()
        assert "\x1b" not in "".join(chart.text)


def test_where_there_is_little_room_the_value_stays_and_the_note_gives_way() -> None:
    line, note = Line(0, "memory, GB", curve([(1, 0.512)])), "log y  smoothed 0.6"
    for width in (17, 20, 26, 30, 40):
        row = "".join(cell.character for cell in legend([line], width, note, "memory, GB"))
        assert row.startswith("memory, GB 0.512") and len(row) == width
        assert row.endswith(f"  {note}") is (width >= 37)
