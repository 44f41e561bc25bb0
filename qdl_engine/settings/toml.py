"""`qdl.toml`: read, checked, changed and saved. Errors name the key, what it accepts and the nearest key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import SETTINGS_FILE, Lab, write_text_atomic
from qdl_engine.core.toml import inline_table, read_toml, save_toml
from qdl_engine.settings import MAPPING_KEYS, LabSettings, Section
from qdl_engine.settings.fields import all_fields, all_keys, field_info, nearest_key, sections

LONGEST_LIST = 120
"""Characters of what is accepted that fit where there is little room."""
Root = TypeVar("Root", bound=Section)


def load_settings(lab: Lab) -> LabSettings:
    """The settings of a lab.

    Raises:
        SettingsError: naming file, key, what is accepted and the nearest valid key.
    """
    return checked_settings(read_toml(Lab.open(lab.root).settings_file), str(lab.settings_file))


def save_settings(lab: Lab, settings: LabSettings) -> None:
    """Write what changed to `qdl.toml`; comments and everything else in the file stay.

    Raises:
        SettingsError: when a value is not accepted or the file is broken; nothing is written.
    """
    values = checked_settings(settings.model_dump(), str(lab.settings_file)).model_dump()
    save_toml(lab.settings_file, values, LabSettings().model_dump(), new_file=default_toml())


def validate_file(path: Path) -> list[Problem]:
    """Everything that is wrong with a `qdl.toml`; empty when nothing is."""
    try:
        values = read_toml(path)
    except SettingsError as broken:
        return [Problem(str(path), "", broken.message.removeprefix(f"{path}: ").rstrip("."), broken.hint)]
    try:
        LabSettings.model_validate(values, strict=True)
    except ValidationError as invalid:
        return _problems(invalid, LabSettings, str(path))
    return []


def checked_settings(values: Mapping[str, Any], file: str) -> LabSettings:
    """Settings from plain values.

    Raises:
        SettingsError: naming every problem; `file` is where the values come from.
    """
    return checked(LabSettings, values, file)


def checked(root: type[Root], values: Mapping[str, Any], file: str) -> Root:
    """The settings of any file from plain values; `checked_settings` is this for `qdl.toml`."""
    try:
        # Strict: TOML has types, so `rows = true` or `rows = "10"` is a mistake and not a number.
        return root.model_validate(values, strict=True)
    except ValidationError as invalid:
        raise _error(_problems(invalid, root, file)) from invalid


# Values as text ------------------------------------------------------------------------------------------

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def set_value(settings: LabSettings, key: str, text: str) -> LabSettings:
    """New settings with one value, given as text as a person types it.

    Raises:
        SettingsError: when the key is unknown or the value is not accepted.
    """
    return set_values(settings, {key: text})


def set_values(settings: LabSettings, texts: Mapping[str, str], *, file: str = "settings") -> LabSettings:
    """New settings with several values, checked together: both ends of a range may move in any order."""
    values, keys = settings.model_dump(), set(all_keys())
    for key, text in texts.items():
        section, name, *inner = key.split(".", 2) if "." in key else (key, "")
        setting = f"{section}.{name}"
        if setting not in keys or (inner and field_info(setting).kind != "mapping"):
            raise _error([_unknown_key(key, LabSettings, file)])
        if inner:
            values[section][name][inner[0]] = text
            continue
        try:
            values[section][name] = _parse(text, field_info(setting).kind)
        except ValueError as cause:
            raise _error([_not_accepted(key, text, LabSettings, file)]) from cause
    return checked_settings(values, file)


def apply_overrides(settings: LabSettings, overrides: Iterable[str], *, typed: str = "--set") -> LabSettings:
    """New settings with `key=value` words of a command line applied, all checked together.

    Args:
        settings: The settings to start from.
        overrides: The words.
        typed: What a person typed before the words, for the error message.
    """
    texts: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise SettingsError(
                f"{typed} {override}: no value", f"Write {typed} key=value, such as {typed} system1.rows=100"
            )
        texts[key.strip()] = text.strip()
    return set_values(settings, texts, file=typed)


def _parse(text: str, kind: str) -> Any:
    word = text.strip()
    if kind == "int":
        return int(word.replace(",", ""))
    if kind == "float":
        return float(word)
    if kind == "bool":
        if word.lower() not in _TRUE | _FALSE:
            raise ValueError(word)
        return word.lower() in _TRUE
    if kind == "mapping":
        return tomllib.loads(f"value = {word or '{}'}")["value"]
    return text


# Problems ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One mistake in a settings file."""

    file: str
    key: str
    message: str
    accepted: str = ""
    nearest: str = ""
    """The key or value that was probably meant."""

    def __str__(self) -> str:
        parts = [f"{self.file}: {self.key}: {self.message}." if self.key else f"{self.file}: {self.message}."]
        if self.accepted:
            parts.append(f"Accepted: {self.accepted.rstrip('.')}.")
        if self.nearest:
            parts.append(f"Did you mean {self.nearest}?")
        return " ".join(parts)

    @property
    def cause_first(self) -> str:
        """For little room: the cause, the cure, then the file; a command stands in for a long list."""
        parts = [f"{self.key}: {self.message}." if self.key else f"{self.message}."]
        if self.nearest:
            parts.append(f"Did you mean {self.nearest}?")
        elif len(self.accepted) > LONGEST_LIST:
            parts.append("qdl config validate lists what is accepted.")
        elif self.accepted:
            parts.append(f"Accepted: {self.accepted.rstrip('.')}.")
        return " ".join([*parts, f"In {self.file}"])


