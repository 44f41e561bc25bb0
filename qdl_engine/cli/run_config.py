"""`run`: any EasyDistill 1.x config of a text job, as a run on the built-in runtime."""

from __future__ import annotations

import json
import os
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, config_of_this_run, follow, in_run_sink
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import LabBusyError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEMS

if TYPE_CHECKING:
    from qdl_engine.runs.store import Run
    from qdl_engine.settings import LabSettings
    from qdl_engine.upstream.foreign.job import ForeignJob

RUNTIMES = ("builtin", "easydistill")
_DESCRIPTION = """\
Run an EasyDistill 1.x config here, in a run that outlives this terminal. Ctrl-C only stops watching it.

kd_black_box_train_only trains; kd_black_box_api and _local label first; cot_* and instruction_* make data;
cot_eval_api scores chains. Relative paths are taken from the config's own folder, or else from the current
directory. The run belongs to the lab of --lab, or to the lab around the config; without either, qdl makes a
small lab beside the config, NAME-lab.

The built-in runtime trains. With --runtime easydistill the EasyDistill 1.0 that `qdl easydistill check`
remembers trains instead, and cannot resume. The lab asks the teachers in either case."""


def add_commands(group: Group) -> None:
    command = group.command("run", run, "run an EasyDistill 1.x config of your own", _DESCRIPTION)
    command.add_argument("config", metavar="CONFIG.json", help="the config")
    command.add_argument(
        "--runtime", choices=RUNTIMES, default="builtin", help="what trains (default: builtin)"
    )
    command.add_argument("--dry-run", action="store_true", help="say what it would do, and start nothing")
    add_run_options(command)


def add_import(group: Group) -> None:
    """`config import`."""
    command = group.command("import", import_config, "make a recipe of an EasyDistill 1.x config")
    command.add_argument("config", metavar="CONFIG.json", help="the config")
    command.add_argument(
        "--system",
        choices=SYSTEMS,
        help="which recipe (default: system2 when every row reasons, else system1)",
    )
    command.add_argument("--dry-run", action="store_true", help="show it, and save nothing")


def import_config(context: Context, given: Namespace) -> int:
    from qdl_engine.settings.toml import save_settings
    from qdl_engine.upstream.foreign.convert import import_recipe
    from qdl_engine.upstream.foreign.job import read_foreign

    lab = context.open_lab()
    job = read_foreign(given.config)
    found = import_recipe(job, context.settings(), given.system, lab)
    backup = ""
    if not given.dry_run:
        if any(item.changes for item in found.mapped):
            shutil.copyfile(lab.settings_file, lab.settings_backup)
            backup = str(lab.settings_backup)
        save_settings(lab, found.settings)
    value = {
        "file": str(lab.settings_file),
        "saved": not given.dry_run,
        "backup": backup or None,
        "notes": list(job.notes),
    }
    lines = [f"{job.path.name} ({job.job_type}) as the recipe of {found.system}", ""]
    for item in found.mapped:
        old, new = (json.dumps(text, ensure_ascii=False) for text in (item.was, item.value))
        change = f"{old} -> {new}" if item.changes else f"{new}, as before"
        lines.append(f"{item.setting}: {change}  ({item.origin})")
    lines += ["", *(f"dropped: {key}: {why}" for key, why in found.dropped.items()), *job.notes]
    lines += ["", f"{'Nothing is saved' if given.dry_run else 'Saved'}: {lab.settings_file}"]
    lines += [f"As it was before: {backup}"] if backup else []
    context.emit(value | found.to_dict(), "\n".join(lines))
    return 0


def run(context: Context, given: Namespace) -> int:
    from qdl_engine.config.model import check_builtin
    from qdl_engine.settings.toml import make_lab
    from qdl_engine.upstream.foreign.job import read_foreign
    from qdl_engine.upstream.foreign.make import check_teacher

    job = read_foreign(given.config)
    if given.in_run:
        return _inside(context, job, given.runtime, resume=given.resume)
    lab = _lab_for(context, job.path)
    job.check_outputs(lab)
    if given.runtime == "builtin":
        check_builtin(job.config.training, job.path)
    if given.dry_run:
        return _show(context, job, lab, given.runtime)
    if not lab.settings_file.is_file():
        make_lab(lab)
        context.tell(f"Made a lab for its runs: {lab.root}")
    home = replace(context, lab=lab)
    # Whatever cannot run is refused before the teacher is paid.
    notes = [*job.notes, *check_teacher(job, home.settings())]
    _check_trainer(job, home.settings(), given.runtime)
    started = _start(home, job, given)
    for note in notes:
        context.tell(f"Note: {note}")
    if given.detach:
        text = f"Run {started.id} is {started.state}.\nWatch it: qdl --lab {lab.word} attach {started.id}"
        context.emit(started.to_dict(), text)
        return 0
    return follow(home, started)


