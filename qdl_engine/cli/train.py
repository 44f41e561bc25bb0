"""`train`: prepare and label what is missing, write the config, and train, in one detached run."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from qdl_engine.cli.context import Context
from qdl_engine.cli.data import label_data, prepare_data
from qdl_engine.cli.jobs import add_run_options, config_of_this_run, detach, follow, in_run_sink, start
from qdl_engine.cli.parser import Group
from qdl_engine.core.errors import LabError
from qdl_engine.core.events import EventSink, Note, RuntimeChosen
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.core.systems import SYSTEMS, System

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings


def add_commands(group: Group) -> None:
    """Add `train`."""
    command = group.command(
        "train",
        train,
        "train a student in a run that outlives this terminal",
        "Prepare (and label) what is missing, write the EasyDistill config, and train, all in one run. "
        "Ctrl-C stops watching, not the run.",
    )
    command.add_argument("system", choices=SYSTEMS)
    command.add_argument("--prepare", action="store_true", help="prepare the data again, even if it exists")
    add_run_options(command)


def train(context: Context, given: Namespace) -> int:
    from qdl_engine.training.command import check_runtime

    lab, settings = context.open_lab(), context.settings()
    check_runtime(settings, given.system)
    if given.in_run:
        train_here(lab, settings, given.system, resume=given.resume, again=given.prepare)
    words = ["train", given.system, *(["--prepare"] if given.prepare else [])]
    if given.detach:
        note = "" if given.prepare else data_as_it_is(lab, settings, given.system)
        return detach(context, given, words, note=note)
    return follow(context, start(context, given, words))


def ensure_data(
    lab: Lab, settings: LabSettings, system: System, sink: EventSink, *, again: bool = False
) -> None:
    """Prepare and label what is not there yet; existing data is used as it is, unless `again`."""
    labels = system == "system1" and settings.system1.label
    note = "" if again else data_as_it_is(lab, settings, system)
    if note:
        sink(Note(note))
    else:
        print(prepare_data(lab, settings, system, sink).table(), flush=True)
    if labels and not lab.train_labeled.is_file():
        print(label_data(lab, settings, sink).table(), flush=True)


def data_as_it_is(lab: Lab, settings: LabSettings, system: System) -> str:
    """A sentence about the data prepared earlier: how its settings differ from the recipe, and how to prepare
    it again. Empty when there is none."""
    from qdl_engine.data.report import differences

    labels = system == "system1" and settings.system1.label
    prepared = lab.train_instructions if labels else lab.training_data(system)
    if not prepared.is_file():
        return ""
    what = f"Training on the prepared {lab.training_data(system).name}"
    if labels and not lab.train_labeled.is_file():
        what = f"The teacher answers the prepared {prepared.name}"
    try:
        changed = differences(read_json(lab.report_file(system)), settings.recipe(system).model_dump())
    except LabError:
        changed = []
    how = f", made with other settings: {'; '.join(map(str, changed))}" if changed else ""
    return f"{what}{how}. To prepare it again: qdl --lab {lab.word} train {system} --prepare"


def train_here(
    lab: Lab, settings: LabSettings, system: System, *, resume: bool, again: bool = False
) -> NoReturn:
    """Train inside a run: its process becomes the runtime once the data is ready.

    So the run has one process to stop and one log, and training starts with none of the memory of the
    preparation.
    """
    from qdl_engine.config.write import write_system1_config, write_system2_config
    from qdl_engine.training.command import build_command

    with in_run_sink() as sink:
        config = config_of_this_run()
        if config is None or not (resume and config.is_file()):
            ensure_data(lab, settings, system, sink, again=again)
            write = write_system1_config if system == "system1" else write_system2_config
            config_id = None if config is None else _id_of(lab, config, system)
            config = write(lab, settings, config_id=config_id)
            resume = False
        # A resumed run of EasyDistill 1.0 that reaches this line was stopped before its training began.
        resume = resume and settings.runtime.kind == "builtin"
        sink(RuntimeChosen(settings.runtime.kind))
    command = build_command(config, settings.runtime, resume=resume)
    print("+", " ".join(command.argv), flush=True)
    os.chdir(command.cwd)
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})


def _id_of(lab: Lab, config: Path, system: System) -> str:
    """The id in a config's name: the inverse of `Lab.config_file`."""
    before, after = lab.config_file(system, "\0").name.split("\0")
    return config.name.removeprefix(before).removesuffix(after)
