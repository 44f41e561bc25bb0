"""What preflight says of the rows is what the trainer does with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.preflight.rows import load_rows, row_figures
from qdl_engine.settings import LabSettings
from tests.engine.preflight.conftest import write_rows


def test_counts_are_those_of_the_trainer(lab: Lab, settings: LabSettings) -> None:
    from qdl_engine.config.model import read_config
    from qdl_engine.config.write import write_system1_config
    from qdl_engine.core.events import no_sink
    from qdl_engine.trainer.plan import make_plan

    write_rows(lab)
    plan = make_plan(read_config(write_system1_config(lab, settings)), no_sink)
    rows = load_rows(lab, settings, "system1")
    figures = row_figures(rows, settings.recipe("system1"))
    assert figures.origin == "counted"
    assert figures.trained_rows == len(plan.rows) and figures.held_out_rows == len(plan.held_out)
    assert {rows.lengths.ids[place] for place in rows.kept} == {row.id for row in plan.rows}
    assert (
        (figures.too_long_rows, figures.broken_rows) == (plan.counts.too_long, plan.counts.broken) == (1, 1)
    )
    assert figures.trained_tokens == sum(row.trained_tokens for row in plan.rows)
    assert figures.masked_tokens == sum(row.prompt_length for row in plan.rows)
    assert figures.longest == max(len(row.input_ids) for row in plan.rows)


def test_the_longest_rows_are_in_one_pass_and_steps_are_whole(lab: Lab, settings: LabSettings) -> None:
    write_rows(lab)
    rows = load_rows(lab, settings, "system1")
    figures = row_figures(rows, settings.recipe("system1"))
    passes = rows.passes(settings.system1)
    assert sum(batch.rows for batch in passes) == figures.trained_rows
    assert max(batch.length for batch in passes) == figures.longest
    assert figures.steps_per_epoch == -(-len(passes) // 2) and figures.steps == 2 * figures.steps_per_epoch
    assert 0 < figures.padding < 0.2
    settings.system1.max_steps = 3
    assert row_figures(rows, settings.recipe("system1")).steps == 3
    settings.system1.group_by_length = False
    mixed = row_figures(load_rows(lab, settings, "system1"), settings.recipe("system1"))
    assert mixed.padding > figures.padding


def test_tokens_are_counted_once_until_the_data_change(
    lab: Lab, settings: LabSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(lab)
    first = load_rows(lab, settings, "system1")
    store = json.loads(lab.token_counts_file("system1").read_text(encoding="utf-8"))
    with monkeypatch.context() as patched:
        patched.setattr("tokenizers.Tokenizer.from_file", None)
        again = load_rows(lab, settings, "system1")
    assert again.lengths == first.lengths and store["ids"] == first.lengths.ids
    write_rows(lab, 30)
    assert len(load_rows(lab, settings, "system1").lengths.ids) == 31
    lab.token_counts_file("system1").write_text('{"format": 1, "key"', encoding="utf-8")
    assert len(load_rows(lab, settings, "system1").lengths.ids) == 31


def test_without_the_tokenizer_it_estimates_to_the_prepared_sum(lab: Lab, settings: LabSettings) -> None:
    write_rows(lab)
    settings.system1.student = "Qwen/Qwen2.5-0.5B-Instruct"
    lab.report_file("system1").write_text(json.dumps({"tokens": {"total": 5000}}), encoding="utf-8")
    figures = row_figures(load_rows(lab, settings, "system1"), settings.recipe("system1"))
    assert figures.origin == "by characters" and "estimated" in figures.note
    assert figures.tokens == pytest.approx(5000, rel=0.2)


def test_unprepared_data_are_guessed_and_said_to_be(lab: Lab, settings: LabSettings) -> None:
    settings.system2.rows = 500
    figures = row_figures(load_rows(lab, settings, "system2"), settings.recipe("system2"))
    assert figures.origin == "guessed" and "guess" in figures.note
    assert figures.trained_rows + figures.held_out_rows == 500
    assert figures.longest <= settings.system2.max_length


def test_unanswered_rows_have_their_prompts_counted(lab: Lab, settings: LabSettings, tmp_path: Path) -> None:
    settings.system1.label = True
    lab.train_instructions.write_text(
        json.dumps([{"id": str(at), "instruction": f"Say {at}.", "output": ""} for at in range(20)])
    )
    figures = row_figures(load_rows(lab, settings, "system1"), settings.recipe("system1"))
    assert figures.origin == "guessed" and "not answered" in figures.note
    assert figures.trained_rows + figures.held_out_rows == 20
