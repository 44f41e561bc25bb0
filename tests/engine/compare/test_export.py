"""A comparison handed on as Markdown or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import Answer, ComparedModel, Comparison
from qdl_engine.compare.export import export_comparison, markdown
from qdl_engine.core.errors import LabError, SettingsError

HOSTILE = "```\n<script>x</script>\n# no heading\x1b[2J"


@pytest.fixture
def comparison() -> Comparison:
    answers = [
        Answer.of(f"<think>\nwhy\n</think>\n{HOSTILE}", 9, 2.0, 0.5, "eos"),
        Answer.failure("too long"),
    ]
    model = ComparedModel("/a_b/*c*", "system2", 1234, 0.0, answers)
    return Comparison(
        ["What is *this* | that?", "b"], {"system2": model}, {"system1": "gone\n\ntrain"}, "2026"
    )


def test_markdown_holds_everything_and_obeys_nothing(comparison: Comparison) -> None:
    text = markdown(comparison)
    assert "## 1. What is \\*this\\* \\| that?" in text
    assert "9 tokens, 2.00 s, 4 tokens/s, first token after 0.50 s" in text
    assert "| system1 | skipped: gone train |" in text and "1,234" in text
    assert "\x1b" not in text and "␛[2J" in text
    assert f"````text\n{HOSTILE.replace(chr(27), '␛')}\n````" in text, "a longer fence than the text's own"
    assert "(no answer: too long)" in text


def test_json_is_the_comparison_itself(comparison: Comparison, tmp_path: Path) -> None:
    comparison.prompts[1] = "half \ud83d"
    path = export_comparison(comparison, tmp_path / "out.json")
    assert Comparison.from_dict(json.loads(path.read_text(encoding="utf-8"))) == comparison


def test_nothing_is_overwritten_unasked_and_the_name_says_the_format(
    comparison: Comparison, tmp_path: Path
) -> None:
    path = export_comparison(comparison, tmp_path / "out.md")
    with pytest.raises(SettingsError, match="exists already"):
        export_comparison(comparison, path)
    assert export_comparison(comparison, path, overwrite=True) == path
    with pytest.raises(SettingsError, match=r"Cannot export to out\.txt"):
        export_comparison(comparison, tmp_path / "out.txt")
    with pytest.raises(SettingsError, match="No directory"):
        export_comparison(comparison, tmp_path / "no" / "out.md")


def test_a_place_that_cannot_be_written_is_named(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="Cannot write"):
        export_comparison(comparison, tmp_path / ("n" * 300 + ".md"))
