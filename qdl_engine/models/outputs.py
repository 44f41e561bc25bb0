"""Where results may go: no output moves, replaces or removes what a person made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from qdl_engine.core.errors import SettingsError
from qdl_engine.models.checkpoint import RECORD_FILE, checkpoint_ready

_ELSEWHERE = "Choose a new directory, or one that holds a checkpoint and nothing else."


def check_checkpoint_place(place: Path, name: str, *, kept: Iterable[Path] = ()) -> None:
    """Refuse a place that holds anything but a checkpoint; saving moves an old checkpoint aside.

    Args:
        place: The checkpoint's directory, absolute.
        name: Where the place was set, for the error: `training.output_dir of my.json`.
        kept: Files and directories that must stay, besides the current directory and home.

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
        raise _not_writable(place, name, error) from error


def _is_ours(student: Path, place: Path) -> bool:
    """Whether a student of ours is trained further in its own place: saving keeps it as a backup."""
    return student.resolve() == place and (place / RECORD_FILE).is_file()


def previous_place(directory: Path) -> Path:
    """Where the checkpoint in `directory` moves to when a new one replaces it.

    An older backup of ours, which its record tells, may be deleted; anything else stays, and the next free
    name is taken.
    """
    place, number = directory.with_name(f"{directory.name}.previous"), 2
    while place.exists() and not (place / RECORD_FILE).is_file():
        place = directory.with_name(f"{directory.name}.previous-{number}")
        number += 1
    return place


def check_output_file(place: Path, name: str, *, kept: Iterable[Path] = ()) -> None:
    """Refuse an output that is not a file, or that must stay.

    Raises:
        SettingsError: naming what is in the way.
    """
    try:
        here = place.resolve()
        if here.exists() and not here.is_file():
            raise SettingsError(f"{name}: {place} is not a file", "Name a new file, or one to replace.")
        for stays in kept:
            if stays.resolve() == here:
                raise SettingsError(
                    f"{name}: {place} is read or kept, and would be lost", "Name another file."
                )
        _check_parent(here)
    except (OSError, ValueError) as error:
        raise _not_writable(place, name, error) from error


def _not_writable(place: Path, name: str, error: Exception) -> SettingsError:
    return SettingsError(f"{name}: nothing can be written to {str(place)[:200]!r}: {error}")


def _check_parent(place: Path) -> None:
    """Write something into the nearest existing directory: nothing less proves that it can be done."""
    place.exists()  # Raises for a name that no file system takes.
    parent = next(parent for parent in place.parents if parent.exists())
    with tempfile.TemporaryDirectory(dir=parent):
        pass
