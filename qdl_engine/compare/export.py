"""A comparison as a file to hand on: Markdown to read, JSON to work with."""

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
    """The file of an export, made absolute; looked at before any model is asked.

    Raises:
        SettingsError: when its name says no format, or a file is there already.
        LabError: when no file can have this name.
    """
    path = path.expanduser().absolute()
    if path.suffix not in SUFFIXES:
        raise SettingsError(f"Cannot export to {path.name}", "The name ends in .md (Markdown) or .json.")
    if not path.parent.is_dir():
        raise SettingsError(f"No directory {path.parent}", "Make it first, or choose another.")
    try:
        there = path.is_dir() or (path.exists() and not overwrite)
    except OSError as cause:
        raise LabError(f"Cannot write {path}: {cause.strerror or cause}", "Choose another name.") from cause
    if there:
        raise SettingsError(f"There is a file at {path} already", "Choose another name, or delete it first.")
    return path


def export_comparison(comparison: Comparison, path: Path, *, overwrite: bool = False) -> Path:
    """Write a comparison as Markdown or JSON, whichever its name says.

    Raises:
        SettingsError: as `check_export`.
        LabError: when the file cannot be written.
    """
    path = check_export(path, overwrite=overwrite)
    if path.suffix == ".md":
        text = markdown(comparison)
    else:
        # ASCII where it must be: half a character is legal in JSON, but not in a file of UTF-8.
        text = json.dumps(comparison.to_dict(), ensure_ascii=False, indent=1) + "\n"
        text = text.encode("utf-8", "backslashreplace").decode()
    try:
        write_text_atomic(path, text)
    except OSError as cause:
        raise LabError(f"Cannot write {path}: {cause.strerror or cause}", "Choose another place.") from cause
    return path


def markdown(comparison: Comparison) -> str:
    """The whole comparison. Answers stand in fences: no model's text is taken for Markdown or HTML."""
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
    """One line that Markdown shows as it stands."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", printable(text))


def _fenced(text: str) -> str:
    """`text` between fences longer than any run of backticks in it."""
    shown = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
