"""Export a comparison: Markdown to read, JSON to process."""

from __future__ import annotations

import json
import re
from pathlib import Path

from qdl_engine.compare.comparison import Comparison
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import write_text_atomic
from qdl_engine.core.words import one_line, printable

SUFFIXES = (".md", ".json")


def check_export(path: Path, *, overwrite: bool = False) -> Path:
    """Check where an export goes, before any model is asked; returns the absolute path.

    Raises:
        SettingsError: when the name has no known suffix, or the file exists.
        LabError: when no file can have this name.
    """
    path = path.expanduser().absolute()
    if path.suffix not in SUFFIXES:
        raise SettingsError(f"Cannot export to {path.name}", "Use a name ending in .md or .json.")
    if not path.parent.is_dir():
        raise SettingsError(f"No directory {path.parent}", "Create it, or choose another.")
    try:
        there = path.is_dir() or (path.exists() and not overwrite)
    except OSError as cause:
        raise LabError(f"Cannot write {path}: {cause.strerror or cause}", "Choose another name.") from cause
    if there:
        raise SettingsError(f"{path} exists already", "Choose another name, or delete it first.")
    return path


def export_comparison(comparison: Comparison, path: Path, *, overwrite: bool = False) -> Path:
    """Write a comparison as Markdown or JSON, by the suffix of `path`.

    Raises:
        SettingsError: as for `check_export`.
        LabError: when the file cannot be written.
    """
    path = check_export(path, overwrite=overwrite)
    if path.suffix == ".md":
        text = markdown(comparison)
    else:
        # Half a surrogate pair is legal in JSON, but not in UTF-8: it is escaped.
        text = json.dumps(comparison.to_dict(), ensure_ascii=False, indent=1) + "\n"
        text = text.encode("utf-8", "backslashreplace").decode()
    try:
        write_text_atomic(path, text)
    except OSError as cause:
        raise LabError(f"Cannot write {path}: {cause.strerror or cause}", "Choose another place.") from cause
    return path


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown. Answers are fenced: no model's text acts as Markdown or HTML."""
    blocks = [f"# Comparison of {comparison.created or 'an unknown date'}", _figures(comparison)]
    for index, prompt in enumerate(comparison.prompts):
        blocks.append(f"## {index + 1}. {_inert(one_line(prompt, 120))}")
        if one_line(prompt, 120) != prompt:
            blocks.append(_fenced(prompt))
        for name, answer in comparison.answers_to(index).items():
            cost = (
                f"{answer.tokens} tokens, {answer.seconds:.2f} s, {answer.tokens_per_second:.0f} tokens/s, "
                f"first token after {answer.first_token_seconds:.2f} s"
                if answer.tokens
                else "nothing generated"
            )
            blocks.append(f"### {name}")
            if not answer.failed:
                blocks.append(f"{cost}{', ' + answer.reason if answer.reason else ''}")
            if answer.reasoning:
                fenced = _fenced(answer.reasoning)
                blocks.append(f"<details><summary>reasoning</summary>\n\n{fenced}\n\n</details>")
            blocks.append(_fenced(answer.shown))
    return "\n\n".join(blocks) + "\n"


def _figures(comparison: Comparison) -> str:
    lines = ["| model | weights | parameters | tokens | seconds | tokens/s |", "|---|---|---|---|---|---|"]
    for name, model in comparison.models.items():
        lines.append(
            f"| {name} | {_inert(one_line(model.path, 200))} | {model.size} "
            f"| {model.mean_tokens:.1f} | {model.mean_seconds:.2f} | {model.speed} |"
        )
    for name, reason in comparison.skipped.items():
        lines.append(f"| {name} | skipped: {_inert(one_line(reason, 200))} | | | | |")
    return "\n".join(lines)


def _inert(text: str) -> str:
    """One line, escaped so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", printable(text))


def _fenced(text: str) -> str:
    """`text` between fences longer than any run of backticks in it."""
    shown = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
