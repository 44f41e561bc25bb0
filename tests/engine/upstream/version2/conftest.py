"""A job of EasyDistill 2.x by a stand-in: a lab, a checkout, and what is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.events import Event
from qdl_engine.core.lab import Lab
from qdl_engine.settings.address import Secret
from qdl_engine.upstream.version2.configs import Job, Wish
from qdl_engine.upstream.version2.find import (
    Version2,
)
from qdl_engine.upstream.version2.shards import ShardReport, run_shards
from tests.engine.upstream.version1.stand_in import make_stand_in

KEY = "sk-secret-of-a-key"
QUESTIONS = [(f"What costs $100 and {number}?", "") for number in range(7)]


def wish(job: Job = "instruct_distill", **values: Any) -> Wish:
    given = {
        "url": "http://127.0.0.1:9/v1",
        "model": "",
        "system_prompt": "Pay in $USD.",
        "temperature": 0.7,
        "max_tokens": 64,
        "workers": 2,
        "timeout": 30.0,
        "by_reference": False,
    }
    return Wish(job, **given | values)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "a $HOME lab")
    lab.create_directories()
    return lab


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_stand_in(tmp_path / "checkout")


def run(
    lab: Lab,
    checkout: Path,
    events: list[Event] | None = None,
    questions: list[tuple[str, str]] = QUESTIONS,
    **values: Any,
) -> ShardReport:
    return run_shards(
        lab,
        Version2(checkout, sys.executable),
        wish(**values),
        questions,
        key=Secret(KEY),
        output=lab.data / "made.jsonl",
        shard_rows=3,
        on_event=(events if events is not None else []).append,
    )


def made(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.data / "made.jsonl").read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
