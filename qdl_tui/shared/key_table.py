"""Every binding of the app with an id, read from the classes that bind them, so that no list can drift."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from textual.binding import Binding
from textual.dom import DOMNode

import qdl_tui
from qdl_engine.core.lab import user_settings_file
from qdl_tui.shared.keymap import EVERYWHERE, Keymap, Row, resolve


def key_table() -> list[Row]:
    """One row for each id, the app's own first. It imports every screen: 0.2 s, so not before the paint."""
    found: dict[str, list[Binding]] = {}
    for binding in _bindings():
        if binding.id:
            found.setdefault(binding.id, []).append(binding)
    rows = [_row(name, bindings) for name, bindings in found.items()]
    return sorted(rows, key=lambda row: (row.group != EVERYWHERE, row.group))


def _row(name: str, bindings: list[Binding]) -> Row:
    keys = ",".join(dict.fromkeys(binding.key for binding in bindings))
    first = bindings[0]
    return Row(name, keys, first.tooltip or first.description, keys)


def _bindings() -> Iterator[Binding]:
    for module in pkgutil.walk_packages(qdl_tui.__path__, "qdl_tui."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, DOMNode) and value.__module__ == module.name:
                yield from Binding.make_bindings(value.__dict__.get("BINDINGS", []))


def user_keymap() -> Keymap:
    """The user's keys, checked against the table.

    Raises:
        SettingsError: when the settings file cannot be read.
    """
    from qdl_engine.settings.user import load_user_settings

    return resolve(load_user_settings().keymap, key_table(), str(user_settings_file()))
