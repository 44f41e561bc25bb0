"""The grammar of `qdl`. Building it imports none of the engine's heavy parts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from qdl_engine import __version__
from qdl_engine.core.errors import SettingsError

DESCRIPTION = (
    "Distil one big Qwen teacher into two small students: System 1 answers at once, System 2 reasons first."
)
EPILOG = (
    "From nothing:   qdl init; qdl train system1; qdl train system2; qdl compare\n"
    "Without a GPU:  qdl demo\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage or settings, 130 interrupted (a run goes on)."
)
_DEEPEST = 2


class UsageError(SettingsError):
    """Arguments that `qdl` does not understand."""


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps paragraphs as they are written where they fit, and wraps those that do not."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = []
        for paragraph in text.split("\n\n"):
            fits = all(len(line) <= width for line in paragraph.splitlines())
            filled.append(paragraph if fits else super()._fill_text(paragraph, width, indent))
        return "\n\n".join(filled)


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that `--json` also covers mistakes in the arguments."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(*arguments, **{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", self.format_usage().strip())


class Group:
    """Where a module of commands adds its own."""

    def __init__(self, subparsers: argparse._SubParsersAction[Parser], depth: int = 1) -> None:
        self._subparsers = subparsers
        self._depth = depth

    def command(
        self, name: str, handler: Callable[..., int], help_text: str, description: str = ""
    ) -> Parser:
        """A command that `handler(context, arguments)` does."""
        parser = self._parser(name, help_text, description)
        parser.set_defaults(handler=handler)
        return parser

    def group(self, name: str, help_text: str) -> Group:
        """A command with commands of its own."""
        parser = self._parser(name, help_text, "")
        inner = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
        return Group(inner, self._depth + 1)

    def _parser(self, name: str, help_text: str, description: str) -> Parser:
        text = description or help_text[0].upper() + help_text[1:] + "."
        parser = self._subparsers.add_parser(name, help=help_text, description=text)
        add_shared_options(parser, self._depth)
        return parser


def add_shared_options(parser: argparse.ArgumentParser, depth: int) -> None:
    """Options that may stand before and after the command.

    A subcommand's parser copies what it found over what was found before, so below the top nothing has a
    default, and each depth collects its own `--set`.
    """
    top = depth == 0
    group = parser.add_argument_group("options of every command")
    group.add_argument(
        "--lab",
        metavar="DIR",
        default="." if top else argparse.SUPPRESS,
        help="the lab's directory (default: here)",
    )
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[] if top else argparse.SUPPRESS,
        dest=f"overrides_{depth}",
        help="change a setting for this command, such as --set system1.rows=100; repeatable",
    )
    group.add_argument(
        "--json",
        action="store_true",
        default=False if top else argparse.SUPPRESS,
        help="one JSON document on stdout",
    )


def overrides_of(given: argparse.Namespace) -> Sequence[str]:
    """All `--set` words, in their order."""
    return [word for depth in range(_DEEPEST + 1) for word in vars(given).get(f"overrides_{depth}") or []]


def build_parser() -> Parser:
    """The whole grammar."""
    from qdl_engine.cli import (
        comparing,
        comparisons,
        demo,
        easydistill,
        health,
        jobs,
        labs,
        preflight,
        preview,
        run_config,
        scoring,
        watching,
    )

    parser = Parser(prog="qdl", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"qdl {__version__}")
    add_shared_options(parser, 0)
    group = Group(parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser))
    for module in (
        labs,
        preview,
        preflight,
        jobs,
        scoring,
        run_config,
        watching,
        comparing,
        comparisons,
        demo,
        health,
        easydistill,
    ):
        module.add_commands(group)
    return parser
