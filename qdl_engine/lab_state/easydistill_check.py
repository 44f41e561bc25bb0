"""Whether a checkout of EasyDistill 1.0 and an interpreter work together: examined, then tried.

The trial trains the demo's tiny student for ten steps in the way that a run of a lab does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.events import Event, EventSink, Failed, Finished, Metrics, Progress, from_json, no_sink
from qdl_engine.core.words import printable
from qdl_engine.runs.process import signal_group
from qdl_engine.runs.record import UPSTREAM_SESSION
from qdl_engine.settings.user import EasyDistillRecord, load_user_settings, save_user_settings
from qdl_engine.upstream.find import (
    PINS,
    TRAIN_SCRIPT,
    Interpreter,
    changed_files,
    commit_of,
    kind_of,
    probe,
    steps_to_get_one,
)

Version = Literal["1.0", "2.x", "placeholder", "not EasyDistill"]

RELEASE = "acbe49b"
"""Tag v1.0.0, the last commit of branch 1.0."""
STEPS = 10
_ROWS = 40
_SECONDS = 900
_KEPT_OUT = ("QDL_RUN_DIR", "QDL_EVENTS")


@dataclass(frozen=True)
class CheckReport:
    """What was found, and what to do."""

    checkout: Path
    version: Version
    commit: str
    changed: tuple[str, ...]
    """Tracked files that differ from the commit."""
    interpreter: Interpreter
    trial: Trial | None = None
    """None where the check failed before the trial."""
    problem: str = ""
    """Why it does not work; empty where it does."""
    steps: tuple[str, ...] = ()
    """What a person types next."""
    notes: tuple[str, ...] = ()
    recorded: Path | None = None
    """The file of the user's settings that names it now."""

    @property
    def works(self) -> bool:
        """Whether a training with it can start."""
        return not self.problem

    def to_dict(self) -> dict[str, Any]:
        found = self.interpreter
        return {
            "works": self.works,
            "problem": self.problem,
            "steps": list(self.steps),
            "notes": list(self.notes),
            "checkout": str(self.checkout),
            "version": self.version,
            "commit": self.commit,
            "changed": list(self.changed),
            "python": found.python,
            "python_version": found.version,
            "versions": found.versions,
            "missing": list(found.missing),
            "gpus": list(found.gpus),
            "trial": None if self.trial is None else asdict(self.trial),
            "recorded": None if self.recorded is None else str(self.recorded),
        }

    def table(self) -> str:
        """All of it as plain text."""
        interpreter = self.interpreter
        found = ", ".join(f"{name} {version}" for name, version in interpreter.versions.items())
        lines = [f"checkout     {self.checkout}", f"version      {self._version_text()}"]
        if self.version == "1.0":
            lines.append(f"interpreter  {interpreter.python} (Python {interpreter.version or 'unknown'})")
            lines += [
                f"packages     {found or 'none'}",
                f"gpus         {', '.join(interpreter.gpus) or 'none'}",
            ]
        if self.trial is not None:
            lines.append(f"trial        {self.trial.text()}")
        lines += [f"note         {note}" for note in self.notes]
        if self.works:
            lines += [
                f"recorded     {self.recorded}",
                'It works. Train with it: runtime.kind = "easydistill".',
            ]
        else:
            lines += [f"It does not work: {self.problem}", *(f"  {step}" for step in self.steps)]
        return printable("\n".join(lines))

    def _version_text(self) -> str:
        if self.version != "1.0":
            return self.version
        if not self.commit:
            return "1.0, no git checkout: its commit is unknown"
        at = "v1.0.0" if self.commit.startswith(RELEASE) else "not the release"
        changed = f", changed: {', '.join(self.changed[:5])}" if self.changed else ", as committed"
        return f"1.0, commit {self.commit[:7]} ({at}){changed}"


def check_easydistill(checkout: Path, python: str = "", *, on_event: EventSink = no_sink) -> CheckReport:
    """Examine both, try them, and record them in the user's settings if they work.

    Args:
        checkout: A directory, which should be a checkout of branch 1.0.
        python: The interpreter to run it with; by default the checkout's own `.venv`.
        on_event: Takes progress.

    Raises:
        SettingsError: when the user's settings cannot be read; nothing is recorded then.
    """
    checkout = checkout.expanduser().absolute()
    own = checkout / ".venv/bin/python"
    program = str(Path(python).expanduser().absolute()) if python else str(own)
    version = version_of(checkout)
    if version != "1.0":
        nothing = Interpreter(program)
        problem, steps = _wrong_checkout(checkout, version)
        return CheckReport(checkout, version, commit_of(checkout), (), nothing, problem=problem, steps=steps)
    # Before the minute that the trial takes.
    load_user_settings()
    on_event(Progress(stage="look", done=0, unit="packages"))
    interpreter = probe(program)
    commit, changed = commit_of(checkout), tuple(changed_files(checkout))
    report = CheckReport(checkout, "1.0", commit, changed, interpreter)
    if not interpreter.usable:
        problem, steps = _wrong_interpreter(checkout, interpreter, own.exists() or bool(python))
        return replace(report, problem=problem, steps=steps)
    trial = run_trial(checkout, interpreter, on_event=on_event)
    report = replace(report, trial=trial, notes=_notes(interpreter))
    if trial.problem:
        return replace(report, problem=trial.problem, steps=(trial.hint,) if trial.hint else ())
    return replace(report, recorded=_record(checkout, interpreter, commit))


def version_of(checkout: Path) -> Version:
    """Which EasyDistill a directory is a checkout of, by its files: the declared version does not tell."""
    kind = kind_of(checkout / "easydistill")
    if kind == "1.x":
        return "1.0" if (checkout / TRAIN_SCRIPT).is_file() else "placeholder"
    return "not EasyDistill" if kind == "missing" else kind


