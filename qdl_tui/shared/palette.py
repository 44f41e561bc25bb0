"""ctrl+p: every action of the screen and the app, every screen, every run, every setting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.markup import escape

from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.runs.store import Run
    from qdl_tui.app import QdlApp

Command = tuple[str, str, Callable[[], object]]
"""Title, help, what it does."""


class LabCommands(Provider):
    """Reads the same bindings as the footer and the help, so the three cannot drift."""

    _runs: list[Run]
    _settings: list[tuple[str, str]]
    _comparisons: list[tuple[str, str]]

    async def startup(self) -> None:
        self._runs = await asyncio.to_thread(self._read_runs)
        self._settings = await asyncio.to_thread(self._read_settings)
        self._comparisons = await asyncio.to_thread(self._read_comparisons)

    def _read_settings(self) -> list[tuple[str, str]]:
        """Key and help of every setting. The settings models cost 0.1 s, once, in a thread."""
        from qdl_engine.settings.fields import all_fields, sections

        if not self._app.lab.settings_file.is_file():
            return []
        return [(info.key, info.help) for section in sections() for info in all_fields(section)]

    def _read_comparisons(self) -> list[tuple[str, str]]:
        """Name of each saved comparison, and what is in it."""
        from qdl_tui.compare.saved import saved_options

        return saved_options(self._app.lab) if self._app.lab.comparisons.is_dir() else []

    def _read_runs(self) -> list[Run]:
        from qdl_engine.runs.store import list_runs

        lab = self._app.lab
        return list_runs(lab) if lab.settings_file.is_file() else []

    @property
    def _app(self) -> QdlApp:
        return cast("QdlApp", self.app)

    def _actions(self) -> list[Command]:
        found: list[Command] = []
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.description and binding.id and not binding.id.startswith("list."):
                found.append(self._action(active.node, binding))
        return list({command[0]: command for command in found}.values())

    def _action(self, node: DOMNode, binding: Binding) -> Command:
        goes = binding.action.startswith("show_mode")
        title = f"Go to {binding.description}" if goes else binding.description
        key = self.app.get_key_display(binding)
        help_text = f"{binding.tooltip} [key {key}]" if binding.tooltip else f"[key {key}]"
        return title, help_text, partial(self.app.run_action, binding.action, node)

    def _commands(self) -> list[Command]:
        runs: list[Command] = [
            (
                printable(f"Watch run {run.id}"),
                printable(f"{run.kind} {run.system or ''} {run.state}"),
                partial(self._app.attach, run.id),
            )
            for run in self._runs
        ]
        settings: list[Command] = [
            (f"Set {key}", help_text, partial(self._app.show_setting, key))
            for key, help_text in self._settings
        ]
        preflights: list[Command] = [
            (
                f"Preflight of {name}",
                "Will its training fit, how long will it take; it is started from there",
                partial(self._app.show_preflight, cast("System", system)),
            )
            for system, name in SYSTEM_NAMES.items()
        ]
        synthesis: list[Command] = [
            (
                "Make data with EasyDistill 2.x",
                "Answers, chains, scored chains or preferences; shows the config before it starts",
                self._open_synthesis,
            )
        ]
        comparisons: list[Command] = [
            (f"Open comparison {name}", about, partial(self._app.show_comparison, name))
            for name, about in self._comparisons
        ]
        there = [*preflights, *synthesis] if self._settings else []
        return [*self._actions(), *there, *runs, *comparisons, *settings]

    def _open_synthesis(self) -> None:
        from qdl_tui.synthesis.screen import open_synthesis

        open_synthesis(self._app)

    async def discover(self) -> Hits:
        for title, help_text, act in self._commands():
            yield DiscoveryHit(_plain(title), act, text=title, help=_plain(help_text))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, act in self._commands():
            score = matcher.match(title)
            if score > 0:
                shown = matcher.highlight(title) if _plain(title) == title else _plain(title)
                yield Hit(score, shown, act, text=title, help=_plain(help_text))


def _plain(text: str) -> str:
    """As it is, brackets and all: Textual's palette takes all that it shows for markup."""
    return escape(text)
