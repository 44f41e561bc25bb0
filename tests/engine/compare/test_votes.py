"""Votes are kept, counted once, and scored with their interval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import Answer, ComparedModel, Comparison
from qdl_engine.compare.votes import append_vote, blind_order, make_vote, read_votes, scores_text, vote_scores
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab

MODELS = ("teacher", "system1", "system2")


def compared(*names: str, prompts: int = 2, written: str = "2026-01-01T10:00:00+00:00") -> Comparison:
    answer = Answer.of("yes", 1, 1.0, 0.5, "eos")
    models = {
        name: ComparedModel(f"/models/{name}", "system1", 1000, 0.0, [answer] * prompts, written)
        for name in names
    }
    return Comparison([f"prompt {number}" for number in range(prompts)], models, created="2026-01-02")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path)


def test_a_vote_is_kept_with_who_when_and_what(lab: Lab) -> None:
    vote = make_vote(
        compared(*MODELS), "c1", 1, "system2", order=["system2", "teacher", "system1"], blind=True
    )
    append_vote(lab, vote)
    assert read_votes(lab) == [vote]
    stored = json.loads(lab.votes.read_text())
    assert stored["prompt"] == "prompt 1" and stored["best"] == "system2" and stored["blind"] is True
    assert [model["name"] for model in stored["models"]] == ["system2", "teacher", "system1"]
    assert stored["who"] and stored["time"].startswith("20")


def test_only_the_last_vote_on_the_same_answers_counts(lab: Lab) -> None:
    for best in ("teacher", "tie", "system1"):
        append_vote(lab, make_vote(compared(*MODELS), "c1", 0, best))
    append_vote(lab, make_vote(compared(*MODELS), "c1", 1, "teacher"))
    assert [vote.best for vote in read_votes(lab)] == ["system1", "teacher"]
    assert len(lab.votes.read_text().splitlines()) == 4


def test_everybody_has_a_vote(lab: Lab) -> None:
    mine = make_vote(compared(*MODELS), "c1", 0, "teacher")
    append_vote(lab, mine)
    append_vote(lab, replace(mine, who="somebody else", best="system1"))
    assert [vote.best for vote in read_votes(lab)] == ["teacher", "system1"]


def test_a_broken_line_costs_no_other_vote(lab: Lab) -> None:
    first, second = make_vote(compared(*MODELS), "c1", 0, "tie"), make_vote(compared(*MODELS), "c2", 0, "bad")
    append_vote(lab, first)
    with open(lab.votes, "ab") as handle:
        handle.write(b'[1]\n{"time": "\n\xff\n{"best": "tie", "mod')
    append_vote(lab, second)
    assert read_votes(lab) == [first, second]


def test_scores_count_ties_as_halves_and_bad_as_nothing(lab: Lab) -> None:
    comparison = compared(*MODELS, prompts=4)
    votes = [
        make_vote(comparison, "c", index, best)
        for index, best in enumerate(["system2", "tie", "bad", "system2"])
    ]
    teacher, system1, system2 = vote_scores(votes)
    assert [score.model.name for score in (teacher, system1, system2)] == list(MODELS)
    assert (teacher.rate, system1.rate, system2.rate) == (0.125, 0.125, 0.625)
    assert (system2.best, system2.ties, system2.votes) == (2, 1, 4)
    assert 0 <= system2.low < system2.rate < system2.high <= 1
    # Wilson's interval for 2.5 of 4, worked out by hand.
    assert (system2.low, system2.high) == pytest.approx((0.2180, 0.9085), abs=2e-3)
    table = scores_text([teacher, system1, system2])
    assert "62%" in table and "system2" in table
    assert vote_scores([]) == []


def test_a_student_trained_anew_is_another_candidate() -> None:
    old = make_vote(compared("system1", "system2", written="2026-01-01T00:00:00"), "a", 0, "system1")
    new = make_vote(compared("system1", "system2", written="2026-02-01T00:00:00"), "b", 0, "system2")
    scores = vote_scores([old, new])
    assert [(score.model.name, score.model.written[:7], score.best) for score in scores] == [
        ("system1", "2026-02", 0),
        ("system1", "2026-01", 1),
        ("system2", "2026-02", 1),
        ("system2", "2026-01", 0),
    ]


def test_what_cannot_be_voted_on_is_refused() -> None:
    with pytest.raises(SettingsError, match="No prompt 3"):
        make_vote(compared(*MODELS), "c", 2, "tie")
    with pytest.raises(SettingsError, match="No answer of 'system2'"):
        make_vote(compared("teacher", "system1"), "c", 0, "system2")
    with pytest.raises(LabError, match="two answers"):
        make_vote(compared("teacher"), "c", 0, "teacher")
    failed = compared("teacher", "system1")
    failed.models["teacher"].answers[0] = Answer.failure("out of memory")
    with pytest.raises(LabError, match="two answers"):
        make_vote(failed, "c", 0, "system1")


def test_the_blind_order_is_the_comparisons_own_and_no_order_is_preferred() -> None:
    assert blind_order(MODELS, "2026", "a") == blind_order(MODELS, "2026", "a")
    firsts = [blind_order(MODELS, "2026", f"prompt {number}")[0] for number in range(300)]
    assert all(60 < firsts.count(name) < 140 for name in MODELS)
