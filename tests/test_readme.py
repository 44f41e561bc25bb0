"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qdl_engine.cli.parser import build_parser
from qdl_engine.settings.fields import settings_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_models_own() -> None:
    assert settings_table() in README, "Print it anew: python -m qdl_engine.settings.fields"


def _qdl_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("qdl ")]


@pytest.mark.parametrize("command", _qdl_commands())
def test_commands_are_understood(command: str) -> None:
    import shlex

    arguments = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(arguments.handler)


def test_pictures_and_files_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
