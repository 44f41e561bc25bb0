"""`run`: any EasyDistill 1.x config of a text job, as a run on the built-in runtime."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from qdl_engine.cli.context import Context
from qdl_engine.cli.jobs import add_run_options, config_of_this_run, in_run_sink
from qdl_engine.cli.parser import SYSTEMS, Group
from qdl_engine.errors import LabBusyError
from qdl_engine.lab import Lab

if TYPE_CHECKING:
    from qdl_engine.easydistill.imported.config import Imported
    from qdl_engine.runs.store import Run
    from qdl_engine.settings import LabSettings

_DESCRIPTION = """\
Run an EasyDistill 1.x config here, in a run that outlives this terminal. Ctrl-C only stops watching it.

kd_black_box_train_only trains; kd_black_box_api and _local label first; cot_* and instruction_* make data;
cot_eval_api scores chains. Relative paths are taken from the config's own folder, or else from the current
directory. The run is kept in the lab of --lab, or in the one that the config lies in, or else in a small lab
beside the config, NAME-lab, which is made when it is not there."""


def add_commands(group: Group) -> None:
    command = group.command("run", run, "run an EasyDistill 1.x config of your own", _DESCRIPTION)
    command.add_argument("config", metavar="CONFIG.json", help="the config")
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
    from qdl_engine.easydistill.imported.config import read_foreign
    from qdl_engine.easydistill.imported.recipe import import_recipe
    from qdl_engine.toml import save_settings

    lab = context.open_lab()
    job = read_foreign(given.config)
    found = import_recipe(job, context.settings(), given.system, lab)
    if not given.dry_run:
        save_settings(lab, found.settings)
    value = {"file": str(lab.settings_file), "saved": not given.dry_run, "notes": list(job.notes)}
    lines = [f"{job.path.name} ({job.job_type}) as the recipe of {found.system}", ""]
    for item in found.mapped:
        lines.append(f"{item.setting} = {json.dumps(item.value, ensure_ascii=False)}  ({item.origin})")
    lines += ["", *(f"dropped: {item.key}: {item.why}" for item in found.dropped), *job.notes]
    lines += ["", f"{'Nothing is saved' if given.dry_run else 'Saved'}: {lab.settings_file}"]
    context.emit(value | found.to_dict(), "\n".join(lines))
    return 0


def run(context: Context, given: Namespace) -> int:
    from qdl_engine.cli.watching import follow
    from qdl_engine.easydistill.imported.config import read_foreign
    from qdl_engine.easydistill.imported.foreign import check_teacher

    job = read_foreign(given.config)
    if given.in_run:
        return _inside(context, job, resume=given.resume)
    lab = _lab_for(context, job.path)
    home = replace(context, lab=lab)
    # What would be refused later is refused now.
    notes = [*job.notes, *check_teacher(job, home.settings())]
    started = _start(home, job, given.name)
    for note in notes:
        context.tell(f"Note: {note}")
    if given.detach:
        text = f"Run {started.id} is {started.state}.\nWatch it: qdl --lab {lab.word} attach {started.id}"
        context.emit(started.to_dict(), text)
        return 0
    return follow(home, started)


def _lab_for(context: Context, config: Path) -> Lab:
    """The lab that keeps the run; a small one beside the config is made when there is none."""
    from qdl_engine.new_lab import make_lab

    if context.lab.settings_file.is_file():
        return context.lab
    if context.lab.root != Path.cwd():
        lab = context.lab
    else:
        around = [Lab(config.parent), Lab(config.parent.parent)]
        beside = Lab(config.with_name(f"{config.stem}-lab"))
        lab = next((place for place in around if place.settings_file.is_file()), beside)
    if not lab.settings_file.is_file():
        make_lab(lab)
        context.tell(f"Made a lab for its runs: {lab.root}")
    return lab


def _start(context: Context, job: Imported, name: str) -> Run:
    from qdl_engine.runs import delete_run
    from qdl_engine.runs.launch import python_command, start_run
    from qdl_engine.runs.store import create_run, save_run

    lab = context.lab
    words = ["--lab", str(lab.root), "run", str(job.path)]
    for override in context.overrides:
        words += ["--set", override]
    created = create_run(
        lab,
        "train" if job.trains else job.kind,
        system=job.extras.get("system"),
        argv=python_command("qdl_engine.cli", *words, "--in-run"),
        # Where the config's relative paths may start from.
        cwd=Path.cwd(),
        output_dir=job.output_dir,
        name=name or job.path.name,
    )
    created = replace(created, config=lab.configs / f"run_{created.id}.json")
    save_run(created)
    try:
        return start_run(created)
    except LabBusyError:
        delete_run(created)
        raise


def _inside(context: Context, job: Imported, *, resume: bool) -> int:
    """What the run's own process does."""
    from qdl_engine.easydistill.imported.foreign import judge_rows, make_rows

    lab, settings = context.lab, context.settings()
    if job.trains:
        _train(lab, settings, job, Path(os.environ["QDL_RUN_DIR"]), resume=resume)
    with in_run_sink() as sink:
        if job.kind == "judge":
            print(judge_rows(job, lab, settings, sink), flush=True)
        else:
            print(make_rows(job, lab, settings, sink).table(), flush=True)
    return 0


def _train(lab: Lab, settings: LabSettings, job: Imported, workspace: Path, *, resume: bool) -> NoReturn:
    """The run's process makes the config and then becomes the trainer: one process, one log."""
    from qdl_engine.easydistill.command import build_command
    from qdl_engine.easydistill.imported.foreign import make_ready

    with in_run_sink() as sink:
        config = config_of_this_run() or workspace / "config.json"
        if not (resume and config.is_file()):
            make_ready(job, lab, settings, workspace, config, sink)
            resume = False
    builtin = settings.runtime.model_copy(update={"kind": "builtin"})
    command = build_command(config, builtin, resume=resume)
    print("+", " ".join(command.argv), flush=True)
    os.chdir(command.cwd)
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})
