"""The README's table of settings, made from the models: `python -m qdl_engine.reference`."""

from __future__ import annotations

from typing import Any

from qdl_engine.field_info import all_fields, sections


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
    print(settings_table())
