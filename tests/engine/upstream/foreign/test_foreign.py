"""Foreign configs run: the teacher asked in the config's words, the rows in upstream's shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.config.jobs import GENERATING
from qdl_engine.config.model import read_config
from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.events import Event, no_sink
from qdl_engine.core.lab import Lab
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.runs.store import list_runs
from qdl_engine.settings import LabSettings
from qdl_engine.upstream.foreign.convert import KEY_VARIABLE, teacher_settings
from qdl_engine.upstream.foreign.job import STOCK_SYSTEM_PROMPT, ForeignJob, read_foreign
from qdl_engine.upstream.foreign.make import asks_of, check_teacher, judge_rows, make_ready, make_rows
from tests.engine.upstream.chat_server import ChatServer, question_of
from tests.engine.upstream.foreign.samples import sample, write_sample
from tests.engine.upstream.version1.upstream import CHECKOUT, PYTHON, needs_upstream
from tests.tiny import make_tiny_model

Messages = list[dict[str, str]]


def teacher(messages: Messages) -> str:
    """Answers in every tag that a prompt may ask for, after the question's last line."""
    last = question_of(messages).rstrip().rpartition("\n")[2]
    return (
        f"<|begin_of_thought|>On {last}<|end_of_thought|><|begin_of_solution|>It is {last}<|end_of_solution|>"
        f"<answer>Like {last}</answer><instruction>Ask {last}</instruction><response>Say {last}</response>"
    )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    return lab


def job_at(folder: Path, url: str, job_type: str) -> ForeignJob:
    return read_foreign(write_sample(folder, sample(job_type, base_url=url)))


def written(job: ForeignJob) -> list[dict[str, Any]]:
    assert job.written is not None
    text = job.written.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    )
    return rows


def run(job: ForeignJob, lab: Lab) -> Any:
    return make_rows(job, lab, LabSettings(), no_sink)


