"""What a person looks at before training: prepared rows as the student sees them, and a source's first rows
through its mapping before anything is prepared. Light enough for the app: no model library is imported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.core.prompts import Mode, format_completion, format_prompt
from qdl_engine.core.words import one_line
from qdl_engine.data.files import load_rows, prepared_file
from qdl_engine.data.json_rows import RowPlace, SourceRow
from qdl_engine.data.sampling import Recipe, filter_row
from qdl_engine.data.schemas import LEVEL_COLUMNS, ROWS_TO_DETECT, Drop, choose_schema, columns_of
from qdl_engine.data.sources import open_source
from qdl_engine.settings import MAPPING_KEYS, System2Settings

_RANGE = re.compile(r"(?P<low>\d(?:\.\d+)?)?(?P<to>-|\.\.)?(?P<high>\d(?:\.\d+)?)?")


@dataclass(frozen=True)
class RowFilter:
    """Which prepared rows to show: those with a text, and with RV and CD in a range."""

    text: str = ""
    rv: tuple[float, float] | None = None
    cd: tuple[float, float] | None = None

    @classmethod
    def parse(cls, words: str) -> RowFilter:
        """A filter as a person types it: `two trains rv:3-5 cd:4`; `rv:3-` has no upper end.

        Raises:
            SettingsError: when a range is not a range.
        """
        text: list[str] = []
        ranges: dict[str, tuple[float, float]] = {}
        for word in words.split():
            name, colon, bounds = word.partition(":")
            if colon and name.lower() in ("rv", "cd"):
                ranges[name.lower()] = _range(word, bounds)
            else:
                text.append(word)
        return cls(" ".join(text), ranges.get("rv"), ranges.get("cd"))

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a prepared row is shown; a row without a level is outside every range."""
        for name, bounds in (("rv", self.rv), ("cd", self.cd)):
            level = row.get(name)
            if bounds is not None and not (
                isinstance(level, int | float) and bounds[0] <= level <= bounds[1]
            ):
                return False
        needle = self.text.casefold()
        return not needle or any(
            needle in str(row.get(name) or "").casefold() for name in ("instruction", "output")
        )


def _range(word: str, bounds: str) -> tuple[float, float]:
    found = _RANGE.fullmatch(bounds)
    if found is None or not (found["low"] or found["high"]):
        raise SettingsError(
            f"Not a range: {word}",
            f"Write {word[:2]}:4, {word[:2]}:2-5 or {word[:2]}:5-, with levels from 0 to 9.",
        )
    low = float(found["low"] or 0)
    high = float(found["high"]) if found["high"] else (9.0 if found["to"] else low)
    if low > high:
        raise SettingsError(
            f"Not a range: {word}", f"The lower end comes first: {word[:2]}:{high:g}-{low:g}."
        )
    return low, high


@dataclass(frozen=True)
class RenderedRow:
    """One prepared row as the student sees it."""

    number: int
    """From 1."""
    row: dict[str, Any]
    prompt: str
    trained: str
    """The part that the loss covers, end token included; empty until the teacher has labelled the row."""

    def to_dict(self) -> dict[str, Any]:
        return {**self.row, "number": self.number, "prompt": self.prompt, "trained": self.trained}


def render_row(number: int, row: dict[str, Any], mode: Mode, system_prompt: str) -> RenderedRow:
    """Row `number`, from 1, between the tokens of its turns."""
    output = str(row.get("output") or "")
    prompt = format_prompt(str(row.get("instruction") or ""), mode, system_prompt=system_prompt)
    return RenderedRow(number, row, prompt, format_completion(output) if output else "")


