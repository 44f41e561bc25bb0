"""Checkpoints, without torch: what a model's name stands for, why one is refused, which run made one.

A name stands for a local directory or a hub id. A checkpoint of ours has a record beside its weights,
`qdl_checkpoint.json`, with the run that wrote it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.errors import LabError, ModelError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic

Role = Literal["teacher", "student"]

EXAMPLES: dict[Role, tuple[str, ...]] = {
    "teacher": ("Qwen/Qwen2.5-7B-Instruct",),
    "student": ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"),
}
"""The models of a fresh lab; System 1's student comes before System 2's."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
LONGEST_HUB_ID = 200
RECORD_FILE = "qdl_checkpoint.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
FINGERPRINT_BYTES = 1 << 20
HUB_SECONDS = 5.0
_A_FILE = "a file, not a checkpoint directory"
_NEITHER = "neither a directory nor a hub id"


def find_checkpoint(name: str, role: Role) -> str:
    """The local directory or hub id behind a name.

    Raises:
        ModelError: `Model not found at <path>`, or `Invalid student model: <name>` with the reason.
    """
    if not name.strip():
        raise invalid_model(name, role, "no name is given")
    directory = _expanded(name)
    # `os.path` says False where `Path` raises: for a name too long for a file.
    if os.path.isdir(directory):
        if not (directory / "config.json").is_file():
            raise invalid_model(name, role, "the directory has no config.json")
        if not any(directory.glob("*.safetensors")):
            raise invalid_model(
                name, role, "the directory has no *.safetensors weights (pickled ones are refused)"
            )
        if not any((directory / file).is_file() for file in TOKENIZER_FILES):
            raise invalid_model(name, role, "the directory has no tokenizer")
        return str(directory)
    if os.path.isfile(directory):
        raise invalid_model(name, role, _A_FILE)
    if _can_only_be_a_path(name):
        raise not_found(name, role)
    if not _can_be_a_hub_id(name):
        raise invalid_model(name, role, _NEITHER)
    return name


def check_place(name: str, role: Role, root: Path) -> None:
    """Refuse a name that is meant as a path and is not a directory as seen from `root`; accept hub ids.

    Raises:
        ModelError: `Invalid student model: <name>`, with the reason.
    """
    place = root / _expanded(name)
    if os.path.isdir(place):
        return
    if os.path.isfile(place):
        raise invalid_model(name, role, _A_FILE)
    if _can_only_be_a_path(name):
        where = "" if _expanded(name).is_absolute() else f" in {root}"
        raise invalid_model(name, role, f"the directory does not exist{where}")
    if not _can_be_a_hub_id(name):
        raise invalid_model(name, role, _NEITHER)


def student_reference(lab: Lab, student: str) -> str:
    """A local directory, in the lab or the current directory, as an absolute path; a hub id as it is."""
    for base in (lab.root, Path.cwd()):
        candidate = base / _expanded(student)
        if os.path.isdir(candidate):  # `Path` raises for a name too long for a directory.
            return str(candidate.absolute())
    return student


def looks_like_path(name: str) -> bool:
    """Whether a name that neither this machine nor the hub knows was meant as a path."""
    place = _expanded(name)
    return "/" in name and place.parent.is_dir() and not place.exists()


def _expanded(name: str | os.PathLike[str]) -> Path:
    """The path with `~` replaced. `Path.expanduser` raises for an unknown user; this leaves `~nobody`."""
    return Path(os.path.expanduser(name))


def _can_only_be_a_path(name: str) -> bool:
    absolute = _expanded(name).is_absolute()
    return absolute or name.startswith((".", "~")) or name.count("/") > 1 or name.endswith("/")


def _can_be_a_hub_id(name: str) -> bool:
    return len(name) <= LONGEST_HUB_ID and HUB_ID.fullmatch(name) is not None


