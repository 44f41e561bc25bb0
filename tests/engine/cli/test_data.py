"""`qdl prepare` and `qdl preview`: rows as the student sees them, and as the source has them."""

from __future__ import annotations

import json

from qdl_engine.core.lab import Lab
from tests.engine.cli.conftest import Capture, Qdl


def test_prepare_and_preview(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    capsys.readouterr()
    assert qdl("preview", "system1") == 1 and "prepare system1" in capsys.readouterr().err
    assert qdl("prepare", "system1", "--json", "--set", "system1.rows=3") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 3
    assert qdl("prepare", "system1") == 0 and "Kept 4 of 4" in capsys.readouterr().out
    assert qdl("preview", "system1", "--count", "9") == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>user\nSay two␛[2J.<|im_end|>" in shown and "\x1b" not in shown


def test_preview_shows_rows_that_lack_something(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.omnithought_cot.write_text('[{"x": 1}, {"instruction": 7, "output": null}]', encoding="utf-8")
    assert qdl("preview", "system2") == 0
    assert "--- row 1" in capsys.readouterr().out


def test_a_filter_by_a_level_that_no_row_has_says_so(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.omnithought_cot.write_text('[{"instruction": "a train", "output": "b", "cd": 4}]', encoding="utf-8")
    assert qdl("preview", "system2", "--filter", "rv:3-5 trains") == 1
    err = capsys.readouterr().err
    assert "No prepared row of system2 has an RV, so 'rv:3-5 trains' matches none" in err and " score" in err
    assert qdl("preview", "system2", "--filter", "cd:5 trains") == 1
    assert "match 'cd:5 trains' from row 1 on" in capsys.readouterr().err


def test_preview_of_one_row_of_a_filter_of_a_source_and_of_the_report(
    ready: Lab, qdl: Qdl, capsys: Capture
) -> None:
    assert qdl("prepare", "system1") == 0
    capsys.readouterr()
    assert qdl("preview", "system1", "--row", "2", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    tokens = row["tokens"]
    assert tokens["origin"] == "counted" and tokens["total"] == tokens["prompt"] + tokens["trained"]
    assert row["number"] == 2 and row["trained"] == f"{row['output']}<|im_end|>" and row["id"]
    assert qdl("preview", "system1", "--filter", row["instruction"], "--json") == 0
    assert row in json.loads(capsys.readouterr().out)["rows"]
    assert qdl("preview", "system1", "--filter", "no such text") == 1
    assert "no such text" in capsys.readouterr().err
    assert qdl("preview", "system1", "--report") == 0
    assert "Tokens per row" in capsys.readouterr().out
    columns = {"instruction": "output", "output": "instruction"}
    swapped = [word for key, to in columns.items() for word in ("--set", f"system1.mapping.{key}={to}")]
    assert qdl("preview", "system1", "--source", "--count", "1", *swapped, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["fields"] == "mapping" and "output" in shown["columns"] and len(shown["rows"]) == 1
    assert shown["raw"]["rows"][0]["value"]["output"] in shown["rows"][0]["prompt"]


def test_a_source_that_is_not_recognised_still_shows_its_columns(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    (lab.root / "odd.jsonl").write_text('{"frage": "?", "antwort": "!"}\n', encoding="utf-8")
    odd = ["--set", "system1.source=odd.jsonl"]
    assert qdl("preview", "system1", "--source", *odd) == 1
    assert "  frage: ?" in capsys.readouterr().out
    assert qdl("preview", "system1", "--source", "--json", *odd) == 1
    assert "antwort" in json.loads(capsys.readouterr().out)["problem"]


def test_a_source_says_how_many_of_its_rows_are_shown(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("preview", "system1", "--source", "--count", "2") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert "first 2 rows" in last and "--count N" in last
