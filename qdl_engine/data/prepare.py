"""Prepare the rows a student is trained on: read, map, filter, sample, measure, write, count.

Rows flow through generators one at a time, so memory stays flat however many there are, and a streamed source
is read only as far as the rows asked for need.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain as concatenate
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.prompts import Mode, format_completion, format_prompt
from qdl_engine.data.files import array_file, copy_atomic, load_rows, preview_rows
from qdl_engine.data.report import (
    PrepareReport,
    Tally,
    TokenLengths,
    counts_in_words,
    digest,
    provenance,
    steps_of,
)
from qdl_engine.data.sampling import (
    Candidate,
    Tokenizer,
    batches,
    candidate,
    load_tokenizer,
    sampled_from_all,
    sampled_from_stream,
    token_counts,
)
from qdl_engine.data.schemas import Drop, Schema, chains_of, check_mapping, choose_schema, has_path
from qdl_engine.data.sources import Source, SourceRow, open_source
from qdl_engine.settings import System1Settings, System2Settings
from qdl_engine.settings.given import Config, LabLike, as_lab, settings_of

__all__ = ["load_rows", "prepare_system1_dataset", "prepare_system2_dataset", "preview_rows"]

RecipeSettings = System1Settings | System2Settings

_ROWS_TO_DETECT = 20
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
    report = _prepare(home, recipe, outputs, tokenizer, on_event)
    if recipe.label and labelled.exists():
        # It belongs to other rows now; the label cache writes it again without asking the teacher twice.
        labelled.unlink()
        on_event(Note(f"{labelled.name} was of other rows and is gone: label again."))
    return report


def prepare_system2_dataset(
    lab: LabLike,
    settings: Config | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    on_event: EventSink = no_sink,
) -> PrepareReport:
    """Prepare the System 2 chains, filtered one chain at a time: `omnithought_cot.json`.

    It takes what `prepare_system1_dataset` takes.

    Raises:
        DataError: when the source cannot be read, or no chain is left.
        LabBusyError: when another process writes in this lab.
    """
    home = as_lab(lab)
    recipe = settings_of(home, settings, "system2").system2
    return _prepare(home, recipe, [home.omnithought_cot], tokenizer, on_event)


def _prepare(
    lab: Lab, settings: RecipeSettings, outputs: list[Path], tokenizer: Tokenizer | None, on_event: EventSink
) -> PrepareReport:
    system: Mode = "system2" if isinstance(settings, System2Settings) else "system1"
    began = time.monotonic()
    with lab.writer_lock(f"preparing {system}"):
        lab.create_directories()
        source = open_source(lab, settings.source, split=settings.split, seed=settings.seed)
        if source.streamed:
            patience = "" if Path(source.name).is_dir() else " (the hub is tried for up to half a minute)"
            on_event(Note(f"Opening {source.name}{patience}"))
        tally, lengths = Tally(), array("L")
        rows = source.read()
        mapped = settings.mapping.values() if settings.fields in ("auto", "mapping") else ()
        first, known = _first_rows(rows, mapped)
        if not known:
            raise _nothing_readable(system, source, tally, first)
        fields, schema = choose_schema(settings.fields, settings.mapping, known, source=source.name)
        if fields == "mapping":
            check_mapping(settings.mapping, known, source=source.name, answered=not _unanswered(settings))
        tokenizer = tokenizer or load_tokenizer(lab, settings.student)
        candidates = _candidates(_watched(concatenate(first, rows), tally, on_event), schema, settings, tally)
        ordered = _sampled(source, candidates, settings, lab.data, tally)
        kept = islice(_within_length(ordered, system, settings, tokenizer, tally, lengths), settings.rows)
        with array_file(outputs[0]) as handle:
            count = _write(handle, kept, system, settings.rows, on_event)
            if not count:
                # Raised in here, so that the file of an earlier preparation stays.
                raise _no_data(system, source, tally)
        for copy in outputs[1:]:
            copy_atomic(outputs[0], copy)
        tally.counts["not sampled"] = tally.units - count - sum(tally.counts.values())
        report = PrepareReport(
            system=system,
            source=source.name,
            fields=fields,
            streamed=source.streamed,
            source_rows=tally.source_rows,
            wanted=settings.rows,
            kept=count,
            steps=steps_of(tally, system),
            tokens=TokenLengths.of(lengths),
            seconds=time.monotonic() - began,
            files=[str(path) for path in outputs],
            digest=digest(outputs[0]),
            **provenance(settings),
        )
        write_json_atomic(lab.report_file(system), report.to_dict())
    return report


def _first_rows(
    rows: Iterator[SourceRow], columns: Iterable[str]
) -> tuple[list[SourceRow], list[dict[str, Any]]]:
    """The first rows, and those of them that have columns to recognise a schema by.

    They are more while one of `columns`, of a mapping, has not come: JSON may leave out what a row lacks.
    """
    first: list[SourceRow] = []
    known: list[dict[str, Any]] = []
    unseen = list(filter(None, columns))
    size = 0
    for row in islice(rows, _ROWS_TO_SEARCH):
        first.append(row)
        if isinstance(row.value, dict):
            known.append(row.value)
            unseen = [path for path in unseen if not has_path(row.value, path)]
        # They are held, so what they hold is bounded too.
        size += len(str(row.value))
        wanted = _ROWS_TO_FIND_COLUMNS if unseen and size < _CHARACTERS_TO_FIND_COLUMNS else _ROWS_TO_DETECT
        if len(known) >= wanted:
            break
    return first, known


def _write(handle: TextIO, rows: Iterable[Candidate], system: str, wanted: int, on_event: EventSink) -> int:
    """Write the rows as they come, and say how many there were."""
    count = 0
    for row in rows:
        handle.write(_dump(row, system, first=count == 0))
        count += 1
        if count % 500 == 0:
            on_event(Progress(stage="measure", done=count, total=wanted, unit="rows"))
    on_event(Progress(stage="measure", done=count, total=count, unit="rows"))
    return count


def _watched(rows: Iterable[SourceRow], tally: Tally, on_event: EventSink) -> Iterator[SourceRow]:
    """The same rows, counted, with an event a few times a second."""
    told = 0.0
    for row in rows:
        tally.source_rows += 1
        if tally.source_rows % 64 == 0 and time.monotonic() - told > _SECONDS_BETWEEN_EVENTS:
            told = time.monotonic()
            on_event(Progress(stage="read", done=tally.source_rows, unit="rows"))
        yield row


def _candidates(
    rows: Iterable[SourceRow], schema: Schema, settings: RecipeSettings, tally: Tally
) -> Iterator[Candidate]:
    """The rows that pass the recipe's filter; each of the others is counted under its step."""
    for row in rows:
        place = (row.line, row.row)
        found = [Drop("broken", row.problem)] if row.problem else chains_of(row.value, schema)
        for chain in found:
            tally.units += 1
            result = chain if isinstance(chain, Drop) else candidate(place, chain, settings)
            if isinstance(result, Drop):
                tally.drop(result.step, place, result.detail)
            else:
                yield result


