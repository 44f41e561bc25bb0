"""What the commands build their grammar with: a parser that raises, groups of commands, shared options.

`program.build_parser` puts the commands together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from qdl_engine.core.errors import SettingsError

_DEEPEST = 2
"""How deep commands nest: `qdl config set` is two."""


class UsageError(SettingsError):
    """Arguments that `qdl` does not understand."""


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps the lines of a paragraph that fits, and wraps one that does not."""

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
    """A set of commands that a module adds its own commands to."""

    def __init__(self, subparsers: argparse._SubParsersAction[Parser], depth: int = 1) -> None:
        self._subparsers = subparsers
        self._depth = depth

    def command(
        self, name: str, handler: Callable[..., int], help_text: str, description: str = ""
    ) -> Parser:
        """Add a command; `handler(context, arguments)` does it and returns the exit code."""
        parser = self._parser(name, help_text, description)
        parser.set_defaults(handler=handler)
        return parser

    def group(self, name: str, help_text: str) -> Group:
        """Add a command that has commands of its own."""
        parser = self._parser(name, help_text, "")
        inner = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
        return Group(inner, self._depth + 1)

    def _parser(self, name: str, help_text: str, description: str) -> Parser:
        text = description or help_text[0].upper() + help_text[1:] + "."
        parser = self._subparsers.add_parser(name, help=help_text, description=text)
        add_shared_options(parser, self._depth)
        return parser


def add_shared_options(parser: argparse.ArgumentParser, depth: int) -> None:
    """Add the options that may stand before or after the command.

    argparse copies the values of a subcommand's parser over those of the parser above it. Below the top,
    therefore, these options have no default, and each depth collects its own `--set`.
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
        help="print one JSON document on stdout",
    )


def overrides_of(given: argparse.Namespace) -> Sequence[str]:
    """All `--set` words, outermost first."""
    return [word for depth in range(_DEEPEST + 1) for word in vars(given).get(f"overrides_{depth}") or []]
