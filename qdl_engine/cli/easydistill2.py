"""`easydistill run`: a job of EasyDistill 2.x, started by us in shards."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, detach, in_run_sink
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.events import Note
from qdl_engine.core.words import two_columns
from qdl_engine.upstream.version2.options import INPUT_HELP, JOB_PURPOSES, OPTIONS, SHARD_ROWS, check_job

if TYPE_CHECKING:
    from qdl_engine.core.lab import Lab
    from qdl_engine.settings import LabSettings
    from qdl_engine.upstream.version2.configs import Job, Wish
    from qdl_engine.upstream.version2.find import Version2
    from qdl_engine.upstream.version2.report import Question

_PURPOSES = "\n".join(f"  {job:22} {purpose}" for job, purpose in JOB_PURPOSES.items())
_DESCRIPTION = f"""\
Let EasyDistill 2.x make data, by the server that [teacher] names (teacher.kind = "server"):
{_PURPOSES}
It is started shard by shard in a run that outlives this terminal; an interruption costs one shard, and the
same command again goes on. Rows are counted: no answer at all is a failure, whatever its exit code. Rows
without an answer are asked again at the end, and by the same command later; those still without one are named
in FILE_report.json beside the output."""


def add_run(group: Group) -> None:
    command = group.command("run", run, "let EasyDistill 2.x make data, shard by shard", _DESCRIPTION)
    command.add_argument("job", metavar="JOB", help=", ".join(JOB_PURPOSES))
    command.add_argument("input", metavar="FILE", help=INPUT_HELP)
    for option in OPTIONS:
        command.add_argument(
            option.flag,
            type=int if option is SHARD_ROWS else str,
            default=option.default,
            metavar=option.accepts,
            help=option.help,
        )
    command.add_argument(
        "--dry-run", action="store_true", help="show the first shard's config, and start nothing"
    )
    add_run_options(command)


def run(context: Context, given: Namespace) -> int:
    from qdl_engine.cli.watching import follow
    from qdl_engine.runs.launch import start_job
    from qdl_engine.upstream.version2.find import find_version2, remember

    check_job(given.job)
    lab, settings = context.open_lab(), context.settings()
    if given.shard_rows < 1:
        raise SettingsError(f"--shard-rows must be 1 or more, not {given.shard_rows}")
    path = Path(given.input).expanduser().absolute()
    output = Path(given.output).expanduser().absolute() if given.output else lab.data / f"{given.job}.jsonl"
    if given.in_run:
        return _inside(context, given, path, output)
    _check_output(lab, path, output)
    installation = find_version2(given.checkout, given.python)
    questions = _questions(path)
    wish = _wish(given.job, settings, questions)
    wish.check()
    if given.dry_run:
        return _show(context, given, wish, installation, questions, output)
    remember(installation)
    words = ["easydistill", "run", given.job, str(path), "--output", str(output)]
    words += ["--checkout", str(installation.checkout), "--python", installation.python]
    words += ["--shard-rows", str(given.shard_rows)]
    given.name = given.name or given.job
    if given.detach:
        return detach(context, given, words)
    for override in context.overrides:
        words += ["--set", override]
    return follow(context, start_job(lab, words, name=given.name))


def _check_output(lab: Lab, path: Path, output: Path) -> None:
    """Refuse an output that takes the place of the input, of the lab's own files, or of what others made."""
    from qdl_engine.models.outputs import check_output_file

    reports = (lab.label_report, lab.score_report, lab.report_file("system1"), lab.report_file("system2"))
    kept = [path, lab.settings_file, *reports]
    check_output_file(output, "--output", kept=kept)
    report = output.with_name(f"{output.stem}_report.json")
    check_output_file(report, "The report beside --output", kept=kept)
    if output.exists() and output.stat().st_size and not report.is_file():
        raise SettingsError(
            f"--output: {output} is there already, and no job of EasyDistill 2.x wrote it",
            "Name another file, or move that one away.",
        )


def _show(
    context: Context,
    given: Namespace,
    wish: Wish,
    installation: Version2,
    questions: list[Question],
    output: Path,
) -> int:
    """What a run would do: the config of its first shard, and how each shard is started."""
    from qdl_engine.upstream.version2.configs import ShardFiles, shard_config
    from qdl_engine.upstream.version2.shards import shards_home

    home = shards_home(context.lab, wish, questions, given.shard_rows)
    files = ShardFiles(home / "shard-00000")
    config = shard_config(wish, files)
    value = {
        "job": wish.job,
        "rows": len(questions),
        "shards": -(-len(questions) // given.shard_rows),
        "done": len(list(home.glob("shard-*"))),
        "output": str(output),
        "config": config,
        "command": shlex.join(installation.command(files.config)),
    }
    lines = [
        (name, f"{value[name]:,}" if name != "output" else str(output))
        for name in ("rows", "shards", "done", "output")
    ]
    text = (
        f"{two_columns(lines)}\n\n{json.dumps(config, ensure_ascii=False, indent=2)}\n\n$ {value['command']}"
    )
    context.emit(value, text)
    return 0


def _questions(path: Path) -> list[Question]:
    from qdl_engine.upstream.version2.questions import read_questions

    return read_questions(path)


def _wish(job: Job, settings: LabSettings, questions: list[Question]) -> Wish:
    from qdl_engine.upstream.version2.configs import wish_of

    return wish_of(job, settings, by_reference=all(answer for _, answer in questions))


def _inside(context: Context, given: Namespace, path: Path, output: Path) -> int:
    """What the run's own process does."""
    from qdl_engine.settings.address import read_key
    from qdl_engine.upstream.version2.find import Version2
    from qdl_engine.upstream.version2.shards import run_shards

    settings = context.settings()
    teacher = settings.teacher
    key_file = str(context.lab.root / teacher.api_key_file) if teacher.api_key_file else ""
    questions = _questions(path)
    with in_run_sink() as sink:
        report = run_shards(
            context.lab,
            Version2(Path(given.checkout), given.python),
            _wish(given.job, settings, questions),
            questions,
            key=read_key(teacher.api_key_env, key_file),
            output=output,
            shard_rows=given.shard_rows,
            on_event=sink,
        )
        left = f". {report.lost_text()}" if report.lost else ""
        sink(Note(f"Wrote {report.written:,} rows to {output}{left}"))
    print(report.table(), flush=True)
    return 0
