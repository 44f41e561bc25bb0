"""What the keys do: the character of a key, the table of all bindings, and the user's own keys.

The table is read from the classes that bind keys, so no list can drift. `[keymap]` in the user's settings
file is checked against it. A wrong entry costs that entry and nothing else: the action keeps its own keys,
and a message tells the user why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from textual.binding import Binding, BindingError, InvalidBinding
from textual.dom import DOMNode
from textual.keys import Keys, format_key, key_to_character

import qdl_tui
from qdl_engine.core.lab import user_settings_file

RENAMED = {"slash": "/", "backslash": "\\", "at": "@", "minus": "-", "plus": "+", "underscore": "_"}
"""Keys that Textual has short names for, and then knows no character of."""
SURE_QUIT = "app.quit_ctrl"
"""The one binding that ends the app from anywhere, whatever has the focus."""
MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
EVERYWHERE = "app"
TOGETHER: dict[str, tuple[str, ...]] = {
    "Lab": ("lab", "steps", "list"),
    "Recipe": ("recipe", "form", "input", "list"),
    "Runs": ("runs", "run", "list"),
    "Training": ("training", "run", "log", "chart", "split"),
    "Compare": ("compare", "prompt", "answer", "text", "split"),
}
"""The groups of bindings (the first part of an id) that can act on one screen at once."""


def character_of(key: str) -> str | None:
    """The character of a key; None for a key that has none, or that has a modifier.

    >>> character_of("slash"), character_of("question_mark"), character_of("ctrl+q"), character_of("f5")
    ('/', '?', None, None)
    """
    return RENAMED.get(key) or key_to_character(key)


@dataclass(frozen=True)
class Row:
    """One action of the app and the keys that do it.

    Attributes:
        id: What `[keymap]` calls it.
        keys: The keys, comma-separated, in Textual's long names.
        does: What it does.
        default: The app's own keys.
    """

    id: str
    keys: str
    does: str
    default: str

    @property
    def group(self) -> str:
        return self.id.split(".", 1)[0]

    @property
    def shown(self) -> str:
        """The keys as a person reads them."""
        return " ".join(format_key(key) for key in self.keys.split(","))


@dataclass(frozen=True)
class Keymap:
    """The entries of the user's `[keymap]` that hold, and what is wrong with the others."""

    keys: dict[str, str]
    """Binding id to keys, as Textual's `set_keymap` takes it."""
    problems: tuple[str, ...]
    rows: tuple[Row, ...]
    """The whole table with the user's keys in it."""


def key_table() -> list[Row]:
    """One row for each id, the app's own first. It imports every screen: 0.2 s, so after the first paint."""
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
    import importlib
    import pkgutil

    for module in pkgutil.walk_packages(qdl_tui.__path__, "qdl_tui."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, DOMNode) and value.__module__ == module.name:
                yield from Binding.make_bindings(value.__dict__.get("BINDINGS", []))