def _sampled(
    source: Source, rows: Iterator[Candidate], settings: RecipeSettings, directory: Path, tally: Tally
) -> Iterator[Candidate]:
    # Where the teacher writes the answers, two rows with one instruction are the same row.
    by_instruction = _unanswered(settings)
    if source.streamed:
        return sampled_from_stream(
            rows, wanted=settings.rows, seed=settings.seed, by_instruction=by_instruction, tally=tally
        )
    return sampled_from_all(
        rows, seed=settings.seed, by_instruction=by_instruction, directory=directory, tally=tally
    )


def _unanswered(settings: RecipeSettings) -> bool:
    """Whether the teacher is yet to write the answers."""
    return isinstance(settings, System1Settings) and settings.label


def _within_length(
    rows: Iterator[Candidate],
    system: Mode,
    settings: RecipeSettings,
    tokenizer: Tokenizer,
    tally: Tally,
    lengths: array[int],
) -> Iterator[Candidate]:
    """The rows that fit `max_length`, measured as they are trained; `lengths` collects theirs."""
    unanswered = _unanswered(settings)
    for batch in batches(rows):
        texts = [
            format_prompt(row.instruction, system, system_prompt=settings.system_prompt)
            + ("" if unanswered else format_completion(row.output))
            for row in batch
        ]
        counts = token_counts(texts, tokenizer, settings.max_length)
        for row, (tokens, least) in zip(batch, counts, strict=True):
            if tokens > settings.max_length:
                detail = f"{'more than ' if least else ''}{tokens:,} tokens: {row.instruction}"
                tally.drop("over max_length", row.place, detail)
            else:
                lengths.append(tokens)
                yield row


def _dump(row: Candidate, system: str, *, first: bool) -> str:
    value: dict[str, Any] = {"id": row.id, "instruction": row.instruction, "output": row.output}
    if system == "system2":
        value |= {"rv": _whole(row.rv), "cd": _whole(row.cd)}
    return ("" if first else ",\n") + json.dumps(value, ensure_ascii=False)


def _whole(level: float | None) -> float | None:
    return int(level) if level is not None and level.is_integer() else level


def _no_data(system: str, source: Source, tally: Tally, more: str = "") -> DataError:
    name = "System 2" if system == "system2" else "System 1"
    if not more and tally.units and tally.examples["broken"] and tally.counts["broken"] == tally.units:
        example = tally.examples["broken"][0]
        more = f"{example.place.capitalize()}: {example.detail}."
    return DataError(
        f"No data for {name} distillation", f"{source.name}: {counts_in_words(tally)} {more}".rstrip()
    )


def _nothing_readable(system: str, source: Source, tally: Tally, first: list[SourceRow]) -> DataError:
    tally.units = tally.counts["broken"] = len(first)
    example = f"Line {first[0].line}: {first[0].problem or 'not an object'}." if first else ""
    return _no_data(system, source, tally, example)
