"""`qdl`: what it prints where, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.cli.context import dump_json
from qdl_engine.cli.progress import Progress, duration
from qdl_engine.events import make_event
from qdl_engine.lab import Lab
from qdl_engine.runs.launch import start_run, stop_run, wait_for
from qdl_engine.runs.store import Run, create_run, get_run, list_runs
from tests.at_a_terminal import QDL_AT_A_TERMINAL
from tests.engine.runs.conftest import program, until

Capture = pytest.CaptureFixture[str]
Qdl = Callable[..., int]


@pytest.fixture
def lab(tmp_path: Path, capsys: Capture) -> Any:
    assert main(["init", str(tmp_path / "lab")]) == 0
    capsys.readouterr()
    lab = Lab.at(tmp_path / "lab")
    yield lab
    for run in list_runs(lab):
        if run.active:
            stop_run(run, force=True)


@pytest.fixture
def qdl(lab: Lab) -> Qdl:
    return lambda *words: main(["--lab", str(lab.root), *words])


def a_run(lab: Lab, body: str, **values: Any) -> Run:
    return create_run(lab, "train", system="system1", argv=program(body), **values)


def test_init_makes_a_lab_once(tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "new"
    assert main(["--lab", str(root), "init", "--set", "system1.rows=7"]) == 0
    lab = Lab.open(root)
    assert lab.data.is_dir() and lab.sample_prompts.read_text(encoding="utf-8").strip()
    assert "\nrows = 7\n" in lab.settings_file.read_text(encoding="utf-8")
    assert main(["--lab", str(root), "init"]) == 1
    assert "There is a lab at" in capsys.readouterr().err


def test_a_mistake_in_init_leaves_nothing(tmp_path: Path) -> None:
    assert main(["--lab", str(tmp_path / "new"), "init", "--set", "system1.rows=-7"]) == 2
    assert not (tmp_path / "new").exists()


def test_no_lab_is_a_usage_error_with_the_way_out(tmp_path: Path, capsys: Capture) -> None:
    assert main(["--lab", str(tmp_path), "runs"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and f"No lab at {tmp_path}" in shown.err and "init" in shown.err


@pytest.mark.parametrize(
    "words", [["frobnicate"], [], ["train"], ["train", "system3"], ["runs", "--lap", "x"]]
)
def test_usage_errors(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert "usage: qdl" in capsys.readouterr().err
    assert main([*words, "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["message"].startswith("qdl") and shown.err == ""


def test_options_stand_before_and_after_the_command(lab: Lab, capsys: Capture) -> None:
    shared = ["--lab", str(lab.root), "--json", "--set", "system1.rows=7"]
    for words in ([*shared, "config", "show"], ["config", *shared, "show"], ["config", "show", *shared]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["system1"]["rows"] == 7


def test_the_last_set_wins_wherever_it_stands(qdl: Qdl, capsys: Capture) -> None:
    words = ["--set", "system1.rows=1", "config", "--set", "system1.rows=2", "show", "system1.rows"]
    assert qdl(*words, "--set", "system1.seed=3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"system1": {"rows": 2}}


def test_config_show_validate_set(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("config", "show", "system2.rv_min", "--set", "system2.rv_min=3") == 0
    assert capsys.readouterr().out == "[system2]\nrv_min = 3  (default: 0)\n"
    assert qdl("config", "show", "system2.rv_mim") == 2
    assert "system2.rv_min" in capsys.readouterr().err
    assert qdl("config", "set", "system2.rv_min=4", "system2.rv_max=6") == 0
    capsys.readouterr()
    assert qdl("config", "validate") == 0 and "is valid" in capsys.readouterr().out
    lab.settings_file.write_text("[system1]\nrowz = 3\n", encoding="utf-8")
    assert qdl("config", "validate", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["valid"] and found["problems"][0]["nearest"] == "system1.rows"
    assert qdl("train", "system1") == 2 and list_runs(lab) == []
    assert "rowz" in capsys.readouterr().err


def test_status_and_runs_of_an_empty_lab(qdl: Qdl, capsys: Capture) -> None:
    assert qdl("status") == 0 and "prepare system1" in capsys.readouterr().out
    assert qdl("runs") == 0 and "No runs yet" in capsys.readouterr().out
    assert qdl("runs", "--json") == 0 and json.loads(capsys.readouterr().out) == {"runs": []}


def test_attach_follows_to_the_end(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    body = """
    event("started", total_steps=2); event("metrics", step=2, total_steps=2, loss=0.5)
    checkpoint("student"); event("finished", path="student")
    """
    start_run(a_run(lab, body, output_dir=lab.root / "student"))
    assert qdl("attach") == 0
    shown = capsys.readouterr()
    assert "Run 0001-train-system1 is done" in shown.out and str(lab.root / "student") in shown.out
    assert "train  2/2 steps  (100%)  loss 0.500" in shown.err
    assert qdl("attach", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["summary"]["loss"]) == ("done", 0.5)


def test_a_failed_run_is_exit_code_1_and_shows_no_control_characters(
    lab: Lab, qdl: Qdl, capsys: Capture
) -> None:
    run = a_run(lab, "event('failed', message='bad \\x1b[2J', hint='good'); sys.exit(1)")
    wait_for(start_run(run), poll=0.02)
    assert qdl("attach", "last") == 1
    shown = capsys.readouterr().out
    assert "bad ␛[2J" in shown and "good" in shown and "resume" not in shown
    assert qdl("runs") == 0 and "\x1b" not in capsys.readouterr().out


def test_stop_and_resume(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    body = """
    if "--resume" in sys.argv: sys.exit(0)
    Path("ready").touch(); time.sleep(600)
    """
    run = create_run(lab, "train", argv=[*program(body), "qdl_engine.trainer"])
    start_run(run)
    until((lab.root / "ready").exists)
    assert qdl("stop") == 0
    assert f"Run {run.id} is stopped" in capsys.readouterr().out
    assert qdl("stop") == 1 and "No run is going on" in capsys.readouterr().err
    assert qdl("resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert qdl("resume") == 1 and "No run can be resumed" in capsys.readouterr().err


def test_interrupting_attach_leaves_the_run(lab: Lab) -> None:
    run = start_run(a_run(lab, "event('metrics', step=1, total_steps=9, loss=1.0); wait_for_file('enough')"))
    watcher = subprocess.Popen(
        [*QDL_AT_A_TERMINAL, "attach", "--lab", str(lab.root)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stderr is not None
    assert "Run 0001" in watcher.stderr.readline() and "1/9 steps" in watcher.stderr.readline()
    watcher.send_signal(signal.SIGINT)
    assert "it goes on" in watcher.stderr.read()
    assert watcher.wait() == 130
    watcher.stderr.close()
    assert get_run(lab, run.id).state == "running"
    (lab.root / "enough").touch()
    assert wait_for(run, poll=0.02).state == "done"


def test_no_traceback_reaches_a_person(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.runs.rmdir()
    lab.runs.write_text("not a directory", encoding="utf-8")
    assert qdl("label", "--detach") == 1
    shown = capsys.readouterr().err
    assert "Unexpected" in shown and "Traceback" not in shown
    (log,) = lab.logs.iterdir()
    assert str(log) in shown and "Traceback" in log.read_text(encoding="utf-8")


ROWS = [{"instruction": f"Say {word}.", "output": word} for word in ("one", "two\x1b[2J", "three", "four")]


@pytest.fixture
def ready(lab: Lab, qdl: Qdl) -> Lab:
    """A lab with a tiny student and four rows."""
    from tests.tiny import make_tiny_model

    student = make_tiny_model(lab.root / "student")
    (lab.root / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    changes = [f"system1.student={student}", "system1.source=rows.json", "system1.held_out=0"]
    assert qdl("config", "set", *changes, "system1.max_steps=1", "system1.rows=4") == 0
    return lab


def test_prepare_and_preview(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    capsys.readouterr()
    assert qdl("preview", "system1") == 1 and "prepare system1" in capsys.readouterr().err
    assert qdl("prepare", "system1", "--json", "--set", "system1.rows=3") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 3
    assert qdl("prepare", "system1") == 0 and "Kept 4 of 4" in capsys.readouterr().out
    assert qdl("preview", "system1", "--count", "9") == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>user\nSay two␛[2J.<|im_end|>" in shown and "\x1b" not in shown


def test_a_comparison_that_nobody_answers_is_not_saved(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("compare", "Who?", "--only", "system1,system2") == 1
    shown = capsys.readouterr()
    assert f"Model not found at {lab.system1_checkpoint}" in shown.err and shown.out == ""
    assert list(lab.comparisons.iterdir()) == []
    assert qdl("compare", "Who?", "--only", "system3") == 2


def test_a_failing_job_says_why_to_whoever_attaches(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("train", "system1", "--set", "system1.source=absent.json") == 1
    shown = capsys.readouterr().out
    assert "absent.json" in shown and "is failed" in shown
    assert list_runs(ready)[0].argv[-3:] == ("--set", "system1.source=absent.json", "--in-run")


def test_training_on_data_of_other_settings_says_which_and_how_to_prepare_anew(
    ready: Lab, qdl: Qdl, capsys: Capture
) -> None:
    from qdl_engine.cli.jobs import ensure_data
    from qdl_engine.toml import apply_overrides, load_settings

    assert qdl("prepare", "system1") == 0
    settings = apply_overrides(load_settings(ready), ["system1.rows=3"])
    events: list[Any] = []
    ensure_data(ready, settings, "system1", events.append)
    assert "(prepared with other settings: rows was 4, is 3)" in events[0]["message"]
    assert f"qdl --lab {ready.word} train system1 --prepare" in events[0]["message"]
    assert json.loads(ready.report_file("system1").read_text(encoding="utf-8"))["kept"] == 4
    detached = ("train", "system1", "--detach", "--set", "system1.rows=3", "--json")
    capsys.readouterr()
    assert qdl(*detached) == 0
    assert json.loads(capsys.readouterr().out)["note_on_data"] == events[0]["message"]
    stop_run(list_runs(ready)[0], force=True)
    ensure_data(ready, settings, "system1", events.append, anew=True)
    assert json.loads(ready.report_file("system1").read_text(encoding="utf-8"))["kept"] == 3


@pytest.mark.slow
def test_train_prepares_and_trains_in_one_run(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    capsys.readouterr()
    assert qdl("train", "system1", "--json", "--name", "the first") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["name"], found["attempt"]) == ("done", "the first", 1)
    assert Path(found["config"]).is_file() and Path(found["config"]).name.endswith("0001-train-system1.json")
    assert (ready.system1_checkpoint / "model.safetensors").is_file()
    assert len(list_runs(ready)) == 1


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_that_goes_away() -> None:
    screen = Terminal()
    with Progress(screen) as progress:
        progress(make_event("progress", stage="label", done=5, total=10, unit="rows"))
        progress(make_event("note", message="\x1b[2J"))
    assert screen.getvalue().startswith("\r\x1b[Klabel ████████████░░░░░░░░░░░░ 5/10 rows (50%)")
    assert screen.getvalue().endswith("\r\x1b[K␛[2J\n")


def test_asking_a_teacher_shows_speed_cost_failures_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = make_event(
        "progress",
        stage="label",
        done=1234,
        total=4500,
        unit="prompts",
        tokens_per_second=987.6,
        eta_seconds=187.0,
        cost=12.345,
        failed=2,
    )
    lines = {}
    for columns in (140, 100, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen = Terminal()
        Progress(screen)(asking)
        lines[columns] = screen.getvalue().removeprefix("\r\x1b[K")
        assert len(lines[columns]) < columns
    figures = "1,234/4,500 prompts (27%) 3:07 min left 988 tokens/s cost 12.35 2 failed"
    assert lines[140] == f"label {'█' * 7}{'░' * 17} {figures}"
    assert "█" in lines[100] and lines[100].endswith(figures)
    assert "cost 12.35" in lines[80] and "█" not in lines[80]


def test_progress_elsewhere_is_plain_lines_one_a_tenth() -> None:
    out = io.StringIO()
    progress = Progress(out)
    for done in range(101):
        progress(make_event("progress", stage="read", done=done, total=100, unit="rows"))
    assert len(out.getvalue().splitlines()) == 11 and "\x1b" not in out.getvalue()


def test_a_line_that_is_too_long_loses_whole_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    screen = Terminal()
    Progress(screen)(make_event("metrics", step=5640, total_steps=7360, loss=0.466, tokens_per_second=5000))
    shown = screen.getvalue().removeprefix("\r\x1b[K")
    assert shown == "train 5,640/7,360 steps (77%) loss 0.466 5,000 tokens/s"
    monkeypatch.setenv("COLUMNS", "50")
    screen = Terminal()
    Progress(screen)(make_event("metrics", step=5640, total_steps=7360, loss=0.466, tokens_per_second=5000))
    assert screen.getvalue().removeprefix("\r\x1b[K") == "train 5,640/7,360 steps (77%) loss 0.466"


def test_a_training_that_was_saved_does_not_begin_again() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress(make_event("metrics", step=4, total_steps=4, loss=1.0))
    progress(make_event("progress", stage="save", done=4, total=4, unit="steps"))
    progress(make_event("finished", path="x"))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["train", "save"]


def test_two_students_share_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    progress = Progress(screen)
    progress(make_event("progress", stage="label", done=1, total=10, unit="rows", system="system1"))
    progress(make_event("metrics", step=3, total_steps=4, system="system2"))
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    progress(make_event("metrics", step=3, total_steps=4, system="system2"))
    last = screen.getvalue().rsplit("\x1b[K", 1)[1]
    assert "system1 label" in last and "system2 train 3/4" in last and " | " in last
    progress(make_event("finished", path="x", step=4, total_steps=4, system="system2"))
    last = screen.getvalue().rsplit("\x1b[K", 1)[1]
    assert "system1 label" in last and "system2" not in last


def test_the_line_fits_a_narrow_terminal_without_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    screen = Terminal()
    progress = Progress(screen)
    for system in ("system1", "system2"):
        progress(
            make_event(
                "progress", stage="train", done=1, total=7, unit="steps", eta_seconds=408, system=system
            )
        )
    assert screen.getvalue().rsplit("\x1b[K", 1)[1] == "system1 train 14% | system2 train 14%"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "system1 label 33% 42 s left | system2 train 41% 3:07 min left"),
        (
            160,
            "system1 label 1,234/3,700 prompts (33%) 42 s left 4,000 tokens/s | "
            "system2 train 1,234/3,000 steps (41%) 3:07 min left loss 1.500",
        ),
    ],
)
def test_two_students_show_how_far_they_are_where_all_does_not_fit(
    columns: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("qdl_engine.cli.progress._REDRAW_SECONDS", 0.0)
    screen = Terminal()
    progress = Progress(screen)
    asking = {"stage": "label", "done": 1234, "total": 3700, "unit": "prompts", "tokens_per_second": 4000.0}
    progress(make_event("progress", **asking, eta_seconds=42, system="system1"))
    step = {"step": 1234, "total_steps": 3000, "loss": 1.5}
    progress(make_event("metrics", **step, eta_seconds=187, system="system2"))
    assert screen.getvalue().rsplit("\x1b[K", 1)[1] == line


def test_duration() -> None:
    assert [duration(value) for value in (4.4, 187, 7500)] == ["4 s", "3:07 min", "2:05 h"]


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


def test_preview_shows_rows_that_lack_something(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    lab.omnithought_cot.write_text('[{"x": 1}, {"instruction": 7, "output": null}]', encoding="utf-8")
    assert qdl("preview", "system2") == 0
    assert "--- row 1" in capsys.readouterr().out


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


def test_a_lab_without_runs_says_how_to_start_one(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("attach") == 1
    assert f"Start one: qdl --lab {ready.word} train system1" in capsys.readouterr().err


def test_config_set_names_what_was_typed(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("config", "set", "system1.rows=many") == 2
    told = capsys.readouterr().err
    assert "config set" in told and "--set" not in told


def test_init_and_status_name_the_same_next_step(tmp_path: Path, capsys: Capture) -> None:
    lab = str(tmp_path / "new")
    steps = []
    for command in ("init", "status"):
        assert main(["--lab", lab, command]) == 0
        steps.append(capsys.readouterr().out.splitlines()[-1])
    assert steps[0] == steps[1] and steps[0].startswith("Next: ")


def test_a_source_says_how_many_of_its_rows_are_shown(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("preview", "system1", "--source", "--count", "2") == 0
    assert (
        capsys.readouterr().out.rstrip().endswith("The first 2 rows of the source; more or fewer: --count N")
    )


@pytest.mark.parametrize("words", [[], ["train"], ["run"], ["preview"], ["preflight"]])
def test_help_fits_80_columns(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
