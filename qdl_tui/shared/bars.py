"""The line of screens on top and the line of keys below: one widget each, so the first paint stays cheap."""

from __future__ import annotations

from typing import Any

from textual.binding import Binding
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Input, Static

from qdl_engine.core.words import printable
from qdl_tui.shared.keymap import character_of

MODE_TITLES = {
    "lab": "Lab",
    "system1": "System 1",
    "system2": "System 2",
    "runs": "Runs",
    "training": "Training",
    "compare": "Compare",
}
"""The screens in the order of their number keys."""

MOST_KEYS = 6
LAST_KEYS = ("app.help", "app.help_f1", "app.quit", "app.quit_ctrl")
"""Always shown, at the end."""


class TabBar(Static):
    """The screens by their number keys; the current one stands in brackets, not only in colour."""

    def __init__(self, mode: str) -> None:
        super().__init__(markup=False, classes="bar")
        self.mode = mode
        self.lab_name = ""

    def show_lab(self, name: str) -> None:
        if name != self.lab_name:
            self.lab_name = name
            self.on_resize()

    def on_resize(self) -> None:
        gap = "" if self.size.width < 64 else " "
        parts: list[Content | str | tuple[str, str]] = []
        for number, (mode, title) in enumerate(MODE_TITLES.items(), 1):
            here = mode == self.mode
            parts.append((f"[{number} {title}]", "reverse bold") if here else f"{gap}{number} {title} ")
        tabs = Content.assemble(*parts)
        room = self.size.width - tabs.cell_length - 2
        if room >= 4:
            name = Content(printable(self.lab_name)).truncate(room, ellipsis=True)
            tabs = Content.assemble(tabs, " " * (room - name.cell_length + 1), name.stylize("$text-muted"))
        self.update(tabs)


def shown_bindings(screen: Screen[object]) -> list[Binding]:
    """The bindings a footer shows: an input being typed in first, then the screen's, then the app's."""
    found: dict[str, Binding] = {}
    typing = isinstance(screen.focused, Input)
    for binding in _as_defined(screen):
        plain = (character_of(binding.key) or "\x1b").isprintable()  # esc has a character too
        if typing and plain:
            continue  # an input takes these as text
        if binding.show and binding.description and (plain or binding.action not in found):
            found[binding.action] = binding  # of two keys, the plain one: `q` before ctrl+q
    return list(found.values())


def _as_defined(screen: Screen[object]) -> list[Binding]:
    """The active bindings in the order of the classes, which a keymap does not keep."""
    active = [one for one in screen.active_bindings.values() if one.enabled]
    nodes = list(dict.fromkeys(one.node for one in active))
    places = {node: _places(node) for node in nodes}
    active.sort(key=lambda one: (nodes.index(one.node), places[one.node].get(one.binding.id or "", 0)))
    return [one.binding for one in active]


def _places(node: DOMNode) -> dict[str, int]:
    """Where each id stands among the bindings of one node."""
    every = [one for bindings in node._bindings.key_to_bindings.values() for one in bindings]
    return {one.id: place for place, one in reversed(list(enumerate(every))) if one.id}


def _leads_back(binding: Binding) -> bool:
    """Whether it is the way out of its screen, which is shown whatever else has no room."""
    return (binding.id or "").endswith((".back", ".close"))


class KeyBar(Static):
    """At most six keys, as many as fit whole: the rest is behind `?`, which is always among them."""

    def __init__(self) -> None:
        super().__init__(markup=False, classes="bar")
        self._shown = ""

    def on_mount(self) -> None:
        # The keys are shown once there is a size: from Python 3.12 on Textual's tasks start eagerly, and the
        # first screen's widgets are mounted before that screen is on the stack, where bindings are looked up.
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def on_resize(self) -> None:
        self.show_keys()

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen and screen.is_current:
            self.show_keys()

    def show_keys(self) -> None:
        bindings = shown_bindings(self.screen)
        last = sorted((item for item in bindings if item.id in LAST_KEYS), key=lambda item: item.id or "")
        first = [item for item in bindings if item not in last]
        while len(first) + len(last) > MOST_KEYS or not self._fits([*first, *last]):
            spare = [item for item in first if not _leads_back(item)]
            if not spare:
                break
            first.remove(spare[-1])
        content = self._keys([*first, *last])
        if content.markup != self._shown:
            self._shown = content.markup
            self.update(content)

    def _fits(self, bindings: list[Binding]) -> bool:
        return self._keys(bindings).rstrip().cell_length <= self.size.width

    def _keys(self, bindings: list[Binding]) -> Content:
        parts: list[tuple[str, str] | str] = []
        for binding in bindings:
            parts += [(f" {self.app.get_key_display(binding)} ", "bold $accent"), f"{binding.description}  "]
        return Content.assemble(*parts)


class TooSmall(Static):
    """Covers the screen below 60x20 and says what it needs, instead of drawing rubbish."""

    def __init__(self) -> None:
        super().__init__("This app needs 60x20.\nMake the terminal larger.", markup=False, id="too-small")


def described_bindings(node: DOMNode) -> dict[str, list[Binding]]:
    """The bindings of one widget by action, for the help: where it has any with an id, only those."""
    remapped = node._bindings.copy()
    remapped.apply_keymap(node.app._keymap)
    places = _places(node)
    every = [binding for bindings in remapped.key_to_bindings.values() for binding in bindings]
    described = [binding for binding in every if binding.description and not binding.system]
    ours = [binding for binding in described if binding.id] or described
    found: dict[str, list[Binding]] = {}
    for binding in sorted(ours, key=lambda binding: places.get(binding.id or "", 0)):
        found.setdefault(binding.action, []).append(binding)
    return found


def key_of(screen: Screen[Any], binding_id: str) -> str:
    """The key of an action as it is mapped now, for texts that name it: of the screen, the app or a widget.

    Raises:
        KeyError: when nothing there has a binding of that id.
    """
    for node in (screen, screen.app, *screen.walk_children()):
        for bindings in described_bindings(node).values():
            for binding in bindings:
                if binding.id == binding_id:
                    return screen.app.get_key_display(binding)
    raise KeyError(binding_id)
