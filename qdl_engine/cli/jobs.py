"""`prepare`, `label` and `train`: work that takes a while, here or as a detached run."""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from qdl_engine.cli.context import Context
from qdl_engine.cli.parser import Group, Parser
from qdl_engine.cli.progress import ProgressLine
from qdl_engine.core.errors import LabError
from qdl_engine.core.events import Event, EventSink, Note, Outcome, RuntimeChosen, append_event
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.systems import SYSTEMS

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.settings import LabSettings


def add_commands(group: Group) -> None:
    prepare_command = group.command(
        "prepare", prepare, "read, filter, sample and count the rows of a student"
    )
    prepare_command.add_argument("system", choices=SYSTEMS)
    label_command = group.command("label", label, "let the teacher write the answers of System 1's rows")
    train_command = group.command(
        "train",
        train,
        "train a student in a run that outlives this terminal",
        "Prepare (and label) what is missing, write the EasyDistill config, and train, in one detached run. "
        "Ctrl-C only stops watching it.",
    )
    train_command.add_argument("system", choices=SYSTEMS)
    train_command.add_argument(
        "--prepare", action="store_true", help="prepare the data anew, even if there are some"
    )
    for command in (prepare_command, label_command, train_command):
        add_run_options(command)


def add_run_options(command: Parser) -> None:
    command.add_argument(
        "--detach", action="store_true", help="do it in a run of its own, and return at once"
    )
    command.add_argument("--name", default="", help="what the list of runs calls it")
    # How a run calls `qdl` itself; not for people.
    command.add_argument("--in-run", action="store_true", help=argparse.SUPPRESS)
    command.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)


def prepare(context: Context, given: Namespace) -> int:
    lab, settings = context.open_lab(), context.settings()
    if given.detach:
        return detach(context, given, ["prepare", given.system])
    with progress_sink(given) as sink:
        report = prepare_data(lab, settings, given.system, sink)
    context.emit(report.to_dict(), report.table())
    return 0


def label(context: Context, given: Namespace) -> int:
    lab, settings = context.open_lab(), context.settings()
    if given.detach:
        return detach(context, given, ["label"])
    with progress_sink(given) as sink:
        try:
            report = label_data(lab, settings, sink)
        except KeyboardInterrupt:
            context.tell(f"What is answered stays. Go on: qdl --lab {lab.word} label")
            raise
        sink(Outcome(report.sentence()))
    context.emit(report.to_dict(), report.table())
    return 0


def train(context: Context, given: Namespace) -> int:
    from qdl_engine.cli.watching import follow
    from qdl_engine.training.command import check_runtime

    lab = context.open_lab()
    settings = context.settings()
    check_runtime(settings, given.system)
    if given.in_run:
        train_here(lab, settings, given.system, resume=given.resume, anew=given.prepare)
    arguments = ["train", given.system, *(["--prepare"] if given.prepare else [])]
    if given.detach:
        note = "" if given.prepare else data_as_it_is(lab, settings, given.system)
        return detach(context, given, arguments, note=note)
    return follow(context, _start(context, given, arguments))


def prepare_data(lab: Lab, settings: LabSettings, system: System, sink: EventSink) -> Any:
    from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset

    if system == "system1":
        return prepare_system1_dataset(lab, settings.system1, on_event=sink)
    return prepare_system2_dataset(lab, settings.system2, on_event=sink)


def label_data(lab: Lab, settings: LabSettings, sink: EventSink) -> Any:
    from qdl_engine.data.report import digest
    from qdl_engine.label.label import label_with_teacher

    report = label_with_teacher(lab, settings, mode=settings.system1.label_mode, on_event=sink)
    write_json_atomic(lab.labels_record, {"instructions": digest(lab.train_instructions)})
    return report


def ensure_data(
    lab: Lab, settings: LabSettings, system: System, sink: EventSink, *, anew: bool = False
) -> None:
    """Prepare and label what is not there yet; what is there is used as it is, unless asked for `anew`."""
    labels = system == "system1" and settings.system1.label
    note = "" if anew else data_as_it_is(lab, settings, system)
    if note:
        sink(Note(note))
    else:
        print(prepare_data(lab, settings, system, sink).table(), flush=True)
    if labels and not lab.train_labeled.is_file():
        print(label_data(lab, settings, sink).table(), flush=True)


