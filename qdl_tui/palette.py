"""ctrl+p: every action of the screen and the app, every preflight, run, saved comparison and setting."""

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
    from qdl_tui.shared.host import Host

Command = tuple[str, str, Callable[[], object]]
"""Title, help, what it does."""


class LabCommands(Provider):
    """Reads the same bindings as the footer and the help, so the three cannot drift."""

    _of_lab: list[Command]

    @property
    def _host(self) -> Host:
        return cast("Host", self.app)

    async def startup(self) -> None:
        self._of_lab = await asyncio.to_thread(self._lab_commands)

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

    def _commands(self) -> list[Command]:
        return [*self._actions(), *self._of_lab]

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

    def _lab_commands(self) -> list[Command]:
        """For a thread: it reads every run and comparison."""
        if not self._host.lab.settings_file.is_file():
            return self._comparisons()
        return [*self._checks(), *self._runs(), *self._comparisons(), *self._settings()]

    def _checks(self) -> list[Command]:
        from qdl_tui.synthesis.screen import open_synthesis

        preflights: list[Command] = [
            (
                f"Preflight of {name}",
                "Checks memory and time, then asks before it starts",
                partial(self._host.show_preflight, cast("System", system)),
            )
            for system, name in SYSTEM_NAMES.items()
        ]
        synthesis: Command = (
            "Make data with EasyDistill 2.x",
            "Answers, chains, scored chains or preferences; shows the config before it starts",
            partial(open_synthesis, self._host),
        )
        return [*preflights, synthesis]

    def _runs(self) -> list[Command]:
        from qdl_engine.runs.store import list_runs

        return [
            (
                printable(f"Watch run {run.id}"),
                printable(f"{run.kind} {run.system or ''} {run.state}"),
                partial(self._host.attach, run.id),
            )
            for run in list_runs(self._host.lab)
        ]

    def _comparisons(self) -> list[Command]:
        from qdl_tui.compare.saved import saved_options

        lab, show = self._host.lab, self._host.show_comparison
        saved = saved_options(lab) if lab.comparisons.is_dir() else []
        return [(f"Open comparison {name}", about, partial(show, name)) for name, about in saved]

    def _settings(self) -> list[Command]:
        """The models of the settings cost 0.1 s, once."""
        from qdl_engine.settings.fields import all_fields, sections

        fields = [info for section in sections() for info in all_fields(section)]
        return [(f"Set {info.key}", info.help, partial(self._host.show_setting, info.key)) for info in fields]


def _plain(text: str) -> str:
    """As it is, brackets and all: Textual's palette takes all that it shows for markup."""
    return escape(text)
