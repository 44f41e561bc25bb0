"""The file of a comparison: written while it grows, and found again."""

from __future__ import annotations

import time
from pathlib import Path

from qdl_engine.comparison import Comparison, list_comparisons
from qdl_engine.errors import LabError
from qdl_engine.lab import Lab, write_json_atomic


class UnsavedComparisonError(LabError):
    """A comparison that could not be written; `comparison` still holds every answer."""

    def __init__(self, path: Path, comparison: Comparison, cause: OSError) -> None:
        super().__init__(
            f"The comparison could not be saved to {path}: {cause.strerror or cause}",
            "The answers are not lost while they are shown. Free some space, or choose another place.",
        )
        self.comparison = comparison


class ComparisonKeeper:
    """Writes a comparison while it grows, at most once in a while: what a killed process loses is seconds.

    Args:
        path: The file, or None to keep nothing.
        every: Seconds between two writes; the file is written whole each time.
    """

    def __init__(self, path: Path | None, every: float = 2.0) -> None:
        self.path = path
        self.every = every
        self.problem: OSError | None = None
        """Why the last write failed."""
        self._written = 0.0

    def keep(self, comparison: Comparison, *, now: bool = False) -> None:
        """Write it when it is time; a failure is remembered, for the next write may succeed."""
        if self.path is None or not comparison.answered:
            return
        if not now and self._written and time.monotonic() - self._written < self.every:
            return
        self._written = time.monotonic()
        try:
            write_json_atomic(self.path, comparison.to_dict())
        except OSError as cause:
            self.problem = cause
        else:
            self.problem = None

    def finish(self, comparison: Comparison) -> None:
        """The last write.

        Raises:
            UnsavedComparisonError: when it failed.
        """
        self.keep(comparison, now=True)
        if self.path is not None and self.problem is not None:
            raise UnsavedComparisonError(self.path, comparison, self.problem) from self.problem


def find_comparison(lab: Lab, word: str) -> Path:
    """A saved comparison by its name, the beginning of its name, a path, or `latest`.

    Raises:
        LabError: when there is none, or more than one.
    """
    saved = list_comparisons(lab)
    if word == "latest" and saved:
        return saved[0]
    if Path(word).suffix == ".json" and Path(word).is_file():
        return Path(word)
    found = [path for path in saved if path.stem == word] or [
        path for path in saved if word and path.stem.startswith(word)
    ]
    if len(found) == 1:
        return found[0]
    if not saved:
        raise LabError(f"No saved comparison in {lab.root}", f"Make one: qdl --lab {lab.word} compare")
    names = ", ".join(path.stem for path in (found or saved)[:8])
    what = (
        f"{len(found)} comparisons begin with {word!r}" if found else f"No comparison {word!r} in {lab.root}"
    )
    raise LabError(
        what, f"{'They are' if found else 'There are'}: {names}. See: qdl --lab {lab.word} comparisons"
    )
