"""Prepared rows, and the first rows of a source, read for the data screens in worker threads."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import Mode

if TYPE_CHECKING:
    from qdl_engine.data.preview import RowFilter, SourceHead
    from qdl_engine.settings import System1Settings, System2Settings

PAGE = 50
"""Rows read at once: moving within them reads nothing."""


@dataclass(frozen=True)
class Found:
    """The rows that can be gone through."""

    total: int
    numbers: Sequence[int]
    """Numbers from 1 of the rows that the filter keeps, in order."""


class PreparedRows:
    """The prepared rows of one student. Used by one worker at a time."""

    def __init__(self, lab: Lab, system: Mode) -> None:
        self.lab = lab
        self.system: Mode = system
        self._first = 0
        self._page: list[dict[str, Any]] = []
        self._stamp: tuple[int, int] | None = None

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Tells one version of the prepared file from the next; None when there is no file."""
        from qdl_engine.data.files import prepared_file

        path = prepared_file(self.lab, self.system)
        found = path.stat() if path else None
        return (found.st_mtime_ns, found.st_size) if found else None

    def row(self, number: int) -> dict[str, Any] | None:
        """Row `number`, from 1; None when there is no such row.

        Raises:
            DataError: when the prepared file cannot be read.
        """
        from qdl_engine.data.files import preview_rows

        stamp = self.stamp
        if stamp != self._stamp or not self._first <= number - 1 < self._first + len(self._page):
            self._stamp = stamp
            self._first = (number - 1) // PAGE * PAGE
            self._page = preview_rows(self.lab, self.system, self._first, PAGE)
        place = number - 1 - self._first
        return self._page[place] if 0 <= place < len(self._page) else None

    def find(self, chosen: RowFilter, cancelled: Callable[[], bool]) -> Found:
        """All rows that a filter keeps.

        Raises:
            DataError: when the prepared file cannot be read.
        """
        from qdl_engine.data.preview import RowFilter, find_rows

        total, numbers = 0, array("L")
        for number, row in find_rows(self.lab, self.system, RowFilter(), cancelled=cancelled):
            total = number
            if chosen.keeps(row):
                numbers.append(number)
        return Found(total, numbers)


def needs_network(lab: Lab, source: str) -> bool:
    """Whether a source is a data set of the hub: nothing here has its name."""
    from qdl_engine.data.sources import find_local

    return find_local(lab, source) is None


def read_source(lab: Lab, system: Mode, recipe: System1Settings | System2Settings) -> SourceHead:
    """The first rows of a recipe's source: JSON is read here, all else by `qdl preview`, in its own process.

    Raises:
        DataError: when the source cannot be read.
    """
    from qdl_engine.data.preview import SourceHead, read_head
    from qdl_engine.data.sources import find_local, is_heavy

    path = find_local(lab, recipe.source)
    if path is not None and not is_heavy(path):
        return read_head(lab, recipe)
    settings = [f"{system}.source={recipe.source}", f"{system}.split={recipe.split}"]
    command = [sys.executable, "-P", "-m", "qdl_engine.cli", "--lab", str(lab.root), "preview", system]
    command += ["--source", "--json", *(word for setting in settings for word in ("--set", setting))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        shown = json.loads(done.stdout)
    except ValueError as cause:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"Cannot read {recipe.source}: {last}") from cause
    if "raw" not in shown:
        raise DataError(str(shown["error"]["message"]), str(shown["error"].get("hint") or ""))
    return SourceHead.from_dict(shown["raw"])