def _wrong_checkout(checkout: Path, version: Version) -> tuple[str, tuple[str, ...]]:
    word = shlex.quote(str(checkout))
    if version == "2.x":
        return "EasyDistill 2.x makes data and cannot train", (
            f"git -C {word} worktree add {shlex.quote(f'{checkout}-1.0')} 1.0",
            f"qdl easydistill check {shlex.quote(f'{checkout}-1.0')} --python PYTHON",
        )
    if version == "placeholder":
        problem = f"there is no {TRAIN_SCRIPT}: the package index's easydistill is an empty placeholder"
        return problem, steps_to_get_one()
    if kind_of(checkout) == "1.x":
        parent = shlex.quote(str(checkout.parent))
        return "this is the package inside the checkout", (f"qdl easydistill check {parent} --python PYTHON",)
    return f"there is no EasyDistill at {checkout}", steps_to_get_one(word)


def _wrong_interpreter(checkout: Path, interpreter: Interpreter, named: bool) -> tuple[str, tuple[str, ...]]:
    again = f"qdl easydistill check {shlex.quote(str(checkout))} --python {shlex.quote(interpreter.python)}"
    if interpreter.missing:
        lacks = f"{interpreter.python} lacks {', '.join(interpreter.missing)}"
        return lacks, (interpreter.install_command(), again)
    problem = f"{interpreter.python}: {interpreter.problem}" if named else "no interpreter is given"
    return problem, steps_to_get_one(shlex.quote(str(checkout)))[1:]


def _notes(interpreter: Interpreter) -> tuple[str, ...]:
    notes = [
        f"EasyDistill 1.0 asks for {name} {wanted}; this is {found}"
        for name, wanted in PINS.items()
        if (found := interpreter.versions.get(name, "")) not in ("", wanted)
    ]
    if len(interpreter.gpus) > 1 and not interpreter.deepspeed:
        notes.append("without deepspeed each GPU holds a whole copy of the student's optimizer")
    if "vllm" not in interpreter.versions:
        notes.append("without vllm EasyDistill's own generation jobs do not run; here qdl run does them")
    return tuple(notes)


def _record(checkout: Path, interpreter: Interpreter, commit: str) -> Path:
    settings = load_user_settings()
    settings.easydistill = EasyDistillRecord(
        python=interpreter.python,
        checkout=str(checkout),
        version="1.0",
        commit=commit,
        checked=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return save_user_settings(settings)


@dataclass(frozen=True)
class Trial:
    """How a trial went."""

    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    """Empty where the trial left a checkpoint that loads."""
    hint: str = ""

    def text(self) -> str:
        """The result in one line."""
        if self.problem:
            return f"failed after {len(self.losses)} steps"
        return f"{len(self.losses)} steps in {self.seconds:.0f} s, and a checkpoint that loads"


def run_trial(checkout: Path, interpreter: Interpreter, *, on_event: EventSink = no_sink) -> Trial:
    """Train ten steps in a temporary directory, which stays only where something goes wrong."""
    on_event(Progress(stage="trial", done=0, total=STEPS, unit="steps"))
    directory = Path(tempfile.mkdtemp(prefix="qdl-trial-"))
    config = _write_config(directory)
    events = directory / "events.jsonl"
    command = [sys.executable, "-P", "-m", UPSTREAM_SESSION, "--config", str(config)]
    command += ["--checkout", str(checkout), "--python", interpreter.python]
    environment = {key: value for key, value in os.environ.items() if key not in _KEPT_OUT}
    with open(directory / "output.log", "wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
            env={**environment, "QDL_EVENTS": str(events)}, start_new_session=True,
        )  # fmt: skip
        try:
            child.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return Trial(problem=f"the trial did not end within {_SECONDS} s", hint=f"Its output: {log.name}")
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            # The group has both the launcher and the training that it started.
            signal_group(child.pid, signal.SIGKILL)
            child.wait()
    trial = _judge(_read(events), Path(log.name))
    if not trial.problem:
        shutil.rmtree(directory, ignore_errors=True)
    return trial


def _write_config(directory: Path) -> Path:
    from qdl_engine.config.write import write_system1_config
    from qdl_engine.core.lab import Lab
    from qdl_engine.demo.lab import BASE_STUDENT
    from qdl_engine.demo.world import distilqwen_rows, system1_samples, write_jsonl
    from qdl_engine.settings import LabSettings, System1Settings

    lab = Lab.at(directory)
    lab.create_directories()
    write_jsonl(lab.train_labeled, distilqwen_rows(system1_samples(_ROWS, 0)))
    recipe = System1Settings(
        student=str(BASE_STUDENT), max_steps=STEPS, batch_size=4, gradient_accumulation=1, learning_rate=1e-3,
        max_length=256, logging_steps=1, held_out=0.0,
    )  # fmt: skip
    return write_system1_config(lab, LabSettings(system1=recipe))


def _read(events: Path) -> list[Event]:

    lines = events.read_bytes().splitlines() if events.is_file() else []
    return [event for line in lines if (event := from_json(line)) is not None]


def _judge(events: list[Event], log: Path) -> Trial:
    metrics = [event for event in events if isinstance(event, Metrics)]
    losses = tuple(event.loss for event in metrics if event.loss is not None and event.step)
    last = events[-1] if events else None
    if isinstance(last, Finished) and losses:
        return Trial(losses, last.seconds or 0.0)
    failed = last if isinstance(last, Failed) else Failed("")
    problem = failed.message or "the trial ended without a message"
    # The message may point into the directory, which stays.
    return Trial(losses, 0.0, problem, failed.hint or f"Its output: {log}")