def _lab_for(context: Context, config: Path) -> Lab:
    """The lab that keeps the run: it need not be there yet."""
    if context.lab.settings_file.is_file() or context.lab.root != Path.cwd():
        return context.lab
    around = [Lab(config.parent), Lab(config.parent.parent)]
    beside = Lab(config.with_name(f"{config.stem}-lab"))
    return next((place for place in around if place.settings_file.is_file()), beside)


def _show(context: Context, job: ForeignJob, lab: Lab, runtime: str) -> int:
    """What a run would do; refused is what a run would be refused for."""
    from qdl_engine.settings import LabSettings
    from qdl_engine.settings.toml import apply_overrides
    from qdl_engine.upstream.foreign.convert import teacher_settings
    from qdl_engine.upstream.foreign.make import check_teacher

    there = lab.settings_file.is_file()
    settings = (
        replace(context, lab=lab).settings() if there else apply_overrides(LabSettings(), context.overrides)
    )
    notes = [*job.notes, *check_teacher(job, settings)]
    _check_trainer(job, settings, runtime)
    teacher = None if job.kind == "train" else teacher_settings(job, settings)[0]
    value = {
        "job": job.job_type,
        "kind": job.kind,
        "lab": str(lab.root),
        "reads": str(job.rows),
        "writes": None if job.written is None else str(job.written),
        "teacher": None if teacher is None else teacher.url or teacher.model,
        "student": job.student or None,
        "checkpoint": None if job.output_dir is None else str(job.output_dir),
        "runtime": runtime if job.trains else None,
    }
    lines = [f"{name:<12}{text}" for name, text in value.items() if text is not None]
    lines += [*(f"Note: {note}" for note in notes), "Nothing is started."]
    context.emit(value | {"notes": notes}, "\n".join(lines))
    return 0


def _check_trainer(job: ForeignJob, settings: LabSettings, runtime: str) -> None:
    """Refuse at once an EasyDistill 1.0 that is not there, or that the job has no use for."""
    from qdl_engine.training.command import locate

    if runtime == "builtin":
        return
    if not job.trains:
        raise SettingsError(
            f"{job.path}: {job.job_type} trains nothing, and --runtime easydistill only trains",
            "Leave --runtime out: the lab asks the teacher.",
        )
    locate(settings.runtime)


def _start(context: Context, job: ForeignJob, given: Namespace) -> Run:
    from qdl_engine.runs.edit import delete_run
    from qdl_engine.runs.launch import python_command, start_run
    from qdl_engine.runs.store import create_run, save_run

    lab = context.lab
    words = ["--lab", str(lab.root), "run", str(job.path), "--runtime", given.runtime]
    for override in context.overrides:
        words += ["--set", override]
    created = create_run(
        lab,
        "train" if job.trains else job.kind,
        system=job.config.qdl.system,
        argv=python_command("qdl_engine.cli", *words, "--in-run"),
        # Where the config's relative paths may start from.
        cwd=Path.cwd(),
        output_dir=job.output_dir,
        name=given.name or job.path.name,
    )
    created = replace(created, config=lab.configs / f"run_{created.id}.json")
    save_run(created)
    try:
        return start_run(created)
    except LabBusyError:
        delete_run(created)
        raise


def _inside(context: Context, job: ForeignJob, runtime: str, *, resume: bool) -> int:
    """What the run's own process does."""
    from qdl_engine.upstream.foreign.make import judge_rows, make_rows

    lab, settings = context.lab, context.settings()
    if job.trains:
        runtime_settings = settings.runtime.model_copy(update={"kind": runtime})
        settings = settings.model_copy(update={"runtime": runtime_settings})
        _train(lab, settings, job, Path(os.environ["QDL_RUN_DIR"]), resume=resume)
    with in_run_sink() as sink:
        if job.kind == "judge":
            print(judge_rows(job, lab, settings, sink), flush=True)
        else:
            print(make_rows(job, lab, settings, sink).table(), flush=True)
    return 0


def _train(lab: Lab, settings: LabSettings, job: ForeignJob, workspace: Path, *, resume: bool) -> NoReturn:
    """The run's process makes the config and then becomes the trainer: one process, one log."""
    from qdl_engine.training.command import build_command
    from qdl_engine.upstream.foreign.make import make_ready

    with in_run_sink() as sink:
        config = config_of_this_run() or workspace / "config.json"
        if not (resume and config.is_file()):
            make_ready(job, lab, settings, workspace, config, sink)
            resume = False
    command = build_command(config, settings.runtime, resume=resume)
    print("+", " ".join(command.argv), flush=True)
    os.chdir(command.cwd)
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})
