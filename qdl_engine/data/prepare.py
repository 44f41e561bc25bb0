"""Prepare the rows a student is trained on: read, map, filter, sample, measure, write, count.

Rows flow through generators one at a time, so memory stays flat however many there are, and a streamed source
is read only as far as the wanted rows need.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain as concatenate
from itertools import islice
from pathlib import Path
from typing import TextIO

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.prompts import Mode, format_completion, format_prompt
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.data.files import array_file, copy_atomic
from qdl_engine.data.json_rows import RowPlace, SourceRow
from qdl_engine.data.report import PrepareReport, Tally, TokenLengths, digest, provenance
from qdl_engine.data.sampling import (
    FilteredRow,
    Recipe,
    Tokenizer,
    batches,
    filter_row,
    load_tokenizer,
    sampled_from_all,
    sampled_from_stream,
    token_counts,
)
from qdl_engine.data.schemas import (
    ROWS_TO_DETECT,
    Drop,
    RawRow,
    Schema,
    check_mapping,
    choose_schema,
    has_path,
)
from qdl_engine.data.sources import Source, open_source
from qdl_engine.settings import System2Settings
from qdl_engine.settings.arguments import Config, LabLike, as_lab, settings_of

_ROWS_TO_FIND_COLUMNS = 1_000
_CHARACTERS_TO_FIND_COLUMNS = 1 << 25
_ROWS_TO_SEARCH = 10_000
_SECONDS_BETWEEN_EVENTS = 0.2


def prepare_system1_dataset(
    lab: LabLike,
    settings: Config | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    on_event: EventSink = no_sink,
) -> PrepareReport:
    """Prepare the System 1 rows: `train_instructions.json`, and `train_labeled.json` unless `label`.

    Args:
        lab: The lab, or its directory.
        settings: Of System 1 or of the whole lab, or a dict of either's keys; by default those of `qdl.toml`.
        tokenizer: Measures the rows, by default the student's own.
        on_event: Takes `progress` and `note`.

    Raises:
        DataError: when the source cannot be read, or no row is left.
        LabBusyError: when another process writes in this lab.
    """
    home = as_lab(lab)
    recipe = settings_of(home, settings, "system1").system1
    labelled = home.train_labeled
    outputs = [home.train_instructions] if recipe.label else [home.train_instructions, labelled]
    report = _Preparation(home, recipe, on_event).run(outputs, tokenizer)
    if recipe.label and labelled.exists():
        # It answers other rows now. Labelling writes it again; the cache keeps what the teacher answered.
        labelled.unlink()
        on_event(Note(f"Deleted {labelled.name}: its rows changed. Label again."))
    return report


def prepare_system2_dataset(
    lab: LabLike,
    settings: Config | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    on_event: EventSink = no_sink,
) -> PrepareReport:
    """Prepare the System 2 chains, filtered one chain at a time: `omnithought_cot.json`.

    It takes the same arguments as `prepare_system1_dataset`.

    Raises:
        DataError: when the source cannot be read, or no chain is left.
        LabBusyError: when another process writes in this lab.
    """
    home = as_lab(lab)
    recipe = settings_of(home, settings, "system2").system2
    return _Preparation(home, recipe, on_event).run([home.omnithought_cot], tokenizer)


@dataclass
class _Preparation:
    """One preparation: its recipe, and what it counts while the rows flow through."""

    lab: Lab
    recipe: Recipe
    on_event: EventSink
    tally: Tally = field(default_factory=Tally)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    """Tokens of each kept row."""

    @property
    def system(self) -> Mode:
        return "system2" if isinstance(self.recipe, System2Settings) else "system1"

    @property
    def unanswered(self) -> bool:
        """Whether the teacher has yet to write the answers."""
        return not isinstance(self.recipe, System2Settings) and self.recipe.label

    def run(self, outputs: list[Path], tokenizer: Tokenizer | None) -> PrepareReport:
        """Write the kept rows to each of `outputs`, and the report beside them."""
        recipe, began = self.recipe, time.monotonic()
        with self.lab.writer_lock(f"preparing {self.system}"):
            self.lab.create_directories()
            source = open_source(self.lab, recipe.source, split=recipe.split, seed=recipe.seed)
            if source.streamed:
                limit = "" if Path(source.name).is_dir() else " (gives up on the hub after half a minute)"
                self.on_event(Note(f"Opening {source.name}{limit}"))
            rows = source.read()
            first, with_columns = self._first_rows(rows)
            fields, schema = self._schema(source, first, with_columns)
            tokenizer = tokenizer or load_tokenizer(self.lab, recipe.student)
            filtered = self._filtered(self._counted(concatenate(first, rows)), schema)
            fitting = self._fitting(self._sampled(source, filtered), tokenizer)
            with array_file(outputs[0]) as handle:
                kept = self._write(handle, islice(fitting, recipe.rows))
                if not kept:
                    # Raised in here, so that the file of an earlier preparation stays.
                    raise self._no_data(source)
            for copy in outputs[1:]:
                copy_atomic(outputs[0], copy)
            self.tally.counts["not sampled"] = self.tally.units - kept - sum(self.tally.counts.values())
            report = PrepareReport(
                system=self.system,
                source=source.name,
                fields=fields,
                streamed=source.streamed,
                source_rows=self.tally.source_rows,
                wanted=recipe.rows,
                kept=kept,
                steps=self.tally.steps(self.system),
                tokens=TokenLengths.of(self.lengths),
                seconds=time.monotonic() - began,
                files=[str(path) for path in outputs],
                digest=digest(outputs[0]),
                **provenance(recipe),
            )
            write_json_atomic(self.lab.report_file(self.system), report.to_dict())
        return report

    def _first_rows(self, rows: Iterator[SourceRow]) -> tuple[list[SourceRow], list[RawRow]]:
        """The first rows, and the ones among them that have columns to recognise a schema by.

        They are more while a column of the mapping has not come: JSON may leave out what a row lacks.
        """
        mapping = self.recipe.mapping if self.recipe.fields in ("auto", "mapping") else {}
        unseen = list(filter(None, mapping.values()))
        first: list[SourceRow] = []
        with_columns: list[RawRow] = []
        size = 0
        for row in islice(rows, _ROWS_TO_SEARCH):
            first.append(row)
            if isinstance(row.value, dict):
                with_columns.append(row.value)
                unseen = [path for path in unseen if not has_path(row.value, path)]
            # They stay in memory, so their size is bounded too.
            size += len(str(row.value))
            search = unseen and size < _CHARACTERS_TO_FIND_COLUMNS
            if len(with_columns) >= (_ROWS_TO_FIND_COLUMNS if search else ROWS_TO_DETECT):
                break
        return first, with_columns

    def _schema(
        self, source: Source, first: list[SourceRow], with_columns: list[RawRow]
    ) -> tuple[str, Schema]:
        recipe = self.recipe
        if not with_columns:
            # Counted as broken, so that the message names the first.
            for row in first:
                self.tally.units += 1
                self.tally.drop("broken", row.place, row.problem or "not an object")
            raise self._no_data(source)
        fields, schema = choose_schema(recipe.fields, recipe.mapping, with_columns, source=source.name)
        if fields == "mapping":
            check_mapping(recipe.mapping, with_columns, source=source.name, answered=not self.unanswered)
        return fields, schema

    def _counted(self, rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
        """The same rows, counted, with an event a few times a second."""
        sent = 0.0
        for row in rows:
            self.tally.source_rows += 1
            if self.tally.source_rows % 64 == 0 and time.monotonic() - sent > _SECONDS_BETWEEN_EVENTS:
                sent = time.monotonic()
                done = self.tally.source_rows
                self.on_event(Progress(stage="read", done=done, unit="rows"))
            yield row

    def _filtered(self, rows: Iterable[SourceRow], schema: Schema) -> Iterator[FilteredRow]:
        """The rows that pass the recipe's filter; each of the others is counted under its step."""
        for row in rows:
            for result in filter_row(row, schema, self.recipe):
                self.tally.units += 1
                if isinstance(result, Drop):
                    self.tally.drop(result.step, row.place, result.detail)
                else:
                    yield result

    def _sampled(self, source: Source, rows: Iterator[FilteredRow]) -> Iterator[FilteredRow]:
        recipe, tally = self.recipe, self.tally
        # Where the teacher writes the answers, two rows with one instruction are the same row.
        same = self.unanswered
        if source.streamed:
            return sampled_from_stream(
                rows, wanted=recipe.rows, seed=recipe.seed, by_instruction=same, tally=tally
            )
        return sampled_from_all(
            rows, seed=recipe.seed, by_instruction=same, directory=self.lab.data, tally=tally
        )

    def _fitting(self, rows: Iterator[FilteredRow], tokenizer: Tokenizer) -> Iterator[FilteredRow]:
        """The rows that fit `max_length`, measured as they are trained."""
        limit = self.recipe.max_length
        for batch in batches(rows):
            texts = [
                format_prompt(row.instruction, self.system, system_prompt=self.recipe.system_prompt)
                + ("" if self.unanswered else format_completion(row.output))
                for row in batch
            ]
            for row, (tokens, more) in zip(batch, token_counts(texts, tokenizer, limit), strict=True):
                if tokens > limit:
                    count = f"{'more than ' if more else ''}{tokens:,} tokens"
                    self.tally.drop("over max_length", row.place, f"{count}: {row.instruction}")
                else:
                    self.lengths.append(tokens)
                    yield row

    def _write(self, handle: TextIO, rows: Iterable[FilteredRow]) -> int:
        """Write the rows as they come, and say how many there were."""
        count = 0
        for row in rows:
            value = row.to_dict(levels=self.system == "system2")
            handle.write((",\n" if count else "") + json.dumps(value, ensure_ascii=False))
            count += 1
            if count % 500 == 0:
                self._measured(count, self.recipe.rows)
        self._measured(count, count)
        return count

    def _measured(self, done: int, total: int) -> None:
        self.on_event(Progress(stage="measure", done=done, total=total, unit="rows"))

    def _no_data(self, source: Source) -> DataError:
        tally, example = self.tally, ""
        if tally.examples["broken"] and tally.counts["broken"] == tally.units:
            first = tally.examples["broken"][0]
            place = RowPlace(first.line, first.row)
            example = f" {str(place).capitalize()}: {first.detail}."
        return DataError(
            f"No data for {SYSTEM_NAMES[self.system]} distillation",
            f"{source.name}: {tally.sentence()}{example}",
        )
