"""The command line of a runtime, and a run of it.

A list of arguments, never a shell: EasyDistill's own launcher quotes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.config.model import TrainConfig, check_config, read_config
from qdl_engine.config.write import new_config_id
from qdl_engine.core.errors import RunError, SettingsError
from qdl_engine.core.events import Event, EventSink, Finished, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.systems import System
from qdl_engine.models.checkpoint import check_place
from qdl_engine.runs.launch import start_run, wait_for
from qdl_engine.runs.record import UPSTREAM_SESSION
from qdl_engine.runs.store import Run, create_run
from qdl_engine.settings import LabSettings, RuntimeSettings
from qdl_engine.settings.arguments import LabLike, as_lab
from qdl_engine.settings.user import load_user_settings
from qdl_engine.upstream.find import CHECKOUT, HOME, TRAIN_SCRIPT, find_easydistill

_LAUNCH_OPTIONS = ("--num_machines", "1", "--dynamo_backend", "no", "--mixed_precision", "no")


@dataclass(frozen=True)
class Command:
    """What to start."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    """Only what is added to the environment."""
    cwd: Path = Path(".")


def build_command(config_path: Path, runtime: RuntimeSettings, *, resume: bool = False) -> Command:
    """The command that trains from `config_path`.

    Args:
        config_path: An EasyDistill 1.x config.
        runtime: Which runtime, interpreter and launcher.
        resume: Go on from the last checkpoint; only the built-in runtime can.

    Raises:
        SettingsError: when the chosen EasyDistill is not there, is no 1.x, or cannot resume.
    """
    config_path = config_path.expanduser().absolute()
    if runtime.kind == "easydistill":
        return _easydistill_command(config_path, runtime, resume)
    python = str(Path(runtime.python).expanduser()) if runtime.python else sys.executable
    env = _environment(runtime, python)
    arguments = ["--config", str(config_path), *(["--resume"] if resume else [])]
    if runtime.launcher == "accelerate":
        # The launched interpreter too must not import what lies beside the config.
        env["PYTHONSAFEPATH"] = "1"
        launch = ["-P", "-m", "qdl_engine.trainer.launch", *_LAUNCH_OPTIONS, "--module", "qdl_engine.trainer"]
        return Command([python, *launch, *arguments], env, config_path.parent)
    return Command([python, "-P", "-m", "qdl_engine.trainer", *arguments], env, config_path.parent)


def _environment(runtime: RuntimeSettings, python: str) -> dict[str, str]:
    env = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Spinning threads of two trainers on the same cores cost more than half of their speed.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if runtime.threads:
        env["OMP_NUM_THREADS"] = str(runtime.threads)
    if runtime.python:
        path = os.environ.get("PATH", os.defpath)
        env["PATH"] = os.pathsep.join([str(Path(python).absolute().parent), path])
    return env


def _easydistill_command(config_path: Path, runtime: RuntimeSettings, resume: bool) -> Command:
    """Our own session around 1.0: it needs our interpreter, and finds out what the other one has."""
    if resume:
        raise SettingsError("EasyDistill 1.0 has no resume", "Train again, or use runtime.kind = builtin.")
    place = locate(runtime)
    argv = [sys.executable, "-P", "-m", UPSTREAM_SESSION, "--config", str(config_path)]
    argv += ["--checkout", str(place.checkout), "--python", place.python]
    return Command(
        argv, _environment(RuntimeSettings(threads=runtime.threads), sys.executable), config_path.parent
    )


def check_runtime(settings: LabSettings, system: System) -> None:
    """Refuse, before data are prepared and labelled, what the chosen runtime cannot train.

    Raises:
        SettingsError: with what to do.
    """
    if settings.runtime.kind != "easydistill":
        return
    if settings.recipe(system).lora_rank:
        raise SettingsError(
            f"EasyDistill 1.0 has no LoRA, and {system}.lora_rank is {settings.recipe(system).lora_rank}",
            f"Set {system}.lora_rank = 0, or runtime.kind = builtin.",
        )
    locate(settings.runtime)


@dataclass(frozen=True)
class Place:
    """Where an EasyDistill 1.0 is, and what runs it."""

    checkout: Path
    python: str
    recorded: bool = False
    """Whether it is the one that `qdl easydistill check` found to work."""


def locate(runtime: RuntimeSettings) -> Place:
    """The EasyDistill 1.0 that the settings mean: named there, recorded by the user, or installed.

    Raises:
        SettingsError: when there is none, with the steps to get it.
    """
    record = load_user_settings().easydistill
    python = str(Path(runtime.python or record.python or sys.executable).expanduser().absolute())
    named = runtime.checkout or record.checkout
    if named:
        checkout = Path(named).expanduser().absolute()
        if not (checkout / TRAIN_SCRIPT).is_file():
            key = "runtime.checkout" if runtime.checkout else "The checkout that was checked"
            raise SettingsError(
                f"No EasyDistill 1.0 at {checkout}: it has no {TRAIN_SCRIPT}",
                f"{key} must be one: git clone -b 1.0 {HOME} {CHECKOUT}, "
                f"then qdl easydistill check {CHECKOUT}",
            )
        recorded = (named, runtime.python or record.python) == (record.checkout, record.python)
        return Place(checkout, python, recorded)
    found = find_easydistill(python)
    if found.kind == "1.x" and found.checkout is not None:
        return Place(found.checkout, python)
    raise SettingsError(f"No EasyDistill 1.x to train with: {found.explain()}", found.cure())


@dataclass(frozen=True)
class RunResult:
    """What became of a run."""

    run: Run
    output_dir: Path
    config: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    """The final metrics of the `finished` event; empty for a run that is not done or is not ours."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.run.id

    @property
    def state(self) -> str:
        """The run's final state."""
        return self.run.state

    @property
    def exit_code(self) -> int | None:
        """The process's exit code; None when it was lost."""
        return self.run.exit_code

    @property
    def message(self) -> str:
        """How it ended, in a sentence."""
        return self.run.message

    @property
    def hint(self) -> str:
        """What to do about it; empty after success."""
        return self.run.hint


