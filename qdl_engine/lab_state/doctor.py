"""What this machine and this lab have, what they lack, and how to get it. Imports no model library."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEMS, System
from qdl_engine.core.words import size_text
from qdl_engine.data.sources import find_local
from qdl_engine.lab_state.status import machine_status
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.models.shape import CONFIG, cached_file
from qdl_engine.settings import LabSettings

if TYPE_CHECKING:
    from qdl_engine.settings.user import EasyDistillRecord


State = Literal["ok", "note", "missing"]

PYTHONS = ((3, 11), (3, 13))
REQUIRED = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "pydantic",
    "textual",
    "tomlkit",
    "platformdirs",
)
ROOM_FOR_DEFAULTS = 30_000_000_000
"""Bytes: a 7B teacher in the hub's cache, both students and their checkpoints."""
NOT_ON_THE_INDEX = "The package index's easydistill is an empty placeholder: never install it."
INSTALL_HINT = "Install the lab again: pip install -e ."
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: State
    detail: str
    cure: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All findings."""

    checks: list[Check]

    @property
    def healthy(self) -> bool:
        """Whether nothing necessary is missing."""
        return all(check.state != "missing" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}

    def table(self) -> str:
        """The report for a person, one check a line."""
        signs = {"ok": "ok", "note": "note", "missing": "MISSING"}
        lines = []
        for check in self.checks:
            lines.append(f"{signs[check.state]:<9}{check.name:<15}{check.detail}")
            lines += [f"{'':<24}{line}" for line in check.cure.splitlines()]
        lines.append("Nothing necessary is missing." if self.healthy else "Something necessary is missing.")
        return "\n".join(lines)


def examine(lab: Lab, *, ask_hub: bool = True) -> DoctorReport:
    """Check everything; takes a few seconds at most. `ask_hub` allows a request to the hub."""
    return DoctorReport(
        [
            _python(),
            *_packages(),
            _bitsandbytes(),
            _memory(),
            _gpu(lab),
            _easydistill(lab),
            _easydistill2(),
            _disk(lab),
            _hub(lab, ask_hub),
            *_teacher(lab),
            _lab(lab),
        ]
    )


def _python() -> Check:
    version = platform.python_version()
    low, high = PYTHONS
    if low <= sys.version_info[:2] <= high:
        return Check("python", "ok", f"{version}, {sys.executable}")
    wanted = " to ".join(".".join(map(str, bound)) for bound in PYTHONS)
    return Check("python", "missing", version, f"The lab needs Python {wanted}.")


def _packages() -> Iterator[Check]:
    for name in REQUIRED:
        version = _version(name)
        if version is None:
            yield Check(name, "missing", "not installed", INSTALL_HINT)
        else:
            yield Check(name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _bitsandbytes() -> Check:
    version = _version("bitsandbytes")
    if version is not None:
        return Check("bitsandbytes", "ok", version)
    cure = 'pip install bitsandbytes, or set teacher.quantization = "none".'
    return Check("bitsandbytes", "note", "not installed; 8-bit and 4-bit teachers need it", cure)


def _memory() -> Check:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return Check("machine", "ok", f"{os.cpu_count()} cores")
    return Check("machine", "ok", f"{os.cpu_count()} cores, {size_text(size)} RAM, {platform.platform()}")


def _gpu(lab: Lab) -> Check:
    gpus = machine_status(lab.root).gpus
    torch = _version("torch") or ""
    if not gpus:
        detail = "nvidia-smi reports none; everything runs on the CPU"
        return Check(
            "gpu", "note", detail, "The demo needs none. A 7B teacher needs 16 GB: see teacher.quantization."
        )
    if "+cpu" in torch:
        cure = "Install torch with CUDA from pytorch.org in this environment."
        return Check("gpu", "note", f"{'; '.join(gpus)}; torch {torch} cannot use it", cure)
    return Check("gpu", "ok", "; ".join(gpus))


def _easydistill(lab: Lab) -> Check:
    """Missing only if the settings select it: the built-in runtime does not need it."""
    from qdl_engine.core.lab import user_settings_file
    from qdl_engine.settings.user import load_user_settings
    from qdl_engine.training.command import locate
    from qdl_engine.upstream.find import find_easydistill

    settings = _settings(lab)
    wanted = settings is not None and settings.runtime.kind == "easydistill"
    try:
        record = load_user_settings().easydistill
        if wanted:
            place = locate(settings.runtime)
            return _place(place.checkout, place.python, record if place.recorded else None)
    except LabError as error:
        return Check("easydistill", "missing" if wanted else "note", error.message, error.hint)
    if record.checkout:
        found = _place(Path(record.checkout), record.python, record)
        return replace(found, detail=f"{found.detail}; recorded in {user_settings_file()}")
    installed = find_easydistill(settings.runtime.python or None if settings else None)
    if installed.kind == "1.x" and not installed.missing:
        return Check("easydistill", "ok", installed.explain())
    return Check("easydistill", "note", installed.explain(), f"{NOT_ON_THE_INDEX} {installed.cure()}")


def _place(checkout: Path, python: str, record: EasyDistillRecord | None) -> Check:
    """The state of one checkout; `record` is None if `qdl easydistill check` never ran on it."""
    from qdl_engine.upstream.find import TRAIN_SCRIPT, commit_of

    again = f"qdl easydistill check {shlex.quote(str(checkout))} --python {shlex.quote(python)}"
    if not (checkout / TRAIN_SCRIPT).is_file():
        return Check("easydistill", "note", f"no longer at {checkout}", again)
    if not Path(python).is_file():
        return Check("easydistill", "missing", f"1.0 at {checkout}, but {python} does not exist", again)
    commit = commit_of(checkout)
    detail = f"1.0 at {checkout}" + (f" ({commit[:7]})" if commit else "") + f", run by {python}"
    if record is None:
        return Check("easydistill", "ok", f"{detail}; not checked yet", f"Check it: {again}")
    if record.commit != commit:
        return Check(
            "easydistill", "note", f"{detail}; changed since the last check", f"Check it again: {again}"
        )
    return Check("easydistill", "ok", f"{detail}, checked {record.checked[:10]}")


def _easydistill2() -> Check:
    """Start the EasyDistill 2.x that `qdl easydistill run` uses; nothing else needs it."""
    from qdl_engine.core.lab import user_settings_file
    from qdl_engine.settings.user import load_user_settings
    from qdl_engine.upstream.find import commit_of
    from qdl_engine.upstream.version2 import find_version2

    try:
        if not load_user_settings().easydistill2.checkout:
            cure = "Only qdl easydistill run needs it; that command explains how."
            return Check("easydistill2", "note", "EasyDistill 2.x is not configured", cure)
        found = find_version2()
    except LabError as error:
        return Check("easydistill2", "note", error.message, error.hint)
    commit = commit_of(found.checkout)
    detail = f"2.x at {found.checkout}" + (f" ({commit[:7]})" if commit else "")
    by = f"recorded in {user_settings_file()}"
    return Check("easydistill2", "ok", f"{detail}, run by {found.python}; starts; {by}")


def _settings(lab: Lab) -> Any:
    from qdl_engine.settings.toml import load_settings

    try:
        return load_settings(lab)
    except LabError:
        # `_lab` reports what is wrong with them.
        return None


def _disk(lab: Lab) -> Check:
    machine = machine_status(lab.root)
    detail = f"{size_text(machine.disk_free)} free of {size_text(machine.disk_total)}"
    if machine.disk_free >= ROOM_FOR_DEFAULTS:
        return Check("disk", "ok", detail)
    cure = f"The default models need {size_text(ROOM_FOR_DEFAULTS)}: set HF_HOME and --lab to a larger disk."
    return Check("disk", "note", detail, cure)


def _hub(lab: Lab, ask: bool) -> Check:
    """Missing only if the lab needs a download."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return _without_hub(lab, "not checked: HF_HUB_OFFLINE is set", "Models and data come from the cache.")
    if not ask:
        return Check("hub", "note", "not checked")
    from qdl_engine.models.checkpoint import hub_reachable

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if hub_reachable():
        return Check("hub", "ok", f"{endpoint} answers")
    cure = "Set source and the models to local files, or HF_ENDPOINT to a mirror. The demo needs no hub."
    return _without_hub(lab, f"{endpoint} does not answer", cure)


