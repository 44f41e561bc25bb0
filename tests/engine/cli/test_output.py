"""What `qdl` prints where, whatever becomes of its streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.cli import main
from qdl_engine.cli.context import dump_json
from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import Run
from tests.engine.cli.conftest import Capture, Qdl


def test_no_traceback_reaches_a_person(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.runs.rmdir()
    lab.runs.write_text("not a directory", encoding="utf-8")
    assert qdl("label", "--detach") == 1
    shown = capsys.readouterr().err
    assert "Unexpected" in shown and "Traceback" not in shown
    (log,) = lab.logs.iterdir()
    assert str(log) in shown and "Traceback" in log.read_text(encoding="utf-8")


def test_json_is_strict_and_harmless() -> None:
    text = dump_json({"loss": float("nan"), "path": Path("x"), "text": "ü \x1b \x9b \u202e \udc80"})
    assert json.loads(text) == {"loss": "nan", "path": "x", "text": "ü \x1b \x9b \u202e \udc80"}
    assert text.isprintable() is False and all(c == "\n" or c.isprintable() for c in text) and "ü" in text


def test_output_cut_off_by_its_reader_is_no_error(lab: Lab) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "qdl_engine.cli", "config", "show", "--lab", str(lab.root)],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


SHELL_CASES = {
    "a closed stdout": ("config show >&-", 0),
    "a closed stdout, as JSON": ("--json attach 99 >&-", 1),
    "a closed stderr": ("attach 99 2>&-", 1),
    "a full stdout": ("config show >/dev/full", 1),
    "a full stdout, as JSON": ("--json attach 99 >/dev/full", 1),
    "a full stderr": ("attach 99 2>/dev/full", 1),
    "a reader that is gone": ("--json attach 99 | true", 1),
}


@pytest.mark.parametrize("case", SHELL_CASES)
def test_no_traceback_whatever_becomes_of_the_streams(lab: Lab, case: str) -> None:
    words, code = SHELL_CASES[case]
    script = f'"$0" -m qdl_engine.cli --lab "$1" {words}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", script, sys.executable, str(lab.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stdout + ended.stderr and "Exception ignored" not in ended.stderr
    assert ended.returncode == code
    assert "Unexpected" not in ended.stderr


def test_output_in_an_encoding_without_our_characters(tmp_path: Path) -> None:
    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "qdl_engine.cli", "--lab", str(tmp_path / "nö"), *words],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert json.loads(asked("--json", "runs").stdout)["error"]["message"] == f"No lab at {tmp_path / 'nö'}"
    told = asked("runs")
    assert told.returncode == 2 and told.stderr.startswith("Error: No lab at") and "n\\xf6" in told.stderr


def test_an_interrupted_command_still_gives_its_document(
    lab: Lab, qdl: Qdl, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Lab) -> list[Run]:
        raise KeyboardInterrupt

    monkeypatch.setattr("qdl_engine.runs.store.list_runs", interrupted)
    assert qdl("--json", "runs") == 130
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "Interrupted."


@pytest.mark.parametrize("words", [[], ["train"], ["run"], ["preview"], ["preflight"]])
def test_help_fits_80_columns(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
