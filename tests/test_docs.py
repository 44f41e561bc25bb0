"""The documents say what the code does: commands parse, links and paths exist, settings are true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qdl_engine.cli.program import build_parser
from qdl_engine.settings.fields import settings_table

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
_PATH = re.compile(r"`((?:qdl_engine|qdl_tui|tests|docs|\.ci)/[\w./]*\w/?)`")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", "".join(path.read_text("utf-8") for path in DOCUMENTS), re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("qdl ")]


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command: str) -> None:
    arguments = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(arguments.handler)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).exists(), link
    for path in _PATH.findall(text):
        assert (ROOT / path).exists(), path


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_table_of_settings_is_the_models_own() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in written, "renew it: python -m qdl_engine.settings.fields > docs/settings.md"
