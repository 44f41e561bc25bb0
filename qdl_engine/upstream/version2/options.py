"""What a job of EasyDistill 2.x is told beside the teacher's settings, for its command and its form."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from qdl_engine.core.errors import SettingsError

JOB_PURPOSES = {
    "instruct_distill": "answers: a source for System 1",
    "cot_distill": "chains of thought: a source for System 2",
    "advanced_cot_distill": "chains with RV and CD scores: a source for System 2 and its filter",
    "dpo_data_build": "preferred and rejected answers, for trainers elsewhere",
}

_BY_ITSELF = "Start it in its own checkout: easydistill --config FILE"
_IMAGES = f"It is for images or videos, and this lab distils text. {_BY_ITSELF}"
_AGENTS = f"It is for agents that call tools, and this lab distils text. {_BY_ITSELF}"
_PROMPTS = f"It rewrites prompts, and no recipe here trains on those. {_BY_ITSELF}"
_HERE = (
    "This lab does it by its own teachers, resuming at the row: qdl run CONFIG.json with job_type {0}_api."
)
_CHAINED = (
    "Its steps are here one by one: qdl run CONFIG.json with job_type instruction_expansion_api makes "
    f"instructions, and instruct_distill answers them. {_BY_ITSELF} for all in one."
)

OTHER_JOBS: dict[str, str] = {
    **{
        job: _HERE.format(job)
        for job in (
            "cot_long2short",
            "cot_short2long",
            "instruction_expansion",
            "instruction_refinement",
            "instruction_response_extraction",
        )
    },
    "cot_eval": "advanced_cot_distill scores the chains it makes; qdl score scores any others here.",
    "instruct_eval": f"qdl compare puts answers side by side here. {_BY_ITSELF}",
    "advanced_instruct_distill": _CHAINED,
    "augmented_instruct_distill": _CHAINED,
    "balanced_instruct_distill": _CHAINED,
    "seed_anchored_expansion": _PROMPTS,
    "agentic_rewrite": _PROMPTS,
    "pe_rewrite_eval": _PROMPTS,
    "pe_rewrite_filter": _PROMPTS,
    "pe_rewrite_build_sft": _PROMPTS,
    "pe_rewrite_distill": _PROMPTS,
    "prompt_optimize": _IMAGES,
    "agent_distill": _AGENTS,
    "search_agent_distill": _AGENTS,
}
"""Jobs of 2.x that the lab does not start, and what to do; those of images are told by their names."""

_IMAGE_PREFIXES = ("mm_", "t2i_", "ti2i_", "t2v_")


def check_job(job: str) -> None:
    """Refuse a job that the lab does not start.

    Raises:
        SettingsError: with what to do instead.
    """
    if job in JOB_PURPOSES:
        return
    bare = job.removeprefix("advanced_")
    reason = _IMAGES if bare.startswith(_IMAGE_PREFIXES) else OTHER_JOBS.get(job)
    if reason is not None:
        raise SettingsError(f"The lab does not start {job} of EasyDistill 2.x", reason)
    known = ", ".join(JOB_PURPOSES)
    close = difflib.get_close_matches(job, JOB_PURPOSES, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"One of: {known}. A job of 1.x: qdl run CONFIG.json"
    raise SettingsError(f"EasyDistill 2.x has no job {job!r}", hint)


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