def run_easy_distill(
    config: Path | str | Mapping[str, Any],
    *,
    lab: LabLike | None = None,
    runtime: str | RuntimeSettings = "builtin",
    wait: bool = True,
    on_event: EventSink = no_sink,
    name: str = "",
) -> RunResult:
    """Start the chosen runtime on a config, as a run that outlives this process.

    Args:
        config: A config's path, or the config itself, which is then written into the lab.
        lab: Where the run is kept, a lab or its directory; by default the lab the config lies in, or the
            output directory's parent.
        runtime: "builtin", "easydistill", or the runtime's settings.
        wait: Follow the run to its end. Interrupting the wait leaves the run alone.
        on_event: Takes the run's events while waiting.
        name: What the list of runs shows.

    Raises:
        SettingsError: when the config cannot be trained, before anything is started.
        ModelError: when its student is meant as a path and is no directory; nothing is started either.
        RunError: when the run failed; with the run's own message and hint.
    """
    given = None if lab is None else as_lab(lab)
    checked = _read(config, given)
    home = given or _home_of(checked)
    settings = _runtime(runtime)
    check_place(checked.student, "student", checked.path.parent)
    command = build_command(checked.path, settings)
    run = create_run(
        home, "train", system=checked.extras.system, argv=command.argv, env=command.env, cwd=command.cwd,
        config=checked.path, output_dir=checked.output_dir, name=name,
    )  # fmt: skip
    run = start_run(run)
    if not wait:
        return RunResult(run, checked.output_dir, checked.path)
    final: dict[str, Any] = {}

    def watch(event: Event) -> None:
        if isinstance(event, Finished):
            final.update(event.metrics)
        on_event(event)

    run = wait_for(run, watch)
    if run.state in ("failed", "lost"):
        raise RunError(
            run.message or f"Run {run.id} {run.state}", run.hint or f"Its output is in {run.log_file}"
        )
    return RunResult(run, checked.output_dir, checked.path, final)


def _read(config: Path | str | Mapping[str, Any], lab: Lab | None) -> TrainConfig:
    if not isinstance(config, Mapping):
        return read_config(config)
    raw = dict(config)
    checked = check_config(raw, Path("config"))
    home = lab or _home_of(checked)
    path = home.config_file(checked.extras.system or "system1", new_config_id())
    write_json_atomic(path, raw)
    return read_config(path)


def _home_of(config: TrainConfig) -> Lab:
    beside = Lab.at(config.path.parent.parent)
    return beside if beside.settings_file.is_file() else Lab.at(config.output_dir.parent)


def _runtime(runtime: str | RuntimeSettings) -> RuntimeSettings:
    if isinstance(runtime, RuntimeSettings):
        return runtime
    if runtime == "builtin":
        return RuntimeSettings(kind="builtin")
    if runtime == "easydistill":
        return RuntimeSettings(kind="easydistill")
    raise SettingsError(f"Unknown runtime: {runtime!r}", 'Use runtime="builtin" or runtime="easydistill".')
