"""What the lab asks EasyDistill 2.x for: its jobs, the checkout that runs them, and the config of a call.

2.x cannot train; it makes data with a teacher behind an OpenAI-compatible server. `version2_run` starts it.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.easydistill.find import HOME
from qdl_engine.errors import SettingsError

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings

# Jobs ----------------------------------------------------------------------------------------------------

OPTIONS = {
    "output": ("FILE", "where the rows go (default: the lab's data/JOB.jsonl)"),
    "checkout": ("DIR", "a checkout of EasyDistill 2.x (default: the one used last)"),
    "python": ("PYTHON", "its interpreter (default: the checkout's own .venv)"),
}
"""What a job takes besides settings of the teacher: what each accepts, and its help."""
INPUT_HELP = "questions: JSON, JSONL or Parquet"
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
"""The settings of [teacher] that a job uses."""

JOBS = {
    "instruct_distill": "answers: a source for System 1",
    "cot_distill": "chains of thought: a source for System 2",
    "advanced_cot_distill": "chains with RV and CD scores: a source for System 2 and its filter",
    "dpo_data_build": "preferred and rejected answers, to train with another program",
}
"""The jobs that the lab starts, and what each makes."""

_ELSEWHERE = "Start it in its own checkout: easydistill --config FILE"
_OTHERS = (
    (
        "cot_long2short cot_short2long instruction_expansion instruction_refinement "
        "instruction_response_extraction",
        "The lab's own teachers do this and resume at the row: qdl run CONFIG.json with job_type {job}_api.",
    ),
    ("cot_eval", "advanced_cot_distill scores the chains that it makes; qdl score scores any others."),
    ("instruct_eval", "qdl compare shows answers side by side."),
    (
        "advanced_instruct_distill augmented_instruct_distill balanced_instruct_distill",
        "Run its steps one by one: qdl run CONFIG.json with job_type instruction_expansion_api makes "
        f"instructions, and instruct_distill answers them. For all steps in one: {_ELSEWHERE}",
    ),
    (
        "seed_anchored_expansion agentic_rewrite pe_rewrite_* agent_distill search_agent_distill "
        "prompt_optimize *mm_* *t2i_* *ti2i_* *t2v_*",
        f"The lab distils text; it does not rewrite prompts or train agents, images or videos. {_ELSEWHERE}",
    ),
)
"""The other jobs of 2.x: patterns of their names, and what to do instead."""


def check_job(job: str) -> None:
    """Refuse a job that the lab does not start.

    Raises:
        SettingsError: with what to do instead.
    """
    if job in JOBS:
        return
    for patterns, advice in _OTHERS:
        if any(fnmatch(job, pattern) for pattern in patterns.split()):
            raise SettingsError(f"The lab does not start {job} of EasyDistill 2.x", advice.format(job=job))
    close = difflib.get_close_matches(job, JOBS, n=1)
    known = f"One of: {', '.join(JOBS)}. For a job of 1.x: qdl run CONFIG.json"
    raise SettingsError(
        f"EasyDistill 2.x has no job {job!r}", f"Did you mean {close[0]}?" if close else known
    )


# The installation ----------------------------------------------------------------------------------------

CHECKOUT_VARIABLE = "QDL_EASYDISTILL2_CHECKOUT"
PYTHON_VARIABLE = "QDL_EASYDISTILL2_PYTHON"

STEPS = f"""\
git clone {HOME} easydistill2
python3 -m venv easydistill2/.venv
easydistill2/.venv/bin/pip install ./easydistill2
Then pass --checkout easydistill2 --python easydistill2/.venv/bin/python
(or set {CHECKOUT_VARIABLE} and {PYTHON_VARIABLE})."""

_PARTS = ("easydistill/cli/__init__.py", "configs/prompts/cot_generation_prompt.txt")


@dataclass(frozen=True)
class Version2:
    """A checkout of EasyDistill 2.x and its interpreter."""

    checkout: Path
    python: str

    def command(self, config: Path) -> list[str]:
        """Runs a config. Start it in the checkout, where 2.x looks for its prompts."""
        return [self.python, "-m", "easydistill.cli", "--config", str(config)]


def find_version2(checkout: str = "", python: str = "") -> Version2:
    """The EasyDistill 2.x at `checkout`, else the one in the environment, else the one used last.

    Without an interpreter, the checkout's own `.venv` runs it, else the interpreter of qdl.

    Raises:
        SettingsError: when it is missing, is not 2.x, or lacks a module; with the steps to get one.
    """
    from qdl_engine.user_settings import load_user_settings

    known = load_user_settings().easydistill2
    named = checkout or named_checkout()[0]
    if not named:
        raise SettingsError("EasyDistill 2.x is not configured", STEPS)
    root = Path(named).expanduser().absolute()
    missing = next((part for part in _PARTS if not (root / part).is_file()), "")
    if missing:
        raise SettingsError(f"{root} is not a checkout of EasyDistill 2.x: {missing} is missing", STEPS)
    own = root / ".venv" / "bin" / "python"
    remembered = known.python if str(root) == known.checkout else ""
    program = python or os.environ.get(PYTHON_VARIABLE, "") or remembered
    program = program or (str(own) if own.is_file() else sys.executable)
    found = Version2(root, str(Path(program).expanduser().absolute()))
    _prove(found)
    return found


def named_checkout() -> tuple[str, str]:
    """The checkout that is used by default, and where it is configured; both empty without one.

    Raises:
        SettingsError: when the user's settings cannot be read.
    """
    from qdl_engine.user_paths import user_settings_file
    from qdl_engine.user_settings import load_user_settings

    if checkout := os.environ.get(CHECKOUT_VARIABLE, ""):
        return checkout, f"set by {CHECKOUT_VARIABLE}"
    checkout = load_user_settings().easydistill2.checkout
    return checkout, f"recorded in {user_settings_file()}" if checkout else ""


def remember(found: Version2) -> None:
    """Record it in the user's settings, so that the next call needs no --checkout."""
    from qdl_engine.user_settings import Version2Record, load_user_settings, save_user_settings

    settings = load_user_settings()
    record = Version2Record(python=found.python, checkout=str(found.checkout))
    if record != settings.easydistill2:
        save_user_settings(settings.model_copy(update={"easydistill2": record}))


