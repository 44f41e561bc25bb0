"""Answers of saved comparisons, by the prompt they answer, and the list to open one from."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from qdl_engine.compare.comparison import Comparison, list_comparisons, load_comparison
from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import one_line

MOST_RECENT = 20
"""Saved comparisons whose answers are shown without opening them."""
MOST_LISTED = 200
"""Saved comparisons to choose from, the newest ones."""


@dataclass
class Kept:
    """A comparison, and the name it is saved under; empty while it is not saved."""

    comparison: Comparison
    name: str = ""


@dataclass(frozen=True)
class Shown:
    """The answers to one prompt, and the comparison that holds them."""

    kept: Kept
    index: int

    @property
    def comparison(self) -> Comparison:
        return self.kept.comparison

    @property
    def prompt(self) -> str:
        return self.comparison.prompts[self.index]

    def votable(self, names: Iterable[str]) -> list[str]:
        """The models among `names` whose answers can be voted on."""
        return self.comparison.votable(self.index, names)


def shown_by_prompt(kept: Kept) -> dict[str, Shown]:
    return {prompt: Shown(kept, index) for index, prompt in enumerate(kept.comparison.prompts)}


def read_recent(lab: Lab) -> list[Kept]:
    """The newest saved comparisons that can be read, newest first. For a thread."""
    recent = []
    for path in list_comparisons(lab)[:MOST_RECENT]:
        with suppress(LabError):
            recent.append(Kept(load_comparison(path), path.stem))
    return recent


def saved_options(lab: Lab) -> list[tuple[str, str]]:
    """The saved comparisons to choose from, newest first: name and content. For a thread."""
    options = []
    for path in list_comparisons(lab)[:MOST_LISTED]:
        try:
            comparison = load_comparison(path)
        except LabError:
            continue
        count = len(comparison.prompts)
        first = one_line(comparison.prompts[0], 34) if count else ""
        options.append((path.stem, f"{count:>3} prompt{'s' if count != 1 else ' '} {first}"))
    return options


def export_kept(lab: Lab, kept: Kept) -> str:
    """Write a comparison as Markdown and as JSON; returns where the Markdown is, in the lab. For a thread.

    Raises:
        LabError: when a file cannot be written.
    """
    from qdl_engine.compare.export import export_comparison

    lab.exports.mkdir(parents=True, exist_ok=True)
    path = lab.exports / f"{kept.name or 'unsaved'}.md"
    for suffix in (".md", ".json"):
        export_comparison(kept.comparison, path.with_suffix(suffix), overwrite=True)
    return str(path.relative_to(lab.root))