def hub_reachable() -> bool:
    """Whether the hub answers at all.

    Checked once before a download: without a network the hub's own client retries for most of a minute
    before it looks into its cache.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


def fingerprint(path: str) -> str:
    """What tells one teacher from another: the hub id, or a hash of a local directory's content.

    The directory's name and times do not count: a moved lab keeps its labels, and a retrained teacher loses
    them. Only the size and both ends of each weight file are read, not its gigabytes.
    """
    directory = _expanded(path)
    if not directory.is_dir():
        return path
    digest = hashlib.sha256()
    for file in sorted([*directory.glob("config.json"), *directory.glob("*.safetensors")]):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with open(file, "rb") as handle:
            digest.update(handle.read(FINGERPRINT_BYTES))
            handle.seek(max(0, size - FINGERPRINT_BYTES))
            digest.update(handle.read(FINGERPRINT_BYTES))
    return digest.hexdigest()


def not_found(name: str, role: Role) -> ModelError:
    """The error for a path without a model."""
    cures = {
        "student": "Train it first, or give the directory of a checkpoint.",
        "teacher": "Set teacher.model to the directory of a checkpoint, or to a model's name on the hub.",
    }
    return ModelError(f"Model not found at {name}", cures[role])


def invalid_model(name: str, role: Role, reason: str) -> ModelError:
    """The error for a model that cannot be used, with the reason and names that work."""
    return ModelError(
        f"Invalid {role} model: {name}",
        f"{reason[:1].upper()}{reason[1:]}. One that works: {' or '.join(EXAMPLES[role])}, or a checkpoint "
        "directory.",
    )


def load_error(name: str, role: Role, error: Exception, *, reachable: bool) -> ModelError:
    """The error for a model that the libraries refuse; a hub out of reach does not make the name wrong."""
    if not reachable:
        return ModelError(
            f"Invalid {role} model: {name}",
            "Not a local directory, and not in the cache; the hub cannot be reached. Copy a checkpoint to "
            f"this machine and give its directory; with a network, {_that_works(name, role)} works.",
        )
    causes = _causes(error)
    if "GatedRepoError" in causes:
        return invalid_model(name, role, "it is gated: accept its licence on the hub and log in")
    return invalid_model(name, role, first_line(error))


def _that_works(name: str, role: Role) -> str:
    """A fresh lab's model only needs a network; whether another one exists is not known."""
    return name if name in EXAMPLES[role] else " or ".join(EXAMPLES[role])


def _causes(error: BaseException) -> list[str]:
    causes: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(causes) < 10:
        causes.append(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    return causes


def first_line(error: BaseException) -> str:
    """The cause in one line; a library's message may fill a screen."""
    text = str(error).strip()
    return text.splitlines()[0][:200].rstrip(".") if text else type(error).__name__


def checkpoint_ready(directory: Path) -> bool:
    """Whether `directory` holds a finished checkpoint: a config and weights."""
    return (directory / "config.json").is_file() and any(directory.glob("model*.safetensors"))


def made_here() -> dict[str, Any]:
    """The record's run and time for a checkpoint written now; a copy keeps both, unlike its files' times."""
    directory = os.environ.get("QDL_RUN_DIR")
    return {"run": Path(directory).name if directory else None, "written": time.time()}


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The record; empty where there is none, or it cannot be read."""
    try:
        record = read_json(checkpoint / RECORD_FILE)
    except (LabError, OSError):
        return {}
    return record if isinstance(record, dict) else {}


def trained_by(checkpoint: Path) -> str | None:
    """The id of the run that wrote it; None where the record does not name one."""
    run = read_record(checkpoint).get("run")
    return run if isinstance(run, str) else None


def sign(checkpoint: Path, run_id: str) -> None:
    """Add a record to a checkpoint of another runtime, which writes none."""
    if not (checkpoint / RECORD_FILE).exists():
        write_json_atomic(checkpoint / RECORD_FILE, {"format": 1, "run": run_id, "written": time.time()})
