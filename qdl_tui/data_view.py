"""Prepared data as the screens show it: one row as the student meets it, and what preparing did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qdl_engine.errors import LabError
from qdl_engine.lab import Lab, read_json
from qdl_engine.prompts import Mode, format_completion, format_prompt
from qdl_engine.text import printable

BAR = 30


@dataclass(frozen=True)
class DataView:
    """One prepared row and the report of its preparation."""

    number: int
    """From 0."""
    row: dict[str, Any] | None
    prompt: str
    trained: str
    report: dict[str, Any]


def read_data(lab: Lab, mode: Mode, number: int, system_prompt: str) -> DataView:
    """Read row `number` and the report. For a worker thread.

    Raises:
        LabError: when the data cannot be read.
    """
    from qdl_engine.data.prepare import preview_rows

    rows = preview_rows(lab, mode, number, 1)
    row = rows[0] if rows else None
    prompt = format_prompt(str(row.get("instruction", "")), mode, system_prompt=system_prompt) if row else ""
    output = str(row.get("output") or "") if row else ""
    return DataView(number, row, prompt, format_completion(output) if output else "", _report(lab, mode))


def _report(lab: Lab, system: str) -> dict[str, Any]:
    try:
        report = read_json(lab.report_file(system))
    except LabError:
        return {}
    return report if isinstance(report, dict) else {}


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report as a table and a histogram of token lengths."""
    if not report:
        return ["Nothing is prepared yet: p prepares."]
    lines = [f"Source {printable(str(report.get('source', '')))}, {report.get('source_rows', 0):,} rows read"]
    lines.append(f"{'step':17}{'dropped':>9}{'remaining':>11}")
    for step in report.get("steps", []):
        lines.append(f"{step['name']:17}{step['dropped']:>9,}{step['remaining']:>11,}")
    lines.append(f"Kept {report.get('kept', 0):,} of {report.get('wanted', 0):,} asked for.")
    tokens = report.get("tokens", {})
    if tokens:
        lines += [
            "",
            "Tokens per row: " + ", ".join(f"{key} {tokens[key]:,}" for key in SHOWN if key in tokens),
        ]
        lines += _histogram(tokens.get("histogram", []))
    return lines


SHOWN = ("minimum", "median", "p95", "maximum")


def _histogram(buckets: list[list[int]]) -> list[str]:
    most = max((count for _low, _high, count in buckets), default=0)
    return [
        f"{low:>7,} {'█' * round(BAR * count / most):{BAR}} {count:,}"
        for low, _high, count in buckets
        if most
    ]