def _prove(found: Version2) -> None:
    try:
        shown = subprocess.run(
            [found.python, "-c", "import easydistill.cli.main, openai"],
            cwd=found.checkout,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as cause:
        raise SettingsError(f"Cannot start {found.python}: {cause}", STEPS) from cause
    if shown.returncode:
        why = (shown.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(f"{found.python} cannot import EasyDistill 2.x: {why}", STEPS)


def clean_environment() -> dict[str, str]:
    """Our environment without what would make 2.x import our modules, or keep it from importing its own."""
    ours = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return ours | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


# The config of a call ------------------------------------------------------------------------------------

Question = tuple[str, str]
"""A question, and the reference answer to compare with, which may be empty."""

Row = dict[str, Any]

CANDIDATES = 2
"""Answers to each question of dpo_data_build."""
_LEVELS = ["reasoning_verbosity", "cognitive_difficulty", "logical_correctness"]
_JUDGED = ["helpfulness", "correctness"]
_MIN_MARGIN = 0.01
"""Above 0: at 0, 2.x makes pairs of two equal answers."""

DOLLAR = "QDL_DOLLAR"
"""A variable that holds "$". 2.x expands `$NAME` in every text of a config and cannot escape the sign."""


@dataclass(frozen=True)
class Request:
    """What a call asks for, the questions apart."""

    job: str
    url: str
    model: str
    """Empty for the first model that the server lists."""
    system_prompt: str
    temperature: float
    max_tokens: int
    workers: int
    timeout: float
    by_reference: bool
    """dpo_data_build: every question has a reference answer to compare with; else a judge compares."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides an answer; how many requests run at once, and their time limit, do not."""
        return {key: value for key, value in vars(self).items() if key not in ("workers", "timeout")}

    @property
    def question_key(self) -> str:
        return "problem" if "cot" in self.job else "instruction"


def request_of(job: str, settings: LabSettings, questions: Sequence[Question]) -> Request:
    """The job with the lab's teacher.

    Raises:
        SettingsError: when the teacher is not a server, or for a setting that makes 2.x answer nothing.
    """
    from qdl_engine.teachers.address import server_url

    teacher = settings.teacher
    if teacher.kind != "server":
        raise SettingsError(
            f"EasyDistill 2.x needs a server, and teacher.kind is {teacher.kind}",
            "Add --set teacher.kind=server --set teacher.url=http://localhost:8000/v1 --set teacher.model=",
        )
    url = server_url(teacher.url)
    if "$" in url:
        raise SettingsError(f"teacher.url contains a $: {url}", "EasyDistill 2.x would expand it.")
    if job == "dpo_data_build" and teacher.temperature <= 0:
        raise SettingsError(
            "dpo_data_build needs two different answers to each question, and teacher.temperature is 0",
            "Add --set teacher.temperature=0.8",
        )
    return Request(
        job=job,
        url=url,
        model=teacher.model,
        # The prompt of the chain jobs names its own tags; another system prompt would contradict it.
        system_prompt="" if "cot" in job else settings.system1.system_prompt,
        temperature=teacher.temperature,
        max_tokens=teacher.max_new_tokens,
        workers=teacher.concurrency,
        timeout=teacher.timeout,
        by_reference=job == "dpo_data_build" and all(answer for _, answer in questions),
    )


# The files in the folder of a call.
CONFIG = "config.json"
INPUT = "input.jsonl"
OUTPUT = "output.jsonl"
ANSWERED = "answered.jsonl"
"""The teacher's answers, before anything is judged or dropped."""
SCORED = "scored.jsonl"


def config_of(request: Request, folder: Path) -> dict[str, Any]:
    """The config of a call in `folder`.

    It is written as JSON, which 2.x reads as well as YAML: no text turns into a number or a truth value on
    the way. The sections of 2.x refuse unknown keys, so these are keys of 2.0 only.
    """
    asking: dict[str, Any] = {
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "max_workers": request.workers,
        "show_progress": True,
    }
    system = {"system_prompt": request.system_prompt} if request.system_prompt else {}
    backend = {"type": "openai", "base_url": request.url, "timeout": request.timeout, "max_retries": 0}
    config = {
        "job_type": request.job,
        "backend": backend | ({"model_id": request.model} if request.model else {}),
        "dataset": {"input_path": str(folder / INPUT), "output_path": str(folder / OUTPUT)},
    }
    if request.job == "cot_distill":
        config["cot"] = asking
    elif request.job == "advanced_cot_distill":
        config |= _scored_chains(folder, asking)
    else:
        config["generation"] = asking | system
    if request.job == "dpo_data_build":
        config |= _preferences(folder, asking, "cot" if request.by_reference else "llm_judge")
    escaped: dict[str, Any] = _escaped(config)
    return escaped


def _scored_chains(folder: Path, asking: dict[str, Any]) -> dict[str, Any]:
    # `metrics` must be named: without them every row passes unscored. Nothing is mixed or filtered here; the
    # recipe's own levels do that when the data is prepared.
    judging = asking | {"temperature": 0.0}
    return {
        "eval": judging | {"metrics": _LEVELS},
        "pipeline": [
            {"stage": "cot_distill", "config": asking, "output_path": str(folder / ANSWERED)},
            {"stage": "cot_rvcd_score", "config": judging, "output_path": str(folder / SCORED)},
            {"stage": "build_sft", "config": {}},
        ],
    }


def _preferences(folder: Path, asking: dict[str, Any], scorer: str) -> dict[str, Any]:
    scoring = {"scorer": scorer, "metrics": _JUDGED}
    several, margin = {"n": CANDIDATES}, {"min_margin": _MIN_MARGIN}
    return {
        "preference": scoring | several | margin,
        "pipeline": [
            {
                "stage": "generate_candidates",
                "config": asking | several,
                "output_path": str(folder / ANSWERED),
            },
            {"stage": "score_candidates", "config": asking | scoring | {"temperature": 0.0}},
            {"stage": "build_preference_pairs", "config": margin, "output_path": str(folder / SCORED)},
            {"stage": "build_preference_dataset", "config": {"format": "openai_messages"}},
        ],
    }


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", f"${{{DOLLAR}}}")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