def test_chains_keep_the_bare_question(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(teacher).serving() as server:
        job = job_at(tmp_path, server.url, "cot_generation_api")
        report = run(job, lab)
        assert question_of(server.asked[0]).startswith("Do what is asked below.\n")
        assert server.asked[0][0] == {"role": "system", "content": ""}
    rows = written(job)
    assert [row["instruction"] for row in rows] == [f"{number} and 1?" for number in range(12)]
    assert set(rows[0]) == {"instruction", "output"} and report.counts["written"] == 12
    _, schema = choose_schema("auto", {}, rows, source="x")
    (chain,) = chains_of(rows[3], schema)
    assert (chain.thought, chain.answer) == ("On 3 and 1?", "It is 3 and 1?")  # type: ignore[union-attr]


@pytest.mark.parametrize("job_type", ["cot_long2short_api", "cot_short2long_api"])
def test_rewriting_shows_question_and_answer(tmp_path: Path, lab: Lab, job_type: str) -> None:
    with ChatServer(lambda messages: "Shorter.").serving() as server:
        job = job_at(tmp_path, server.url, job_type)
        run(job, lab)
        asked = question_of(server.asked[0])
    assert "Problem:\n" in asked and "Answer:\n" in asked
    assert job.written is not None and job.written.read_text(encoding="utf-8").startswith("{")
    assert written(job)[2] == {"instruction": "2 and 1?", "output": "Shorter."}


def test_instructions_are_taken_out_of_their_tags(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(teacher).serving() as server:
        refined = job_at(tmp_path, server.url, "instruction_refinement_api")
        run(refined, lab)
        extracted = job_at(tmp_path, server.url, "instruction_response_extraction_api")
        run(extracted, lab)
    assert len(written(refined)) == len(written(extracted)) == 12
    # Raw text stands under `data`, where 1.0 looks for it.
    assert written(extracted)[1] == {"instruction": "Ask Fact 1.", "output": "Say Fact 1."}


def test_expansion_draws_its_examples_by_the_seed(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(teacher).serving() as server:
        job = job_at(tmp_path, server.url, "instruction_expansion_api")
        report = run(job, lab)
        first = written(job)
        again = run(job, lab)
    assert report.counts["questions"] == 10 and report.counts["written"] + report.counts["repeated"] == 10
    assert (again.counts["asked now"], written(job)) == (0, first)
    assert asks_of(job)[0][0].prompt.count("and 1?") == 3
    crowded = sample("instruction_expansion_api")
    crowded["dataset"]["num_in_context_samples"] = 99
    with pytest.raises(SettingsError, match="num_in_context_samples is 99"):
        asks_of(read_foreign(write_sample(tmp_path, crowded)))


def test_answers_without_tags_are_counted_and_never_guessed(tmp_path: Path, lab: Lab) -> None:
    def forgetful(messages: Messages) -> str:
        return "No tags" if question_of(messages).endswith("3 and 1?") else teacher(messages)

    with ChatServer(forgetful).serving() as server:
        events: list[Event] = []
        job = job_at(tmp_path, server.url, "instruction_refinement_api")
        report = make_rows(job, lab, LabSettings(), events.append)
    assert (report.counts["written"], report.counts["without the tags"]) == (11, 1)
    assert report.examples == ["No tags"]
    assert "1 of 12 questions gave none (1 without the tags)" in events[-1].message
    with ChatServer(lambda messages: "none").serving() as server, pytest.raises(DataError, match="no rows"):
        run(job_at(tmp_path, server.url, "instruction_refinement_api"), lab)


def test_rows_that_cannot_be_asked_about_are_counted(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(lambda messages: "x").serving() as server:
        job = job_at(tmp_path, server.url, "cot_long2short_api")
        rows = [{"instruction": "a", "output": "b"}, {"instruction": "c"}, {"output": "d"}, 7]
        job.rows.write_text(json.dumps(rows), encoding="utf-8")
        report = run(job, lab)
    counts = [report.counts[f"row {name}"] for name in ("without output", "without instruction", "broken")]
    assert counts == [1, 1, 1]


def test_cot_eval_scores_by_our_judge(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(lambda messages: "<score>1</score>").serving() as server:
        job = job_at(tmp_path, server.url, "cot_eval_api")
        assert "scored" in judge_rows(job, lab, LabSettings(), no_sink)
    assert written(job)[0]["cognitive_difficulty"] == 1 and written(job)[0]["logical_correctness"] is True


@pytest.mark.parametrize("job_type", [*GENERATING, "kd_black_box_api", "kd_black_box_local"])
def test_the_teacher_is_the_one_that_the_config_names(tmp_path: Path, job_type: str) -> None:
    job = read_foreign(write_sample(tmp_path, sample(job_type)))
    found, notes = teacher_settings(job, LabSettings())
    assert found.max_new_tokens == 64 and notes
    if job_type.endswith("_api"):
        assert (found.kind, found.url, found.model) == ("server", "http://127.0.0.1:9/v1", "")
        assert (found.api_key_env, found.api_key_file) == ("", "")
    else:
        assert (found.kind, found.model, found.temperature) == ("hf", str(tmp_path / "teacher"), 0.0)
    check_teacher(job, LabSettings())


def test_a_placeholder_for_the_server_is_the_labs(tmp_path: Path) -> None:
    job = read_foreign(write_sample(tmp_path, sample("kd_black_box_api", base_url="ENDPOINT")))
    with pytest.raises(SettingsError, match="no http or https address"):
        check_teacher(job, LabSettings())
    lab = LabSettings.model_validate(
        {"teacher": {"kind": "server", "url": "http://h:1/v1", "model": "m", "api_key_env": "K"}}
    )
    found, _ = teacher_settings(job, lab)
    assert (found.url, found.model, found.api_key_env) == ("http://h:1/v1", "m", "K")


def test_a_key_in_a_config_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = write_sample(tmp_path, sample("kd_black_box_api", base_url="https://h/v1", api_key="sk-secret"))
    path.chmod(0o644)
    job = read_foreign(path)
    with pytest.raises(SettingsError, match="chmod 600") as refused:
        check_teacher(job, LabSettings())
    assert "sk-secret" not in str(refused.value)
    path.chmod(0o600)
    assert teacher_settings(job, LabSettings())[0].api_key_env == KEY_VARIABLE


def test_the_key_of_a_config_reaches_the_server_alone(
    tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "")
    with ChatServer(teacher).serving() as server:
        path = write_sample(tmp_path, sample("cot_generation_api", base_url=server.url, api_key="sk-secret"))
        run(read_foreign(path), lab)
        assert set(server.keys) == {"Bearer sk-secret"}
    kept = [file.read_bytes() for file in lab.root.rglob("*") if file.is_file()]
    assert kept and not any(b"sk-secret" in data for data in kept)


def test_labelling_and_the_config_to_train_from(tmp_path: Path, lab: Lab) -> None:
    with ChatServer(lambda messages: f"To: {question_of(messages)}").serving() as server:
        job = job_at(tmp_path, server.url, "kd_black_box_api")
        path = make_ready(job, lab, LabSettings(), tmp_path / "run", lab.configs / "run_1.json", no_sink)
        assert server.asked[0][0]["content"] == STOCK_SYSTEM_PROMPT
    config = read_config(path)
    assert config.labeled_path == tmp_path / "data" / "labeled.json"
    assert written(job)[4]["output"] == "To: 4 and 1?"


def test_a_local_teacher_labels(tmp_path: Path, lab: Lab) -> None:
    path = write_sample(tmp_path, sample("kd_black_box_local", max_new_tokens=6))
    make_tiny_model(tmp_path / "teacher", seed=5, lively=True)
    lab_settings = LabSettings.model_validate({"teacher": {"quantization": "none", "keep_cut_answers": True}})
    job = read_foreign(path)
    make_ready(job, lab, lab_settings, tmp_path / "run", lab.configs / "run_1.json", no_sink)
    assert all(row["output"] for row in written(job))


def test_a_run_of_a_config_is_listed_and_kept_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    with ChatServer(teacher).serving() as server:
        path = write_sample(folder, sample("cot_generation_api", base_url=server.url))
        assert main(["run", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    beside = Lab.at(folder / "cot_generation_api-lab")
    assert (told["state"], told["kind"]) == ("done", "generate")
    assert [run.name for run in list_runs(beside)] == ["cot_generation_api.json"]
    assert "Wrote 12 rows" in told["summary"]["note"] and len(written(read_foreign(path))) == 12


def test_the_report_shows_its_cost_at_the_end(tmp_path: Path, lab: Lab) -> None:
    priced = LabSettings.model_validate({"teacher": {"price_out": 1_000_000.0}})
    with ChatServer(teacher).serving() as server:
        job = job_at(tmp_path, server.url, "cot_generation_api")
        report = make_rows(job, lab, priced, no_sink)
        again = make_rows(job, lab, priced, no_sink)
        unpriced = run(job, lab)
    assert report.cost and again.counts["asked now"] == 0 and again.cost == report.cost
    cost, output = report.table().splitlines()[-2:]
    assert cost.split() == ["cost", f"{report.cost:,.2f}"] and output == str(job.written)
    assert unpriced.cost is None and "\ncost" not in unpriced.table()


def test_a_dry_run_says_what_would_be_done_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_sample(tmp_path / "theirs", sample("kd_black_box_api"))
    assert main(["run", str(path), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["teacher"], told["runtime"]) == ("label", "http://127.0.0.1:9/v1", "builtin")
    assert told["reads"] == str(path.parent / "data/questions.json") and told["notes"]
    assert not Path(told["lab"]).exists()
    path = write_sample(tmp_path / "theirs", sample("kd_black_box_api", base_url="ENDPOINT"))
    assert main(["run", str(path), "--dry-run"]) == 2


def test_what_trains_can_be_1_0_where_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_sample(tmp_path / "theirs", sample("cot_generation_api"))
    assert main(["run", str(path), "--runtime", "easydistill"]) == 2
    assert "trains nothing" in capsys.readouterr().err
    path = write_sample(tmp_path / "theirs", sample("kd_black_box_train_only"))
    assert main(["run", str(path), "--runtime", "easydistill"]) == 2
    assert "No EasyDistill 1.x to train with" in capsys.readouterr().err
    assert not list_runs(Lab.at(tmp_path / "theirs" / "kd_black_box_train_only-lab"))


@pytest.mark.slow
@needs_upstream
def test_1_0_trains_a_config_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    path = write_sample(folder, sample("kd_black_box_train_only"))
    make_tiny_model(folder / "student")
    place = ["--set", f"runtime.checkout={CHECKOUT}", "--set", f"runtime.python={PYTHON}"]
    assert main([*place, "run", str(path), "--runtime", "easydistill", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    record = json.loads((folder / "result" / "qdl_checkpoint.json").read_text(encoding="utf-8"))
    assert told["state"] == "done" and "easydistill" in record["versions"]


@pytest.mark.parametrize(
    ("job_type", "training", "says"),
    [
        ("kd_white_box", {}, "white-box"),
        ("kd_black_box_api", {"packing": True}, "training.packing is not supported"),
        ("kd_black_box_api", {"eval_strategy": "steps"}, "qdl.held_out"),
    ],
)
def test_a_refused_config_leaves_nothing_and_asks_nobody(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    job_type: str,
    training: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = sample(job_type)
    config["training"] = config.get("training", {}) | training
    path = write_sample(tmp_path / "theirs", config)
    assert main(["run", str(path)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "theirs" / f"{job_type}-lab").exists()


@pytest.mark.slow
def test_a_config_labels_and_trains_to_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    with ChatServer(lambda messages: "Yes.").serving() as server:
        path = write_sample(folder, sample("kd_black_box_api", base_url=server.url))
        make_tiny_model(folder / "student")
        assert main(["run", str(path), "--json"]) == 0
        assert len(server.asked) == 12
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "done" and (folder / "result" / "model.safetensors").is_file()


def test_a_config_without_a_prompt_is_refused(tmp_path: Path) -> None:
    config = sample("cot_generation_api", prompt="")
    with pytest.raises(LabError, match=r"inference\.prompt is missing"):
        check_teacher(read_foreign(write_sample(tmp_path, config)), LabSettings())
