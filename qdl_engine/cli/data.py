"""`prepare`, `label`, `score` and `preview`: the data that a student learns from."""

from __future__ import annotations

from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, detach, progress_sink
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.events import EventSink, Outcome
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.systems import SYSTEMS, System

if TYPE_CHECKING:
    from qdl_engine.core.prompts import Mode
    from qdl_engine.data.preview import MappedRow, RenderedRow
    from qdl_engine.data.report import PrepareReport
    from qdl_engine.label.report import LabelReport
    from qdl_engine.settings import LabSettings

_SCORE = """\
Have a judge rate the Reasoning Verbosity (RV) and Cognitive Difficulty (CD) of chains without these levels;
the recipe can then filter by them. The judge is the lab's teacher; --set chooses another, such as
--set teacher.model=Qwen/QwQ-32B. Without a FILE, qdl scores the prepared chains of System 2. An interrupted
scoring resumes at the row where it stopped."""
_PREVIEW = """\
Show prepared rows as the student sees them: the prompt, then the trained part behind bars.

With --source, show the first rows of the source through the mapping, before you prepare anything. To try a
mapping, add --set system1.fields=mapping --set system1.mapping.instruction=COLUMN. A data set on the hub is
read over the network."""


def add_commands(group: Group) -> None:
    """Add the four commands."""
    command = group.command("prepare", prepare, "read, filter, sample and count a student's rows")
    command.add_argument("system", choices=SYSTEMS)
    add_run_options(command)
    command = group.command("label", label, "generate System 1 answers with the teacher")
    add_run_options(command)
    command = group.command("score", score, "have a judge rate the RV and CD levels of chains", _SCORE)
    command.add_argument("file", nargs="?", help="the chains to score (default: the prepared ones)")
    command.add_argument(
        "--output", metavar="FILE", help="where to write them (default: the lab's data/scored_chains.jsonl)"
    )
    command.add_argument("--everything", action="store_true", help="also score chains that have levels")
    add_run_options(command)
    command = group.command(
        "preview", preview, "show rows as the student sees them, prepared or through a mapping", _PREVIEW
    )
    command.add_argument("system", choices=SYSTEMS)
    command.add_argument("--start", type=int, default=0, metavar="N", help="rows to skip (default: 0)")
    command.add_argument(
        "--count", type=int, metavar="N", help="rows to show (default: 3; with --source: 20)"
    )
    command.add_argument("--row", type=int, metavar="N", help="only this row, counted from 1 as in the app")
    command.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="only rows that contain a text, with RV and CD in a range: 'two trains rv:3-5 cd:4'",
    )
    command.add_argument("--source", action="store_true", help="the first rows of the source instead")
    command.add_argument("--report", action="store_true", help="which rows were dropped, and why")


def prepare(context: Context, given: Namespace) -> int:
    lab, settings = context.open_lab(), context.settings()
    if given.detach:
        return detach(context, given, ["prepare", given.system])
    with progress_sink(given) as sink:
        report = prepare_data(lab, settings, given.system, sink)
    context.emit(report.to_dict(), report.table())
    return 0


def prepare_data(lab: Lab, settings: LabSettings, system: System, sink: EventSink) -> PrepareReport:
    """Prepare the rows of one student."""
    from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset

    if system == "system1":
        return prepare_system1_dataset(lab, settings.system1, on_event=sink)
    return prepare_system2_dataset(lab, settings.system2, on_event=sink)


def label(context: Context, given: Namespace) -> int:
    lab, settings = context.open_lab(), context.settings()
    if given.detach:
        return detach(context, given, ["label"])
    with progress_sink(given) as sink:
        try:
            report = label_data(lab, settings, sink)
        except KeyboardInterrupt:
            context.tell(f"The finished answers are kept. Resume: qdl --lab {lab.word} label")
            raise
        sink(Outcome(report.sentence()))
    context.emit(report.to_dict(), report.table())
    return 0


