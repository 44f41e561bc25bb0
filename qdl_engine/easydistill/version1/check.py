"""Whether a checkout of EasyDistill 1.0 and an interpreter work together: looked at, then tried."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from qdl_engine.easydistill.find import (
    TRAIN_SCRIPT,
    changed_files,
    commit_of,
    kind_of,
    steps_to_get_one,
)
from qdl_engine.easydistill.version1.probe import PINS, Interpreter, probe
from qdl_engine.easydistill.version1.trial import Trial, run_trial
from qdl_engine.events import EventSink, make_event, no_sink
from qdl_engine.text import printable
from qdl_engine.user_settings import EasyDistillRecord, load_user_settings, save_user_settings

RELEASE = "acbe49b"
"""Tag v1.0.0, the last commit of branch 1.0."""
Version = Literal["1.0", "2.x", "placeholder", "not EasyDistill"]


@dataclass(frozen=True)
class CheckReport:
    """What was found, and what is to be done."""

    checkout: Path
    version: Version
    commit: str
    changed: tuple[str, ...]
    """Tracked files that are not as committed."""
    interpreter: Interpreter
    trial: Trial | None
    """None when it was not worth one."""
    problem: str = ""
    """Why it does not work; empty when it does."""
    steps: tuple[str, ...] = ()
    """What a person types next."""
    notes: tuple[str, ...] = ()
    recorded: Path | None = None
    """The user's settings that name it now."""

    @property
    def works(self) -> bool:
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
        """For a person."""
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
    """Look at both, try them, and record what works in the user's settings.

    Args:
        checkout: A directory that should be a checkout of branch 1.0.
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
        return CheckReport(checkout, version, commit_of(checkout), (), nothing, None, problem, steps)
    # Before the minute that the trial takes.
    load_user_settings()
    on_event(make_event("progress", stage="look", done=0, total=None, unit="packages"))
    interpreter = probe(program)
    commit, changed = commit_of(checkout), tuple(changed_files(checkout))
    report = _reporter(checkout, commit, changed, interpreter)
    if not interpreter.usable:
        return report(None, *_wrong_interpreter(checkout, interpreter, own.exists() or bool(python)))
    trial = run_trial(checkout, interpreter, on_event=on_event)
    if trial.problem:
        return report(trial, trial.problem, (trial.hint,) if trial.hint else ())
    return report(trial, "", (), _record(checkout, interpreter, commit))


def _reporter(
    checkout: Path, commit: str, changed: tuple[str, ...], interpreter: Interpreter
) -> Callable[..., CheckReport]:
    def report(
        trial: Trial | None, problem: str, steps: tuple[str, ...], recorded: Path | None = None
    ) -> CheckReport:
        notes = _notes(interpreter) if interpreter.usable else ()
        return CheckReport(
            checkout, "1.0", commit, changed, interpreter, trial, problem, steps, notes, recorded
        )

    return report


def version_of(checkout: Path) -> Version:
    """What a directory is a checkout of, by its files: the version that it declares does not tell."""
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
        return f"{interpreter.python} lacks {', '.join(interpreter.missing)}", (
            interpreter.install_command(),
            again,
        )
    if not named:
        return "no interpreter is given", steps_to_get_one(shlex.quote(str(checkout)))[1:]
    return f"{interpreter.python}: {interpreter.problem}", steps_to_get_one(shlex.quote(str(checkout)))[1:]


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
