"""`preview`: prepared rows as the student meets them, and a source through its mapping before preparing."""

from __future__ import annotations

from argparse import Namespace
from itertools import islice
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.systems import SYSTEMS

if TYPE_CHECKING:
    from qdl_engine.core.lab import Lab
    from qdl_engine.core.prompts import Mode
    from qdl_engine.data.preview import MappedRow, RenderedRow

DESCRIPTION = (
    "Show prepared rows as the student meets them: the prompt, then the trained part behind bars. With "
    "--source, the first rows of the source through the mapping, before anything is prepared: try a mapping "
    "with --set system1.fields=mapping --set system1.mapping.instruction=COLUMN. A hub data set is then "
    "asked over the network."
)


def add_commands(group: Group) -> None:
    command = group.command(
        "preview", preview, "show rows as the student meets them, prepared or through a mapping", DESCRIPTION
    )
    command.add_argument("system", choices=SYSTEMS)
    command.add_argument("--start", type=int, default=0, metavar="N", help="rows to skip (default: 0)")
    command.add_argument("--count", type=int, metavar="N", help="how many rows (default: 3; of a source: 20)")
    command.add_argument("--row", type=int, metavar="N", help="this row only, from 1, as the app counts")
    command.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="only rows with a text in them, RV and CD in a range: 'two trains rv:3-5 cd:4'",
    )
    command.add_argument("--source", action="store_true", help="the first rows of the source instead")
    command.add_argument("--report", action="store_true", help="what preparing dropped, and why")


def preview(context: Context, given: Namespace) -> int:
    if given.start < 0 or (given.count is not None and given.count < 1):
        raise SettingsError("--start must be 0 or more, and --count 1 or more")
    if given.row is not None and given.row < 1:
        raise SettingsError("--row must be 1 or more")
    if given.report:
        return _report(context, given.system)
    if given.source:
        return _source(context, given)
    return _prepared(context, given)


def _prepared(context: Context, given: Namespace) -> int:
    from qdl_engine.data.preview import RowFilter, find_rows, render_row
    from qdl_engine.preflight.rows import row_tokens

    lab, recipe = context.open_lab(), context.settings().recipe(given.system)
    found = find_rows(lab, given.system, RowFilter.parse(given.filter))
    start, count = (given.row - 1, 1) if given.row else (given.start, given.count or 3)
    rows = [
        render_row(number, row, given.system, recipe.system_prompt)
        for number, row in islice(found, start, start + count)
    ]
    if not rows:
        raise _nothing(lab, given.system, given.filter, start)
    tokens = row_tokens(lab, recipe.student, rows)
    longest = recipe.max_length
    shown = [{**row.to_dict(), "tokens": count.to_dict()} for row, count in zip(rows, tokens, strict=True)]
    texts = [
        f"{_head_of(row)}  {count.text(longest)}\n{_text_of(row)}"
        for row, count in zip(rows, tokens, strict=True)
    ]
    context.emit(
        {"system": given.system, "start": start, "max_length": longest, "rows": shown}, "\n\n".join(texts)
    )
    return 0


def _nothing(lab: Lab, system: Mode, words: str, start: int) -> DataError:
    from qdl_engine.data.files import prepared_file

    if prepared_file(lab, system) is None:
        qdl = f"qdl --lab {lab.word}"
        way = f"Prepare them: {qdl} prepare {system}\nTheir source: {qdl} preview {system} --source"
        return DataError(f"No prepared rows of {system}", way)
    unknown = _levels_nowhere(lab, system, words)
    if unknown:
        judge = f"Let a judge give chains their levels: qdl --lab {lab.word} score"
        return DataError(
            f"No prepared row of {system} has {unknown}, so {words!r} matches none",
            judge if system == "system2" else "Only the chains of system2 have levels.",
        )
    matching = f" that match {words!r}" if words else ""
    return DataError(f"No prepared rows of {system}{matching} from row {start + 1} on")


def _levels_nowhere(lab: Lab, system: Mode, words: str) -> str:
    """Which of the levels that a filter asks for no row has: `an RV`; empty when each is there."""
    from qdl_engine.data.preview import RowFilter, find_rows

    asked = RowFilter.parse(words)
    wanted = [name for name, bounds in (("rv", asked.rv), ("cd", asked.cd)) if bounds is not None]
    for _number, row in find_rows(lab, system, RowFilter()) if wanted else ():
        wanted = [name for name in wanted if row.get(name) is None]
        if not wanted:
            break
    return " or ".join({"rv": "an RV", "cd": "a CD"}[name] for name in wanted)


def _head_of(row: RenderedRow) -> str:
    levels = "".join(
        f"  {key.upper()} {row.row[key]}" for key in ("rv", "cd") if row.row.get(key) is not None
    )
    return f"--- row {row.number}  ({row.row.get('id', '')}){levels}"


def _text_of(row: RenderedRow) -> str:
    trained = row.trained or "(no answer yet: the teacher has to label it)"
    return row.prompt + "\n".join(f"▌{line}" for line in trained.splitlines())


def _source(context: Context, given: Namespace) -> int:
    """The raw rows go into the document as well: the app lays other mappings over them."""
    from qdl_engine.data.preview import map_head, read_head
    from qdl_engine.data.schemas import ROWS_TO_DETECT

    recipe = context.settings().recipe(given.system)
    head = read_head(context.open_lab(), recipe, given.count or ROWS_TO_DETECT)
    fields, problem = "", ""
    rows: list[MappedRow] = []
    try:
        fields, rows = map_head(head, recipe)
    except LabError as error:
        problem = str(error)
    value: dict[str, Any] = {
        "system": given.system,
        "fields": fields,
        "columns": head.columns,
        "problem": problem,
        "rows": [row.to_dict() for row in rows],
        "raw": head.to_dict(),
    }
    lines = [f"Source {head.source}: {fields or 'not recognised'}", "Columns:"]
    lines += [f"  {name}: {sample[:60]}" for name, sample in head.columns.items()]
    lines += [problem] if problem else []
    shown = "\n\n".join(_mapped_text(row) for row in rows)
    end = f"\n\nThe first {len(head.rows):,} rows of the source; more or fewer: --count N" if rows else ""
    context.emit(value, "\n".join(lines) + "\n" + shown + end)
    return DataError.exit_code if problem else 0


def _mapped_text(row: MappedRow) -> str:
    if row.rendered is None:
        return f"--- {row.place}  dropped, {row.dropped}"
    return f"--- {row.place}\n{_text_of(row.rendered)}"


def _report(context: Context, system: str) -> int:
    from qdl_engine.data.preview import read_report
    from qdl_engine.data.report import report_lines

    lab = context.open_lab()
    report = read_report(lab, system)
    if not report:
        raise DataError(f"No report of {system}", f"Prepare first: qdl --lab {lab.word} prepare {system}")
    context.emit(report, "\n".join(report_lines(report)))
    return 0
