"""Where results may go: what a person made is never moved, replaced or removed for an output of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from qdl_engine.core.errors import SettingsError
from qdl_engine.models.checkpoint import RECORD_FILE, checkpoint_ready

_ELSEWHERE = "Choose a directory of its own, that does not exist yet or holds a checkpoint."


def check_checkpoint_place(place: Path, name: str, *, kept: Iterable[Path] = ()) -> None:
    """Refuse a place for a checkpoint that holds anything else; what stands there is moved aside later.

    Args:
        place: The checkpoint's directory, absolute.
        name: What the place is called where it was set: `training.output_dir of my.json`.
        kept: Files and directories that must stay where they are, beside the current directory and home.

    Raises:
        SettingsError: naming what is in the way.
    """
    try:
        here = place.resolve()
        for stays in (*kept, Path.cwd(), Path.home()):
            if stays.resolve().is_relative_to(here) and not _is_ours(stays, here):
                raise SettingsError(f"{name}: {place} is, or holds, {stays}", _ELSEWHERE)
        if here.exists() and not here.is_dir():
            raise SettingsError(f"{name}: {place} is a file", _ELSEWHERE)
        model = checkpoint_ready(here) or (here / "adapter_config.json").is_file()
        if here.is_dir() and any(here.iterdir()) and not model:
            raise SettingsError(f"{name}: {place} holds other things than a checkpoint", _ELSEWHERE)
        _check_parent(here)
    except (OSError, ValueError) as error:
        # A name that is too long, a NUL in it, a place that cannot be written to.
        raise SettingsError(f"{name}: nothing can be written to {str(place)[:200]!r}: {error}") from error


def _is_ours(student: Path, place: Path) -> bool:
    """Whether a student is trained on from the place it goes to: ours is moved aside, and kept once."""
    return student.resolve() == place and (place / RECORD_FILE).is_file()


def previous_place(directory: Path) -> Path:
    """Where the checkpoint that stands in `directory` is moved to; what is there may be removed.

    An earlier one of ours is, by its record; anything else stays, and the next free name is taken.
    """
    place, number = directory.with_name(f"{directory.name}.previous"), 2
    while place.exists() and not (place / RECORD_FILE).is_file():
        place = directory.with_name(f"{directory.name}.previous-{number}")
        number += 1
    return place


def check_output_file(place: Path, name: str, *, kept: Iterable[Path] = ()) -> None:
    """Refuse a file to write that is another thing than a file, or one that must stay.

    Raises:
        SettingsError: naming what is in the way.
    """
    try:
        here = place.resolve()
        if here.exists() and not here.is_file():
            raise SettingsError(f"{name}: {place} is no file", "Name a file, new or to be replaced.")
        for stays in kept:
            if stays.resolve() == here:
                raise SettingsError(
                    f"{name}: {place} is read or kept, and would be lost", "Name another file."
                )
        _check_parent(here)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: nothing can be written to {str(place)[:200]!r}: {error}") from error


def _check_parent(place: Path) -> None:
    """Write and remove something in the nearest directory that exists: only that proves that it can be."""
    place.exists()  # Raises for a name that no file system takes.
    parent = next(parent for parent in place.parents if parent.exists())
    with tempfile.TemporaryDirectory(dir=parent):
        pass