def _without_hub(lab: Lab, detail: str, cure: str) -> Check:
    settings = _settings(lab) if lab.settings_file.is_file() else None
    lacking = [] if settings is None else lacks_from_hub(lab, settings)
    if not lacking:
        return Check("hub", "note", detail, cure)
    needs = "\n".join(["The lab needs these, and this machine lacks them:", *lacking, cure])
    return Check("hub", "missing", detail, needs)


def lacks_from_hub(lab: Lab, settings: LabSettings) -> list[str]:
    """The hub ids in the recipes that are neither local nor in the cache. Prepared data need no source.

    A missing path is not a hub id; the command that uses the path reports it.
    """
    models = [settings.recipe(system).student for system in SYSTEMS]
    asked = settings.system1.label and not lab.train_labeled.is_file()
    if asked and settings.teacher.kind in ("hf", "vllm"):
        models.append(settings.teacher.model)
    lacking = [name for name in models if _of_hub(lab, name) and not _model_here(name)]
    for system in SYSTEMS:
        source = settings.recipe(system).source
        if not _is_prepared(lab, settings, system) and not _data_here(lab, source):
            lacking.append(source)
    return list(dict.fromkeys(lacking))


def _of_hub(lab: Lab, name: str) -> bool:
    return student_reference(lab, name) == name and name.count("/") <= 1 and not name.startswith((".", "~"))


