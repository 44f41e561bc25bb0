"""The real EasyDistill 2.x, where one is named: all four jobs, killed and failing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from qdl_engine.core.errors import DataError, RunError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.settings.address import Secret
from qdl_engine.upstream.version2.configs import JOBS, Job
from qdl_engine.upstream.version2.find import (
    CHECKOUT_VARIABLE,
    PYTHON_VARIABLE,
    STEPS,
    Version2,
    find_version2,
)
from qdl_engine.upstream.version2.options import check_job
from qdl_engine.upstream.version2.shards import ShardReport, run_shards
from tests.engine.runs.conftest import until
from tests.engine.upstream.chat_server import ChatServer, number_of, question_of
from tests.engine.upstream.version2.conftest import QUESTIONS, made, wish


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
def installation() -> Version2:
    if not os.environ.get(CHECKOUT_VARIABLE):
        pytest.skip(f"needs EasyDistill 2.x: {STEPS} Then export {CHECKOUT_VARIABLE} and {PYTHON_VARIABLE}")
    return find_version2()


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_the_real_one_does_all_four_jobs(lab: Lab, installation: Version2, job: Job) -> None:
    with ChatServer(scripted).serving() as server:
        asked = wish(job, url=server.url)
        output = lab.data / f"{job}.jsonl"

        def start() -> ShardReport:
            return run_shards(
                lab, installation, asked, QUESTIONS, key=Secret("sk-secret"), output=output, shard_rows=3
            )

        report = start()
        assert (report.requested, report.answered, report.shards) == (7, 7, 3)
        assert set(server.keys) == {"Bearer sk-secret"}
        count = len(server.asked)
        assert start().reused == 3 and len(server.asked) == count
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    if job == "dpo_data_build":
        assert all(row["chosen"] != row["rejected"] for row in rows) and rows
        return
    assert [row["id"] for row in rows] == [str(number) for number in range(7)]
    name, schema = choose_schema("auto", {}, rows, source="x")
    chains = [chain for row in rows for chain in chains_of(row, schema)]
    assert [chain.instruction for chain in chains] == [question for question, _ in QUESTIONS]  # type: ignore[union-attr]
    assert name == ("messages" if job == "instruct_distill" else "omnithought")
    if job == "advanced_cot_distill":
        assert all(chain.rv is not None and chain.verified for chain in chains)  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_real_one_killed_in_the_second_shard_loses_only_that(lab: Lab, installation: Version2) -> None:
    killed = threading.Event()

    def answer(messages: list[dict[str, str]]) -> str:
        if "and 4?" in question_of(messages):
            killed.wait(60)
        return scripted(messages)

    code = (
        "from tests.engine.upstream.version2.test_real import *\n"
        "lab, url = Lab(Path(sys.argv[1])), sys.argv[2]\n"
        "run_shards(lab, find_version2(), wish(url=url), QUESTIONS, key=Secret(),"
        " output=lab.data / 'made.jsonl', shard_rows=3)"
    )
    with ChatServer(answer).serving() as server:
        command = [sys.executable, "-c", code, str(lab.root), server.url]
        root = Path(__file__).parents[4]
        worker = subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            until(lambda: any("and 4?" in question_of(asked) for asked in server.asked), seconds=120)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            killed.set()
        subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
        times = Counter(question_of(asked) for asked in server.asked)
    assert [times[question] for question, _ in QUESTIONS[:3]] == [1, 1, 1]
    assert [row["id"] for row in made(lab)] == [str(number) for number in range(7)]


@pytest.mark.slow
def test_the_real_one_without_a_server_fails(lab: Lab, installation: Version2) -> None:
    with pytest.raises((RunError, DataError)):
        run_shards(
            lab, installation, wish(), QUESTIONS[:1], key=Secret(), output=lab.data / "x", shard_rows=3
        )


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_row_that_the_real_one_loses_is_asked_again(lab: Lab, installation: Version2, job: Job) -> None:
    asked_before: Counter[str] = Counter()

    def answer(messages: list[dict[str, str]]) -> str | int:
        question = question_of(messages)
        lost = [text for text in ("and 1?", "and 5?") if text in question]
        if lost and "<score>" not in question:
            asked_before[lost[0]] += 1
            # Of two candidates both must be lost; a refusal is not tried twice.
            if asked_before[lost[0]] <= (2 if job == "dpo_data_build" else 1) or lost == ["and 5?"]:
                return 400
        return scripted(messages)

    with ChatServer(answer).serving() as server:
        report = run_shards(
            lab, installation, wish(job, url=server.url), QUESTIONS, key=Secret(),
            output=lab.data / "made.jsonl", shard_rows=3,
        )  # fmt: skip
    assert (report.requested, report.answered, report.recovered) == (7, 6, 1)
    assert [lost.row for lost in report.lost] == [6]
    if job != "dpo_data_build":
        assert [row["id"] for row in made(lab)] == ["0", "1", "2", "3", "4", "6"]


def test_every_job_of_the_real_one_is_started_or_refused_by_name(installation: Version2) -> None:
    text = (installation.checkout / "easydistill" / "cli" / "main.py").read_text(encoding="utf-8")
    jobs = set(re.findall(r'^    "(\w+)": (?:run_|lambda)', text, re.MULTILINE))
    assert set(JOBS) <= jobs
    for job in jobs - set(JOBS):
        with pytest.raises(SettingsError, match=f"does not start {job}"):
            check_job(job)
