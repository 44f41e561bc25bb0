"""Preparing real text: Alpaca as System 1, GSM8K as System 2. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import split_completion
from qdl_engine.data.files import load_rows
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.settings.toml import load_settings
from tests.engine.data.words import WordTokenizer, system1

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
ALPACA, GSM8K = DATA / "alpaca_en_demo.json", DATA / "gsm8k_train.jsonl"

pytestmark = pytest.mark.skipif(not ALPACA.exists() or not GSM8K.exists(), reason="no real text here")


def test_alpaca_as_system1(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path)
    report = prepare_system1_dataset(lab, system1(ALPACA, rows=10_000), tokenizer=WordTokenizer())
    assert report.fields == "distilqwen"
    assert report.source_rows == 1000 == report.kept + sum(step.dropped for step in report.steps)
    assert report.kept > 950
    assert all(row["instruction"].strip() and row["output"].strip() for row in load_rows(lab.train_labeled))


@pytest.mark.parametrize("fields", ["auto", "mapping"])
def test_gsm8k_as_system2_is_mapped_in_the_settings_file(tmp_path: Path, fields: str) -> None:
    lab = Lab.at(tmp_path)
    mapping = 'mapping = {instruction = "question", output = "answer"}\n' if fields == "mapping" else ""
    lab.settings_file.write_text(
        f'[system2]\nsource = "{GSM8K}"\nrows = 500\nfields = "{fields}"\n{mapping}', encoding="utf-8"
    )
    report = prepare_system2_dataset(lab, load_settings(lab).system2, tokenizer=WordTokenizer())
    assert report.fields == ("qa" if fields == "auto" else "mapping")
    assert report.kept == 500 and report.source_rows == 2000
    for row in load_rows(lab.omnithought_cot):
        parts = split_completion(row["output"])
        assert parts.reasoning and parts.answer.strip("-$").replace(",", "").replace(".", "").isdigit()
        assert "####" not in row["output"]
