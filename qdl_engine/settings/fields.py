"""What a form, a flag or a table of settings shows of one field, taken from the models and nowhere else.

The README's table of settings, made from the models: `python -m qdl_engine.settings.fields`.
"""

from __future__ import annotations

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
    group: str
    help: str
    unit: str
    default: Any
    bounds_text: str
    choices: tuple[str, ...]
    kind: Kind
    kinds: tuple[str, ...] = ()
    """The values of its table's `kind` that use the setting; empty when all do."""


def sections() -> list[str]:
    """The tables of `qdl.toml`, in their order."""
    return list(LabSettings.model_fields)


def _section(name: str) -> type[Section]:
    field = LabSettings.model_fields.get(name)
    if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
        raise SettingsError(f"No table [{name}] in the settings", f"Accepted: {', '.join(sections())}.")
    return field.annotation


def all_fields(section: str) -> list[FieldInfo]:
    """The fields of one table, in the order of a form."""
    return [_info(f"{section}.{name}", field) for name, field in _section(section).model_fields.items()]


def field_info(path: str) -> FieldInfo:
    """The field at `section.name`.

    Raises:
        SettingsError: when there is none.
    """
    section, _, name = path.partition(".")
    field = _section(section).model_fields.get(name)
    if field is None:
        raise SettingsError(f"No setting {path}", f"Accepted: {', '.join(_section(section).model_fields)}.")
    return _info(path, field)


def _info(key: str, field: PydanticField) -> FieldInfo:
    kind, choices = _kind(field.annotation)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return FieldInfo(
        key=key,
        group=str(extra.get("group", "")),
        help=field.description or "",
        unit=str(extra.get("unit", "")),
        default=field.get_default(call_default_factory=True),
        bounds_text=_bounds_text(kind, choices, field),
        choices=choices,
        kind=kind,
        kinds=tuple(str(name) for name in _list(extra.get("kinds"))),
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


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
    if kind == "mapping":
        return 'columns by name, such as {instruction = "question", output = "answer"}'
    bounds = {
        name: value
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt", "min_length")
        if (value := getattr(item, name, None)) is not None
    }
    if kind == "text":
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
    for section in sections():
        for field in all_fields(section):
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