def _model_here(name: str) -> bool:
    if not cached_file(name, CONFIG):
        return False
    return any(cached_file(name, file) is not None for file in _WEIGHTS)


def _is_prepared(lab: Lab, settings: LabSettings, system: System) -> bool:
    labels = system == "system1" and settings.system1.label
    return (lab.train_instructions if labels else lab.training_data(system)).is_file()


def _data_here(lab: Lab, source: str) -> bool:
    """Whether a source is local or downloaded. Each library's cache spells the name in its own way."""
    from huggingface_hub import constants

    try:
        if find_local(lab, source) is not None:
            return True
    except LabError:
        return True
    built = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    wanted = _letters(source)
    folders = [*Path(constants.HF_HUB_CACHE).glob("datasets--*"), *built.glob("*___*")]
    return any(_letters(folder.name.removeprefix("datasets--")) == wanted for folder in folders)


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _teacher(lab: Lab) -> Iterator[Check]:
    """A teacher other than a checkpoint, without sending it a request; `_hub` covers checkpoints."""
    from qdl_engine.teachers.make import make_teacher

    settings = _settings(lab)
    if settings is None or settings.teacher.kind == "hf":
        return
    teacher = settings.teacher
    if teacher.kind == "vllm" and _version("vllm") is None:
        from qdl_engine.teachers.vllm import INSTALL

        yield Check("teacher", "missing", "vLLM is not installed", INSTALL)
        return
    try:
        name = make_teacher(teacher, lab.root).name
    except LabError as error:
        yield Check("teacher", "missing", error.message, error.hint)
        return
    if teacher.kind == "file" and not Path(name).is_file():
        yield Check("teacher", "missing", f"no answers file at {name}", "Set teacher.answers.")
    else:
        yield Check("teacher", "ok", f"{teacher.kind}: {name}; no request sent")


def _lab(lab: Lab) -> Check:
    from qdl_engine.settings.toml import load_settings

    if not lab.settings_file.is_file():
        return Check("lab", "note", f"none at {lab.root}", f"Create one: qdl --lab {lab.word} init")
    try:
        load_settings(lab)
    except LabError as error:
        return Check("lab", "missing", error.message, error.hint)
    return Check("lab", "ok", str(lab.root))