def label_data(lab: Lab, settings: LabSettings, sink: EventSink) -> LabelReport:
    """Label the rows of System 1, and record which instructions the labels answer."""
    from qdl_engine.data.report import digest
    from qdl_engine.label.label import label_with_teacher

    report = label_with_teacher(lab, settings, mode=settings.system1.label_mode, on_event=sink)
    write_json_atomic(lab.labels_record, {"instructions": digest(lab.train_instructions)})
    return report


def score(context: Context, given: Namespace) -> int:
    from qdl_engine.label.score import score_chains

    lab, settings = context.open_lab(), context.settings()
    source = Path(given.file).expanduser().absolute() if given.file else None
    output = Path(given.output).expanduser().absolute() if given.output else None
    if given.detach:
        words = ["score", *([str(source)] if source else [])]
        words += ["--output", str(output)] if output else []
        words += ["--everything"] if given.everything else []
        return detach(context, given, words)
    with progress_sink(given) as sink:
        report = score_chains(
            lab, settings, source=source, output=output, everything=given.everything, on_event=sink
        )
        sink(Outcome(report.sentence()))
    relative = Path(report.output)
    relative = relative.relative_to(lab.root) if relative.is_relative_to(lab.root) else relative
    following = f"Next: qdl --lab {lab.word} config set system2.source={relative} system2.rv_min=..."
    context.emit(report.to_dict(), f"{report.table()}\n{following}")
    return 0


def preview(context: Context, given: Namespace) -> int:
    if given.start < 0 or (given.count is not None and given.count < 1):
        raise SettingsError("--start must be 0 or more, and --count 1 or more")
    if given.row is not None and given.row < 1:
        raise SettingsError("--row must be 1 or more")
    if given.report:
        return _preview_report(context, given.system)
    if given.source:
        return _preview_source(context, given)
    return _preview_prepared(context, given)


def _preview_prepared(context: Context, given: Namespace) -> int:
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
    """Why no row can be shown, and what to do about it."""
    from qdl_engine.data.files import prepared_file

    if prepared_file(lab, system) is None:
        qdl = f"qdl --lab {lab.word}"
        way = f"Prepare them: {qdl} prepare {system}\nShow their source: {qdl} preview {system} --source"
        return DataError(f"No prepared rows of {system}", way)
    unknown = _levels_nowhere(lab, system, words)
    if unknown:
        judge = f"Have a judge rate them: qdl --lab {lab.word} score"
        return DataError(
            f"No prepared row of {system} has {unknown}, so {words!r} matches none",
            judge if system == "system2" else "Only system2 chains have levels.",
        )
    matching = f" that match {words!r}" if words else ""
    return DataError(f"No prepared rows of {system}{matching} from row {start + 1} on")


def _levels_nowhere(lab: Lab, system: Mode, words: str) -> str:
    """The levels that a filter uses and no row has: `an RV or a CD`; empty when some row has each."""
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
    trained = row.trained or "(no answer yet: qdl label generates it)"
    return row.prompt + "\n".join(f"▌{line}" for line in trained.splitlines())


def _preview_source(context: Context, given: Namespace) -> int:
    """Show a source through its mapping; as JSON also its raw rows, on which the app tries mappings."""
    from qdl_engine.data.preview import map_head, read_head
    from qdl_engine.data.schemas import ROWS_TO_DETECT

    lab, recipe = context.open_lab(), context.settings().recipe(given.system)
    head = read_head(lab, recipe, given.count or ROWS_TO_DETECT)
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
    end = f"\n\nThe first {len(head.rows):,} rows of the source. For more or fewer: --count N" if rows else ""
    context.emit(value, "\n".join(lines) + "\n" + shown + end)
    return DataError.exit_code if problem else 0


def _mapped_text(row: MappedRow) -> str:
    if row.rendered is None:
        return f"--- {row.place}  dropped, {row.dropped}"
    return f"--- {row.place}\n{_text_of(row.rendered)}"


def _preview_report(context: Context, system: str) -> int:
    from qdl_engine.data.preview import read_report
    from qdl_engine.data.report import report_lines

    lab = context.open_lab()
    report = read_report(lab, system)
    if not report:
        raise DataError(f"No report for {system}", f"Prepare first: qdl --lab {lab.word} prepare {system}")
    context.emit(report, "\n".join(report_lines(report)))
    return 0