def data_as_it_is(lab: Lab, settings: LabSettings, system: System) -> str:
    """That data of an earlier preparation are used, and in what they differ from the recipe; empty when there
    are none."""
    from qdl_engine.data.report import differences

    labels = system == "system1" and settings.system1.label
    prepared = lab.train_instructions if labels else lab.training_data(system)
    if not prepared.is_file():
        return ""
    what = f"Training on {lab.training_data(system).name}"
    if labels and not lab.train_labeled.is_file():
        what = f"The teacher answers {prepared.name}"
    try:
        changed = differences(read_json(lab.report_file(system)), settings.recipe(system).model_dump())
    except LabError:
        changed = []
    how = f" (prepared with other settings: {'; '.join(map(str, changed))})" if changed else ""
    anew = f"qdl --lab {lab.word} train {system} --prepare"
    return f"{what} as it is{how}; to prepare it anew: {anew}"


def train_here(
    lab: Lab, settings: LabSettings, system: System, *, resume: bool, anew: bool = False
) -> NoReturn:
    """The whole of training inside a run: its process becomes the runtime once the data is there.

    So the run has one process that can be stopped, one log, and no memory held by what came before.
    """
    from qdl_engine.config.write import write_system1_config, write_system2_config
    from qdl_engine.training.command import build_command

    with in_run_sink() as sink:
        config = config_of_this_run()
        if config is None or not (resume and config.is_file()):
            ensure_data(lab, settings, system, sink, anew=anew)
            write = write_system1_config if system == "system1" else write_system2_config
            config_id = None if config is None else _id_of(lab, config, system)
            config = write(lab, settings, config_id=config_id)
            resume = False
        # A run of EasyDistill 1.0 that comes here again never got as far as training.
        resume = resume and settings.runtime.kind == "builtin"
        sink(RuntimeChosen(settings.runtime.kind))
    command = build_command(config, settings.runtime, resume=resume)
    print("+", " ".join(command.argv), flush=True)
    os.chdir(command.cwd)
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})


def config_of_this_run() -> Path | None:
    """Where the run that we are in has its config; None outside one."""
    from qdl_engine.runs.store import load_record

    directory = os.environ.get("QDL_RUN_DIR")
    return load_record(Path(directory)).config if directory else None


def _id_of(lab: Lab, config: Path, system: System) -> str:
    """`config_file`, read backwards."""
    before, after = lab.config_file(system, "\0").name.split("\0")
    return config.name.removeprefix(before).removesuffix(after)


def _start(context: Context, given: Namespace, arguments: list[str]) -> Any:
    from qdl_engine.runs.launch import start_job

    for override in context.overrides:
        arguments += ["--set", override]
    return start_job(context.lab, arguments, name=given.name)


def detach(context: Context, given: Namespace, arguments: list[str], *, note: str = "") -> Literal[0]:
    """Start it in a run of its own; `note` is what the run will say first, to whoever does not watch it."""
    run = _start(context, given, arguments)
    context.emit(
        run.to_dict() | ({"note_on_data": note} if note else {}),
        (f"{note}\n" if note else "")
        + f"Run {run.id} is {run.state}.\nWatch it: qdl --lab {context.lab.word} attach {run.id}",
    )
    return 0


@contextmanager
def progress_sink(given: Namespace) -> Iterator[EventSink]:
    """Where progress goes: to the run's events inside a run, else to the terminal."""
    if given.in_run:
        with in_run_sink() as sink:
            yield sink
    else:
        with ProgressLine() as progress:
            yield progress


@contextmanager
def in_run_sink() -> Iterator[EventSink]:
    events = os.environ.get("QDL_EVENTS")
    with ProgressLine() as progress:

        def sink(event: Event) -> None:
            if events:
                append_event(Path(events), event)
            progress(event)

        yield sink
