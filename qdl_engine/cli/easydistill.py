"""`easydistill check` and `easydistill run`: your own EasyDistill, for training (1.0) or data (2.x)."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, detach, follow, in_run_sink, start
from qdl_engine.cli.parser import Group
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.events import Note
from qdl_engine.core.words import two_columns
from qdl_engine.upstream.version2 import INPUT_HELP, JOBS, OPTIONS, check_job

if TYPE_CHECKING:
    from qdl_engine.core.lab import Lab
    from qdl_engine.upstream.version2 import Request, Version2

_CHECK = """\
Prove that a checkout of EasyDistill 1.0 and a Python interpreter work together: find its version and commit,
check the packages that it needs, and train a tiny student for ten steps. Your settings remember a pair that
works, and runtime.kind = "easydistill" uses it wherever runtime.checkout and runtime.python are empty."""
_PURPOSES = "\n".join(f"  {job:22} {purpose}" for job, purpose in JOBS.items())
_RUN = f"""\
Make data with EasyDistill 2.x and the server that [teacher] names (teacher.kind = "server"):
{_PURPOSES}
The job runs detached from this terminal. EasyDistill writes its answers at the end, so an interruption loses
those of the current call. The same command again asks only the questions that still have no answer;
FILE_report.json beside the output lists them. A job without any answer fails, whatever its exit code."""


def add_commands(group: Group) -> None:
    """Add `easydistill` and its two commands."""
    inner = group.group("easydistill", "check and use your own EasyDistill")
    command = inner.command("check", check, "prove that an EasyDistill 1.0 trains, and remember it", _CHECK)
    command.add_argument("checkout", metavar="CHECKOUT", help="a git checkout of branch 1.0")
    command.add_argument(
        "--python", default="", help="the interpreter to run it with (default: CHECKOUT/.venv/bin/python)"
    )
    command = inner.command("run", run, "make data with EasyDistill 2.x", _RUN)
    command.add_argument("job", metavar="JOB", help=", ".join(JOBS))
    command.add_argument("input", metavar="FILE", help=INPUT_HELP)
    for name, text in OPTIONS.items():
        command.add_argument(f"--{name}", default="", metavar="PATH", help=text)
    command.add_argument("--dry-run", action="store_true", help="show the config and start nothing")
    add_run_options(command)


def check(context: Context, given: Namespace) -> int:
    from qdl_engine.lab_state.easydistill_check import check_easydistill

    with ProgressLine() as progress:
        report = check_easydistill(Path(given.checkout), given.python, on_event=progress)
    context.emit(report.to_dict(), report.table())
    return 0 if report.works else 1


def run(context: Context, given: Namespace) -> int:
    from qdl_engine.upstream.version2 import Version2, find_version2, remember, request_of
    from qdl_engine.upstream.version2_run import read_questions

    check_job(given.job)
    lab, settings = context.open_lab(), context.settings()
    path = Path(given.input).expanduser().absolute()
    output = Path(given.output).expanduser().absolute() if given.output else lab.data / f"{given.job}.jsonl"
    if given.in_run:
        questions = read_questions(path)
        request = request_of(given.job, settings)
        return _inside(context, Version2(Path(given.checkout), given.python), request, questions, output)
    _check_output(lab, path, output)
    installation = find_version2(given.checkout, given.python)
    questions = read_questions(path)
    request = request_of(given.job, settings)
    if given.dry_run:
        return _show(context, installation, request, questions, output)
    remember(installation)
    words = ["easydistill", "run", given.job, str(path), "--output", str(output)]
    words += ["--checkout", str(installation.checkout), "--python", installation.python]
    given.name = given.name or given.job
    if given.detach:
        return detach(context, given, words)
    return follow(context, start(context, given, words))


def _check_output(lab: Lab, path: Path, output: Path) -> None:
    """Refuse an output that would replace the input, a file of the lab, or a file that another tool wrote."""
    from qdl_engine.models.outputs import check_output_file
    from qdl_engine.upstream.version2_run import report_file

    reports = (lab.label_report, lab.score_report, lab.report_file("system1"), lab.report_file("system2"))
    kept = [path, lab.settings_file, *reports]
    check_output_file(output, "--output", kept=kept)
    check_output_file(report_file(output), "The report beside --output", kept=kept)
    if output.exists() and output.stat().st_size and not report_file(output).is_file():
        raise SettingsError(
            f"--output: {output} exists, and EasyDistill 2.x did not write it",
            "Name another file, or move that one away.",
        )


def _show(
    context: Context,
    installation: Version2,
    request: Request,
    questions: list[str],
    output: Path,
) -> int:
    """Show what a run would do: the config for the unanswered questions, and the command that uses it."""
    from qdl_engine.upstream.version2 import CONFIG, config_of
    from qdl_engine.upstream.version2_run import calls_home, count_answered

    folder = calls_home(context.lab, request) / "call-NEW"
    config = config_of(request, folder)
    answered = count_answered(context.lab, request, questions)
    command = shlex.join(installation.command(folder / CONFIG))
    value = {
        "job": request.job,
        "rows": len(questions),
        "answered": answered,
        "output": str(output),
        "config": config,
        "command": command,
    }
    figures = [("rows", f"{len(questions):,}"), ("answered", f"{answered:,}"), ("output", str(output))]
    shown = json.dumps(config, ensure_ascii=False, indent=2)
    context.emit(value, f"{two_columns(figures)}\n\n{shown}\n\n$ {command}")
    return 0


def _inside(
    context: Context,
    installation: Version2,
    request: Request,
    questions: list[str],
    output: Path,
) -> int:
    """Make the data, inside the run's own process."""
    from qdl_engine.settings.address import read_key
    from qdl_engine.upstream.version2_run import make_data

    teacher = context.settings().teacher
    key_file = str(context.lab.root / teacher.api_key_file) if teacher.api_key_file else ""
    with in_run_sink() as sink:
        report = make_data(
            context.lab,
            installation,
            request,
            questions,
            key=read_key(teacher.api_key_env, key_file),
            output=output,
            on_event=sink,
        )
        lost = f". {report.lost_text}" if report.lost else ""
        sink(Note(f"Wrote {report.written:,} rows to {output}{lost}"))
    print(report.table(), flush=True)
    return 0
