"""`qdl compare`, `comparisons`, `vote`, `votes` and `prompts`, as a person and as a script meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import (
    Answer,
    ComparedModel,
    Comparison,
    list_comparisons,
    load_comparison,
    save_comparison,
)
from qdl_engine.compare.votes import append_vote, make_vote
from qdl_engine.core.lab import Lab
from tests.engine.cli.conftest import Capture, Qdl
from tests.tiny import make_tiny_model


@pytest.fixture
def saved(lab: Lab) -> str:
    """The name of a comparison of two models on two prompts."""
    texts = {"system1": ["two", "same"], "system2": ["<think>\nhm\n</think>\nthree \x1b[2J", "same"]}
    models = {
        name: ComparedModel(
            f"/m/{name}", name, 10, 0.1, [Answer.of(text, 2, 1.0, 0.5, "eos") for text in answers]
        )
        for name, answers in texts.items()
    }
    return save_comparison(lab, Comparison(["1 + 1?", "b?"], models, created="2026-01-02T03:04:05")).stem


def test_saved_comparisons_are_listed_and_shown(saved: str, lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("comparisons") == 0
    assert f"{saved}" in (shown := capsys.readouterr().out) and "2 prompts  system1, system2: 1 + 1?" in shown
    assert qdl("comparisons", "latest") == 0
    shown = capsys.readouterr().out
    assert "three ␛[2J" in shown and "=== b?" in shown
    assert qdl("comparisons", saved, "--prompt", "2", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["prompts"] == ["b?"] and value["models"]["system1"]["answers"][0]["answer"] == "same"
    assert qdl("comparisons", saved, "--prompt", "3") == 2
    (lab.comparisons / "broken.json").write_text("[]")
    assert qdl("comparisons") == 0 and "Not a comparison" in capsys.readouterr().out


def test_no_comparison_yet(qdl: Qdl, capsys: Capture) -> None:
    assert qdl("comparisons") == 0 and "No comparison yet" in capsys.readouterr().out
    assert qdl("comparisons", "latest") == 1
    assert qdl("comparisons", "--prompt", "1") == 2


def test_differences_are_marked_without_colour(saved: str, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("comparisons", saved, "--difference", "system1,system2") == 0
    shown = capsys.readouterr().out
    assert "[-two-]" in shown and "{+three ␛[2J+}" in shown and "both: same" in shown
    assert qdl("comparisons", saved, "--difference", "system1,teacher") == 2


def test_export_of_a_saved_comparison(saved: str, qdl: Qdl, tmp_path: Path, capsys: Capture) -> None:
    names = [str(tmp_path / "a.md"), str(tmp_path / "a.json")]
    assert qdl("comparisons", saved, "--export", names[0], "--export", names[1]) == 0
    assert names[0] in capsys.readouterr().out
    assert "### system2" in Path(names[0]).read_text(encoding="utf-8")
    assert json.loads(Path(names[1]).read_text())["prompts"] == ["1 + 1?", "b?"]


def test_votes_are_cast_and_scored(saved: str, lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("votes") == 0 and "No votes yet" in capsys.readouterr().out
    assert qdl("vote", saved, "1", "system2") == 0
    assert qdl("vote", saved, "2", "tie") == 0
    assert qdl("vote", saved, "2", "teacher") == 2
    assert "in place of" not in capsys.readouterr().out
    assert qdl("vote", saved, "2", "tie") == 0
    assert f"Voted on {saved}, prompt 2: tie, in place of your vote for tie\n" in capsys.readouterr().out
    blind = make_vote(load_comparison(lab.comparisons / f"{saved}.json"), saved, 0, "system1", blind=True)
    append_vote(lab, blind)
    assert qdl("vote", saved, "1", "system2") == 0
    assert ": system2, in place of your blind vote for system1\n" in capsys.readouterr().out
    assert qdl("vote", saved, "1", "system2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["replaced"]["blind"] is False
    capsys.readouterr()
    assert qdl("votes", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["votes"], value["blind"]) == (2, 0)
    assert [(item["model"]["name"], item["rate"]) for item in value["scores"]] == [
        ("system1", 0.25),
        ("system2", 0.75),
    ]
    assert qdl("votes") == 0 and "75%" in capsys.readouterr().out
    assert qdl("votes", "--blind") == 0 and "No votes yet" in capsys.readouterr().out


def test_prompts_are_shown_and_added(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.sample_prompts.write_text("One?\n", encoding="utf-8")
    assert qdl("prompts", "--add", "Two?", "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == ["One?", "Two?"]
    assert qdl("prompts") == 0
    out, err = capsys.readouterr()
    assert out == "  1  One?\n  2  Two?\n" and f"In the order of {lab.sample_prompts}." in err
    assert qdl("prompts", "--add", "#no") == 2
    assert lab.sample_prompts.read_text(encoding="utf-8") == "One?\nTwo?\n"


def test_answers_are_shown_even_when_they_cannot_be_saved(
    lab: Lab, qdl: Qdl, tmp_path: Path, capsys: Capture
) -> None:
    make_tiny_model(lab.system1_checkpoint)
    words = ("compare", "Hi?", "--only", "system1", "--set", "comparison.max_new_tokens=3")
    out = tmp_path / "x.md"
    assert qdl(*words, "--export", str(out)) == 0
    assert "Saved: " in (shown := capsys.readouterr().out) and f"Exported: {out}" in shown
    assert len(list_comparisons(lab)) == 1 and "### system1" in out.read_text(encoding="utf-8")
    assert qdl(*words, "--export", str(out)) == 2, "refused before any model is asked"
    assert "Loading" not in capsys.readouterr().err
    for path in lab.comparisons.iterdir():
        path.unlink()
    lab.comparisons.rmdir()
    lab.comparisons.write_text("in the way")
    assert qdl(*words) == 1
    shown = capsys.readouterr()
    assert "=== Hi?" in shown.out and "--- system1" in shown.out
    assert "could not be saved" in shown.err
    assert qdl(*words, "--json") == 1
    value = json.loads(capsys.readouterr().out)
    assert value["models"]["system1"]["answers"] and "could not be saved" in value["error"]["message"]