def find_rows(
    lab: Lab, system: Mode, chosen: RowFilter, *, cancelled: Callable[[], bool] = bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The prepared rows that a filter keeps, each with its number from 1; none before preparing.

    Raises:
        DataError: when the prepared file cannot be read.
    """
    path = prepared_file(lab, system)
    if path is None:
        return
    for number, row in enumerate(load_rows(path), 1):
        if cancelled():
            return
        if chosen.keeps(row):
            yield number, row


def read_report(lab: Lab, system: str) -> dict[str, Any]:
    """The saved report of the last preparation; empty when there is none, or it is broken."""
    try:
        report = read_json(lab.report_file(system))
    except LabError:
        return {}
    return report if isinstance(report, dict) else {}


@dataclass(frozen=True)
class SourceHead:
    """The first rows of a source, raw."""

    source: str
    rows: tuple[SourceRow, ...]

    @property
    def values(self) -> list[Mapping[str, Any]]:
        """The rows that are objects with columns."""
        return [row.value for row in self.rows if isinstance(row.value, Mapping)]

    @property
    def columns(self) -> dict[str, str]:
        """Column or dotted path to its first value that is not empty, on one line."""
        found: dict[str, str] = {}
        for value in self.values:
            for path, item in columns_of(value):
                if not found.get(path):
                    found[path] = one_line(item if isinstance(item, str) else _dump(item), 200)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what a Parquet file holds beside it (bytes, dates) becomes text."""
        rows = [
            {"line": row.line, "row": row.row, "value": row.value, "problem": row.problem}
            for row in self.rows
        ]
        return {"source": self.source, "rows": json.loads(json.dumps(rows, default=str))}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> SourceHead:
        return cls(str(value["source"]), tuple(SourceRow(**row) for row in value["rows"]))


def _dump(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def read_head(lab: Lab, recipe: Recipe, count: int = ROWS_TO_DETECT) -> SourceHead:
    """The first rows of a recipe's source. A hub data set costs network requests: call it on demand.

    Raises:
        DataError: when the source cannot be read.
    """
    source = open_source(lab, recipe.source, split=recipe.split, seed=recipe.seed)
    return SourceHead(source.name, tuple(islice(source.read(), count)))


@dataclass(frozen=True)
class MappedRow:
    """One chain of a source row as preparing takes it, or why preparing drops it."""

    place: RowPlace
    dropped: str
    """The step that drops it and what is wrong; empty for a row that is kept."""
    rendered: RenderedRow | None = None

    def to_dict(self) -> dict[str, Any]:
        shown = self.rendered.to_dict() if self.rendered else {}
        return {"line": self.place.line, "row": self.place.row, "dropped": self.dropped, **shown}


def map_head(head: SourceHead, recipe: Recipe) -> tuple[str, list[MappedRow]]:
    """The schema that the recipe uses on a source, by name, and the first rows as it reads them.

    Raises:
        SettingsError: when the mapping names no instruction, or has an unknown key.
        DataError: when `auto` recognises no schema.
    """
    mode: Mode = "system2" if isinstance(recipe, System2Settings) else "system1"
    fields, schema = choose_schema(recipe.fields, recipe.mapping, head.values, source=head.source)
    mapped: list[MappedRow] = []
    for row in head.rows:
        for kept in filter_row(row, schema, recipe):
            if isinstance(kept, Drop):
                mapped.append(MappedRow(row.place, f"{kept.step}: {kept.detail}"))
                continue
            value = kept.to_dict(levels=mode == "system2")
            rendered = render_row(len(mapped) + 1, value, mode, recipe.system_prompt)
            mapped.append(MappedRow(row.place, "", rendered))
    return fields, mapped


_GUESSES: dict[str, tuple[str, ...]] = {
    "instruction": ("instruction", "question", "prompt", "query", "problem"),
    "input": ("input", "context"),
    "output": ("output", "response", "completion", "chosen"),
    "thought": ("thought", "reasoning_content", "reasoning.0.thought", "cot", "reasoning"),
    "answer": ("answer", "solution", "reasoning.0.solution", "final_answer"),
    **{key: (*names, f"reasoning.0.{names[0]}") for key, names in LEVEL_COLUMNS.items()},
}


def guess_mapping(columns: Sequence[str]) -> dict[str, str]:
    """A mapping to start from: the columns whose names say what they hold."""
    found = {
        key: column
        for key in MAPPING_KEYS
        if (column := next((c for c in _GUESSES[key] if c in columns), ""))
    }
    if "answer" in found and not ("thought" in found or "output" in found):
        found["output"] = found.pop("answer")
    return found
