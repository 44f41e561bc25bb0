"""The real EasyDistill 2.x, where one is named: all four jobs, killed and failing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qdl_engine.core.errors import DataError, RunError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.settings.address import Secret
from qdl_engine.upstream.version2 import (
    JOBS,
    Version2,
    check_job,
    find_version2,
    steps,
)
from qdl_engine.upstream.version2_run import Report, make_data
from tests.engine.runs.conftest import until
from tests.engine.upstream.chat_server import Answer, ChatServer, number_of, question_of
from tests.engine.upstream.version2_stand_in import QUESTIONS, made, make_lab, request

CHECKOUT, PYTHON = "QDL_EASYDISTILL2_CHECKOUT", "QDL_EASYDISTILL2_PYTHON"


def scripted(messages: list[dict[str, str]]) -> str:
    """A teacher and a judge in one, by what the prompts of 2.0 ask for."""
    question = question_of(messages)
    if "<score>" in question:
        return f"In 3 steps: <score>{number_of(question) % 10 if 'Scoring' in question else 1}</score>"
    if "begin_of_thought" in question:
        bare = question.rpartition("\n")[2]
        return (
            f"<|begin_of_thought|>On {bare}<|end_of_thought|>"
            f"<|begin_of_solution|>{number_of(bare)}<|end_of_solution|>"
        )
    return f"{os.urandom(4).hex()} on {question}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


@pytest.fixture
def installation() -> Version2:
    if not os.environ.get(CHECKOUT):
        pytest.skip(
            f"needs EasyDistill 2.x: {steps()} Then export {CHECKOUT}, and {PYTHON} if it has no .venv"
        )
    return real()


def real() -> Version2:
    return find_version2(os.environ[CHECKOUT], os.environ.get(PYTHON, ""))


def start(lab: Lab, installation: Version2, job: str, url: str) -> Report:
    asked, output = request(job, url=url), lab.data / "made.jsonl"
    return make_data(lab, installation, asked, QUESTIONS, key=Secret("sk-secret"), output=output)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_the_real_one_does_all_four_jobs(lab: Lab, installation: Version2, job: str) -> None:
    with ChatServer(scripted).serving() as server:
        report = start(lab, installation, job, server.url)
        assert (report.requested, report.answered) == (7, 7)
        assert set(server.keys) == {"Bearer sk-secret"}
        count = len(server.asked)
        assert start(lab, installation, job, server.url).earlier == 7 and len(server.asked) == count
    rows = made(lab)
    if job == "dpo_data_build":
        assert all(row["chosen"] != row["rejected"] for row in rows) and rows
        return
    assert [row["id"] for row in rows] == [str(number) for number in range(7)]
    name, schema = choose_schema("auto", {}, rows, source="x")
    chains = [chain for row in rows for chain in chains_of(row, schema)]
    assert [chain.instruction for chain in chains] == QUESTIONS  # type: ignore[union-attr]
    assert name == ("messages" if job == "instruct_distill" else "omnithought")
    if job == "advanced_cot_distill":
        assert all(chain.rv is not None and chain.verified for chain in chains)  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_real_one_without_a_server_fails(lab: Lab, installation: Version2) -> None:
    with pytest.raises((RunError, DataError)):
        start(lab, installation, "instruct_distill", "http://127.0.0.1:9/v1")


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_rows_that_the_real_one_loses_are_asked_by_the_next_call(
    lab: Lab, installation: Version2, job: str
) -> None:
    def refusing(*texts: str) -> Answer:
        def answer(messages: list[dict[str, str]]) -> str | int:
            question = question_of(messages)
            lost = any(text in question for text in texts) and "<score>" not in question
            return 400 if lost else scripted(messages)

        return answer

    server = ChatServer(refusing("and 1?", "and 5?"))
    with server.serving():
        report = start(lab, installation, job, server.url)
        assert (report.answered, list(report.lost)) == (5, [2, 6])
        server.answer, before = refusing("and 5?"), len(server.asked)
        report = start(lab, installation, job, server.url)
        assert (report.answered, report.earlier, list(report.lost)) == (6, 5, [6])
    again = [question_of(messages) for messages in server.asked[before:]]
    assert all("and 1?" in question or "and 5?" in question for question in again)
    if job != "dpo_data_build":
        assert [row["id"] for row in made(lab)] == ["0", "1", "2", "3", "4", "6"]


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_an_answer_that_the_real_one_cannot_write_costs_its_own_row_only(
    lab: Lab, installation: Version2, job: str
) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        return scripted(messages) + ("\ud800" if "and 4?" in question_of(messages) else "")

    with ChatServer(answer).serving() as server:
        report = start(lab, installation, job, server.url)
    assert (report.answered, list(report.lost)) == (6, [5])


@pytest.mark.slow
def test_the_real_one_killed_at_the_next_call_loses_only_that(lab: Lab, installation: Version2) -> None:
    killed = threading.Event()

    def refusing(messages: list[dict[str, str]]) -> str | int:
        return 400 if "and 4?" in question_of(messages) else scripted(messages)

    def hanging(messages: list[dict[str, str]]) -> str | int:
        killed.wait(60)
        return scripted(messages)

    code = (
        "from tests.engine.upstream.test_version2_real import *\n"
        "start(Lab(Path(sys.argv[1])), real(), 'instruct_distill', sys.argv[2])"
    )
    server = ChatServer(refusing)
    with server.serving():
        command = [sys.executable, "-c", code, str(lab.root), server.url]
        root = Path(__file__).parents[3]
        subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
        server.answer, before = hanging, len(server.asked)
        worker = subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            until(lambda: len(server.asked) > before, seconds=120)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            killed.set()
        subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
    assert all("and 4?" in question_of(messages) for messages in server.asked[before:])
    assert [row["id"] for row in made(lab)] == [str(number) for number in range(7)]


def test_every_job_of_the_real_one_is_started_or_refused_by_name(installation: Version2) -> None:
    text = (installation.checkout / "easydistill" / "cli" / "main.py").read_text(encoding="utf-8")
    jobs = set(re.findall(r'^    "(\w+)": (?:run_|lambda)', text, re.MULTILINE))
    assert set(JOBS) <= jobs
    for job in jobs - set(JOBS):
        with pytest.raises(SettingsError, match=f"does not start .* '{job}'"):
            check_job(job)