def _error(problems: list[Problem]) -> SettingsError:
    first = problems[0]
    hints = [f"Accepted: {first.accepted}." if first.accepted else ""]
    hints.append(f"Did you mean {first.nearest}?" if first.nearest else "")
    hints.extend(f"\nAlso: {other}" for other in problems[1:])
    head = f"{first.file}: {first.key}" if first.key else first.file
    return SettingsError(f"{head}: {first.message}", " ".join(hint for hint in hints if hint))


def _problems(invalid: ValidationError, root: type[Section], file: str) -> list[Problem]:
    return [
        _problem(
            [str(part) for part in error["loc"]], error["type"], error["msg"], error["input"], root, file
        )
        for error in invalid.errors()
    ]


def _problem(
    place: list[str], kind: str, message: str, value: Any, root: type[Section], file: str
) -> Problem:
    key = ".".join(place)
    if kind == "extra_forbidden":
        return _unknown_key(key, root, file)
    if kind in ("model_type", "model_attributes_type", "dict_type") and len(place) == 1:
        shown = f"{str(value)[:60]!r} is not a table"
        return Problem(file, key, shown, f"a table: [{key}] on a line of its own")
    message = message.removeprefix("Value error, ")
    if len(place) < 2:
        # A rule between two settings begins with the name of the first.
        whole = f"{key}.{message.split(' ', 1)[0]}"
        known = whole in all_keys(root)
        return Problem(file, whole if known else key, message, "" if known else "a table")
    if kind == "value_error" and field_info(".".join(place[:2]), root).kind == "mapping":
        wrong = next(name for name in value if name not in MAPPING_KEYS)
        near = difflib.get_close_matches(wrong, MAPPING_KEYS, 1)
        return Problem(
            file,
            f"{key}.{wrong}",
            "unknown key",
            ", ".join(MAPPING_KEYS),
            f"{key}.{near[0]}" if near else "",
        )
    return _not_accepted(key, value, root, file)


def _not_accepted(key: str, value: Any, root: type[Section], file: str) -> Problem:
    info = field_info(".".join(key.split(".")[:2]), root)
    near = difflib.get_close_matches(str(value), info.choices, 1) if info.choices else []
    shown = str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."
    return Problem(file, key, f"{shown!r} is not accepted", info.bounds_text, repr(near[0]) if near else "")


def _unknown_key(key: str, root: type[Section], file: str) -> Problem:
    section, _, name = key.partition(".")
    accepted = f"tables {', '.join(sections(root))}"
    if name and section in sections(root):
        accepted = f"in [{section}]: {', '.join(info.name for info in all_fields(section, root))}"
    return Problem(file, key, "unknown key", accepted, nearest_key(key, root))


# A new lab -----------------------------------------------------------------------------------------------


def default_toml() -> str:
    """The commented file that `qdl init` writes: every setting with its default, help, unit and bounds."""
    import tomlkit

    defaults = LabSettings()
    lines = [
        f"# {SETTINGS_FILE}: the settings of this lab. Change what you like; the app keeps your comments.",
        "",
    ]
    for section in sections():
        lines += [f"# {(type(getattr(defaults, section)).__doc__ or '').strip()}", f"[{section}]"]
        for info in all_fields(section):
            unit = f", {info.unit}" if info.unit else ""
            lines.append(f"# {info.help} ({info.bounds_text}{unit})")
            value = inline_table(info.default) if info.kind == "mapping" else tomlkit.item(info.default)
            lines.append(f"{info.name} = {value.as_string()}")
        lines.append("")
    return "\n".join(lines)


def make_lab(lab: Lab) -> None:
    """Write a new lab: its directories, prompts to compare with, and `qdl.toml` last.

    Raises:
        SettingsError: when there is a lab already; nothing is overwritten.
    """
    if lab.settings_file.exists():
        raise SettingsError(
            f"There is a lab at {lab.root} already", f"Look at it: qdl --lab {lab.word} status"
        )
    lab.create_directories()
    if not lab.sample_prompts.exists():
        prompts = resources.files("qdl_engine").joinpath("sample_prompts.txt").read_text(encoding="utf-8")
        write_text_atomic(lab.sample_prompts, prompts)
    write_text_atomic(lab.settings_file, default_toml())
