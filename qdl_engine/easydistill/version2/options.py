"""What a job of EasyDistill 2.x is told beside the teacher's settings, for its command and its form."""

from __future__ import annotations

from dataclasses import dataclass

JOB_PURPOSES = {
    "instruct_distill": "answers: a source for System 1",
    "cot_distill": "chains of thought: a source for System 2",
    "advanced_cot_distill": "chains with RV and CD scores: a source for System 2 and its filter",
    "dpo_data_build": "preferred and rejected answers, for trainers elsewhere",
}

TEACHER_SETTINGS = (
    "url",
    "model",
    "api_key_env",
    "api_key_file",
    "temperature",
    "max_new_tokens",
    "concurrency",
    "timeout",
)
"""Those of [teacher] that a job of 2.x takes."""


@dataclass(frozen=True)
class Option:
    """One option of `qdl easydistill run`."""

    name: str
    help: str
    accepts: str
    default: str = ""
    """Empty is what `help` says."""

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


OUTPUT = Option("output", "where rows go (default: the lab's data/JOB.jsonl)", "FILE")
SHARD_ROWS = Option("shard_rows", "rows that an interruption costs at most (default: 50)", "N", "50")
CHECKOUT = Option("checkout", "a checkout of EasyDistill 2.x (default: the one that was last used)", "DIR")
PYTHON = Option("python", "its interpreter (default: the checkout's own .venv)", "PYTHON")
OPTIONS = (OUTPUT, SHARD_ROWS, CHECKOUT, PYTHON)
INPUT_HELP = "questions: JSON, JSONL or Parquet"
