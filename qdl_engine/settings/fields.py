"""What a form, `--set`, an error or docs/settings.md shows of one setting, read from the models alone.

`python -m qdl_engine.settings.fields` prints docs/settings.md.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo as PydanticField

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings import LabSettings, Section

Kind = Literal["int", "float", "bool", "choice", "text", "mapping"]


@dataclass(frozen=True)
class FieldInfo:
    """One setting, as a form shows it."""

    key: str
    """Table and name: `system1.rows`."""
    group: str
    help: str
    unit: str
    default: Any
    bounds_text: str
    """What the setting accepts, in words."""
    choices: tuple[str, ...]
    kind: Kind
    kinds: tuple[str, ...] = ()
    """The values of its table's `kind` that use the setting; empty when all do."""

    @property
    def section(self) -> str:
        """The table in `qdl.toml`."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The key within its table."""
        return self.key.partition(".")[2]


def sections(root: type[Section] = LabSettings) -> list[str]:
    """The tables of a settings file, in their order."""
    return list(root.model_fields)


def all_fields(section: str, root: type[Section] = LabSettings) -> list[FieldInfo]:
    """The settings of one table in the order of a form; none where the keys are the user's own.

    Raises:
        SettingsError: when there is no such table.
    """
    return [_info(f"{section}.{name}", field) for name, field in _fields(section, root).items()]


def field_info(path: str, root: type[Section] = LabSettings) -> FieldInfo:
    """The setting at `section.name`; of a table with free keys, what each of its values must be.

    Raises:
        SettingsError: when there is no such setting.
    """
    section, _, name = path.partition(".")
    fields = _fields(section, root)
    if not fields:
        return _info(section, root.model_fields[section])
    if name not in fields:
        raise SettingsError(f"No setting {path}", f"Accepted: {', '.join(fields)}.")
    return _info(path, fields[name])


def _fields(section: str, root: type[Section]) -> dict[str, PydanticField]:
    table = root.model_fields.get(section)
    if table is None:
        raise SettingsError(
            f"No table [{section}] in the settings", f"Accepted: {', '.join(sections(root))}."
        )
    is_section = isinstance(table.annotation, type) and issubclass(table.annotation, Section)
    return dict(table.annotation.model_fields) if is_section else {}  # type: ignore[union-attr]


def all_keys(root: type[Section] = LabSettings) -> list[str]:
    """The key of every setting."""
    return [info.key for section in sections(root) for info in all_fields(section, root)]


def nearest_key(key: str, root: type[Section] = LabSettings) -> str:
    """The valid key most like `key`, from its own table first, then by its last part from any; or nothing."""
    section, _, name = key.rpartition(".")
    if not section and (table := _nearest(name, sections(root))):
        return table
    if section and section not in sections(root):
        section = _nearest(section, sections(root))
        if section:
            return _nearest_in([section], name, root) or section
    return _nearest_in([section] if section else [], name, root) or _nearest_in(sections(root), name, root)


def _nearest_in(tables: list[str], name: str, root: type[Section]) -> str:
    names: dict[str, str] = {}
    for info in (info for table in tables for info in all_fields(table, root)):
        names.setdefault(info.name, info.key)
    near = _nearest(name, list(names))
    return names[near] if near else ""


def _nearest(word: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(word, known, 1)), "")


def _info(key: str, field: PydanticField) -> FieldInfo:
    kind, choices = _kind(field.annotation)
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return FieldInfo(
        key=key,
        group=extra.get("group", ""),
        help=field.description or "",
        unit=extra.get("unit", ""),
        default=field.get_default(call_default_factory=True),
        bounds_text=extra.get("accepts") or _bounds_text(kind, choices, field),
        choices=choices,
        kind=kind,
        kinds=tuple(extra.get("kinds", ())),
    )


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", tuple(get_args(annotation))
    if get_origin(annotation) is dict:
        return "mapping", ()
    simple: dict[Any, Kind] = {int: "int", float: "float", bool: "bool"}
    return simple.get(annotation, "text"), ()


def _bounds_text(kind: Kind, choices: tuple[str, ...], field: PydanticField) -> str:
    if kind == "choice":
        return " | ".join(choices)
    if kind == "bool":
        return "true | false"
    bounds = {
        name: value
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt", "min_length")
        if (value := getattr(item, name, None)) is not None
    }
    if kind in ("text", "mapping"):
        return "text, not empty" if bounds.get("min_length") else "text"
    noun = "whole number" if kind == "int" else "number"
    if "ge" in bounds and "le" in bounds:
        return f"{noun}, {_number(bounds['ge'])} to {_number(bounds['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [f"{words[name]} {_number(bounds[name])}" for name in words if name in bounds]
    return ", ".join([noun, *limits])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def settings_table() -> str:
    """Every setting as Markdown: key, default, what is accepted, help."""
    lines = ["| setting | default | accepted | what it does |", "|---|---|---|---|"]
    for field in (field for section in sections() for field in all_fields(section)):
        unit = f" ({field.unit})" if field.unit else ""
        accepted = field.bounds_text.replace("|", "\\|")
        lines.append(f"| `{field.key}` | {_cell(field.default)} | {accepted}{unit} | {field.help} |")
    return "\n".join(lines)


def _cell(default: Any) -> str:
    if default in ("", {}):
        return ""
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text}`"


if __name__ == "__main__":
    print("# Settings\n\nThe keys of `qdl.toml`, generated from the models that check them.\n")
    print(settings_table())
