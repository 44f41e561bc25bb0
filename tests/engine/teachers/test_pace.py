"""The width of the stream of requests, and waiting before a retry."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from qdl_engine.teachers.pace import Pace, Retry, retry_after


def test_the_width_grows_by_one_a_window_up_to_the_limit() -> None:
    pace, widths = Pace(5), []
    for _ in range(30):
        widths.append(pace.width)
        pace.success()
    assert widths[:10] == [2, 2, 3, 3, 3, 4, 4, 4, 4, 5]
    assert widths[-1] == 5


async def test_one_burst_of_trouble_halves_once() -> None:
    pace = Pace(8)
    pace.width = 8
    async with pace.turn() as first, pace.turn() as second:
        pace.trouble(first)
        pace.trouble(second)
    assert pace.width == 4
    async with pace.turn() as later:
        pace.trouble(later)
    assert pace.width == 2
    for _ in range(5):
        async with pace.turn() as later:
            pace.trouble(later)
    assert pace.width == 1


def test_a_retry_waits_longer_each_time_within_bounds() -> None:
    retry = Retry(base=1.0, longest=4.0)
    for attempt, most in enumerate([1.0, 2.0, 4.0, 4.0]):
        delays = [retry.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) <= max(delays) <= most
        assert max(delays) - min(delays) > most / 4


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0)])
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date_or_nothing() -> None:
    wait = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert wait is not None and 0 < wait <= 60
    assert retry_after(formatdate(0, usegmt=True)) == 0.0
    assert [retry_after(header) for header in (None, "", "soon", "nan?")] == [None] * 4