def read_keymap() -> dict[str, str]:
    """The `[keymap]` as it stands, unchecked and without pydantic: the first paint waits for it.

    What cannot be read gives no keys; `qdl_engine.settings.user` says why.
    """
    import tomllib

    try:
        entries = tomllib.loads(user_settings_file().read_text(encoding="utf-8")).get("keymap", {})
    except (OSError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    texts = {name: keys for name, keys in entries.items() if isinstance(keys, str)}
    return {name: keys for name, keys in texts.items() if normalised(keys)}


def user_keymap() -> Keymap:
    """The user's keys, checked against the table.

    Raises:
        SettingsError: when the settings file cannot be read.
    """
    from qdl_engine.settings.user import load_user_settings

    return resolve(load_user_settings().keymap, key_table(), str(user_settings_file()))


def normalised(keys: str) -> str:
    """`keys` in Textual's long names: `?` is `question_mark`; empty when there is no key in it."""
    try:
        return ",".join(dict.fromkeys(one.key for one in Binding.make_bindings([Binding(keys, "none")])))
    except (BindingError, InvalidBinding):
        return ""


def resolve(wanted: Mapping[str, str], rows: Sequence[Row], file: str) -> Keymap:
    """Hold `[keymap]` against the app's table.

    An entry is dropped when its id is unknown, when it names something that is not a key, when it would leave
    no sure way to quit, or when another action of the same screen has its key. Two entries that swap their
    keys do not clash.
    """
    known = {row.id: row for row in rows}
    kept: dict[str, str] = {}
    problems: list[str] = []
    for name, keys in wanted.items():
        problem = _entry_problem(name, keys, known)
        if problem:
            problems.append(f"{file}: [keymap] {name}: {problem}")
        else:
            kept[name] = normalised(keys)
    while clash := _first_clash(kept, rows):
        mine, other, key = clash
        del kept[mine.id]
        problems.append(
            f"{file}: [keymap] {mine.id}: {format_key(key)} is the key of {other.id} ({other.does}) too; "
            f"{mine.id} ({mine.does}) keeps {mine.shown}"
        )
    table = tuple(replace(row, keys=kept.get(row.id, row.default)) for row in rows)
    return Keymap(kept, tuple(problems), table)


def _entry_problem(name: str, keys: str, known: Mapping[str, Row]) -> str:
    """What is wrong with one entry by itself; empty when nothing is."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        return f"unknown action{f'; the nearest is {near[0]}' if near else ''}. qdl-tui --keys lists them"
    if not normalised(keys):
        return 'not a key; write one such as "f5", or several as "f5,ctrl+t"'
    for key in normalised(keys).split(","):
        if not is_key(key):
            near = difflib.get_close_matches(key, _key_names(), 1)
            return f"{key!r} is not a key{f'; the nearest is {near[0]}' if near else ''}"
    if name == SURE_QUIT and all(character_of(key) for key in normalised(keys).split(",")):
        return "quitting needs one key that no text field takes, such as ctrl+q or f10"
    return ""


def is_key(key: str) -> bool:
    """Whether a terminal can send `key`: a character, a named key, either with modifiers."""
    *modifiers, last = key.split("+")
    if any(modifier not in MODIFIERS for modifier in modifiers):
        return False
    return last in _key_names() or character_of(last) is not None


def _key_names() -> frozenset[str]:
    return frozenset(key.value for key in Keys)


def _first_clash(kept: Mapping[str, str], rows: Iterable[Row]) -> tuple[Row, Row, str] | None:
    """An entry of the user, the action it clashes with, and the key; the app's own table has no clash."""
    now = {row.id: (row, kept.get(row.id, row.default).split(",")) for row in rows}
    for name in reversed(list(kept)):
        mine, keys = now[name]
        for other, taken in now.values():
            shared = [key for key in keys if key in taken]
            if shared and other.id != name and _meet(mine, other) and other.does != mine.does:
                return mine, other, shared[0]
    return None


def _meet(one: Row, other: Row) -> bool:
    """Whether both can act at the same time."""
    if EVERYWHERE in (one.group, other.group) or one.group == other.group:
        return True
    return any(one.group in groups and other.group in groups for groups in TOGETHER.values())


def keymap_text(keymap: Keymap) -> str:
    """The table `qdl-tui --keys` prints; what the user changed has a star."""
    width = max(len(row.id) for row in keymap.rows)
    lines = [f"  {'id':{width}}  {'keys':18}  what it does"]
    for row in keymap.rows:
        star = "*" if row.id in keymap.keys else " "
        lines.append(f"{star} {row.id:{width}}  {row.shown:18}  {row.does}")
    return "\n".join(lines)


def keymap_json(keymap: Keymap, file: str) -> dict[str, Any]:
    """The same for a program."""
    rows = [{**asdict(row), "changed": row.id in keymap.keys} for row in keymap.rows]
    return {"file": file, "keys": rows, "problems": list(keymap.problems)}
