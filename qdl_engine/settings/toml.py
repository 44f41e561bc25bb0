"""`qdl.toml` read, checked, changed and saved. It is the user's file: comments and order survive a save."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, MutableMapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qdl_engine.core.errors import SettingsError, toml_error
from qdl_engine.core.lab import SETTINGS_FILE, Lab, write_text_atomic
from qdl_engine.settings import LabSettings
from qdl_engine.settings.fields import all_fields, field_info, sections
from qdl_engine.settings.problems import (
    Problem,
    all_keys,
    from_pydantic,
    problem,
    settings_error,
    unknown_key,
)

__all__ = [
    "Problem",
    "all_fields",
    "apply_overrides",
    "default_toml",
    "field_info",
    "load_settings",
    "save_settings",
    "set_value",
    "set_values",
    "validate_file",
]


def load_settings(lab: Lab) -> LabSettings:
    """The settings of a lab.

    Raises:
        SettingsError: naming file, key, what is accepted and the nearest valid key.
    """
    return checked_settings(read_toml(Lab.open(lab.root).settings_file), str(lab.settings_file))


def validate_file(path: Path) -> list[Problem]:
    """Everything that is wrong with a settings file; empty when nothing is."""
    try:
        values = read_toml(path)
    except SettingsError as broken:
        return [Problem(str(path), "", broken.message.removeprefix(f"{path}: ").rstrip("."), broken.hint)]
    return _problems(values, str(path))


def toml_text(path: Path) -> str:
    """The file as it stands: line ends are the user's too."""
    return path.read_bytes().decode()


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values.

    Raises:
        SettingsError: when it cannot be read or is no TOML.
    """
    text = ""
    try:
        text = toml_text(path)
        # A byte order mark is how some editors begin a file.
        return tomllib.loads(text.removeprefix("\ufeff"))
    except OSError as cause:
        raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise SettingsError(f"{path}: not valid TOML: not UTF-8 text", "Save it as UTF-8.") from cause
    except tomllib.TOMLDecodeError as cause:
        raise toml_error(path, text, cause) from cause


def checked_settings(values: Mapping[str, Any], file: str) -> LabSettings:
    """Settings from plain values, or one error that names every problem."""
    try:
        # Strict: TOML has types, so `rows = true` or `rows = "10"` is a mistake and not a number.
        return LabSettings.model_validate(values, strict=True)
    except ValidationError as invalid:
        raise settings_error(from_pydantic(invalid, file)) from invalid


def _problems(values: Mapping[str, Any], file: str) -> list[Problem]:
    try:
        LabSettings.model_validate(values, strict=True)
    except ValidationError as invalid:
        return from_pydantic(invalid, file)
    return []


def set_value(settings: LabSettings, key: str, text: str) -> LabSettings:
    """New settings with one value, given as text as a person types it.

    Raises:
        SettingsError: when the key is unknown or the value is not accepted; `settings` stays as it was.
    """
    return set_values(settings, {key: text})


def set_values(settings: LabSettings, texts: Mapping[str, str], *, file: str = "settings") -> LabSettings:
    """New settings with several values, checked together: `rv_min` and `rv_max` may move in any order."""
    values = settings.model_dump()
    for key, text in texts.items():
        parts = key.split(".")
        if (
            len(parts) == 3
            and ".".join(parts[:2]) in all_keys()
            and field_info(".".join(parts[:2])).kind == "mapping"
        ):
            values[parts[0]][parts[1]][parts[2]] = text
            continue
        if key not in all_keys():
            raise settings_error([unknown_key(key, file)])
        info = field_info(key)
        try:
            values[parts[0]][parts[1]] = _parse(text, info.kind)
        except ValueError as cause:
            raise settings_error([problem(parts, "", "", text, file)]) from cause
    return checked_settings(values, file)


def apply_overrides(settings: LabSettings, overrides: Iterable[str], *, typed: str = "--set") -> LabSettings:
    """New settings with `key=value` words of a command line applied, all checked together.

    Args:
        settings: What they change.
        overrides: The words.
        typed: What a person typed before them, for the message when one cannot be.
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


_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


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


def save_settings(lab: Lab, settings: LabSettings) -> None:
    """Save settings: only what changed is written, all else in the file stays, comments included.

    Values are checked again first, so nothing is ever saved half.
    """
    import tomlkit

    values = checked_settings(settings.model_dump(), str(lab.settings_file)).model_dump()
    if lab.settings_file.exists():
        read_toml(lab.settings_file)
        document = tomlkit.parse(toml_text(lab.settings_file).removeprefix("\ufeff"))
    else:
        document = tomlkit.parse(default_toml())
    defaults = LabSettings().model_dump()
    for section, fields in values.items():
        if section not in document:
            if fields == defaults[section]:
                continue
            document[section] = tomlkit.table()
        sync_table(document[section], fields, defaults[section])  # type: ignore[arg-type]
    write_text_atomic(lab.settings_file, tomlkit.dumps(document))


def sync_table(
    table: MutableMapping[str, Any], values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Bring a table of the file to these values; a default that the file does not spell out stays unsaid."""
    import tomlkit

    for key, value in values.items():
        if key not in table:
            if value != defaults.get(key):
                table[key] = _inline(value) if isinstance(value, dict) else value
        elif _plain(table[key]) != value:
            if isinstance(value, dict) and isinstance(table[key], tomlkit.items.Table):
                replace_entries(table[key], value)
            else:
                table[key] = _inline(value) if isinstance(value, dict) else value


def replace_entries(table: MutableMapping[str, Any], value: Mapping[str, Any]) -> None:
    """Bring a table of free keys to exactly these; what stays keeps its place and comment."""
    for gone in [key for key in table if key not in value]:
        del table[gone]
    for key, item in value.items():
        if key not in table or _plain(table[key]) != item:
            table[key] = item


def _plain(item: Any) -> Any:
    from tomlkit.items import Item

    return item.unwrap() if isinstance(item, Item) else item


def _inline(value: Mapping[str, Any]) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update(value)
    return table


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
            value = _inline(info.default) if isinstance(info.default, dict) else tomlkit.item(info.default)
            lines.append(f"{info.key.split('.', 1)[1]} = {value.as_string()}")
        lines.append("")
    return "\n".join(lines)


def make_lab(lab: Lab) -> None:
    """Write a new lab at `lab.root`: directories, prompts to compare with, and `qdl.toml` last of all.

    Raises:
        SettingsError: when there is one already; nothing is overwritten.
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
