"""What the lab asks EasyDistill 2.x for: its jobs, the checkout that runs them, and the config of a call.

2.x cannot train; it makes data with a teacher behind an OpenAI-compatible server. `version2_run` starts it.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.core.errors import SettingsError

if TYPE_CHECKING:
    from qdl_engine.settings import LabSettings, TeacherSettings

# Jobs ----------------------------------------------------------------------------------------------------

JOBS = {
    "instruct_distill": "answers: a source for System 1",
    "cot_distill": "chains of thought: a source for System 2",
    "advanced_cot_distill": "chains with RV and CD scores: a source for System 2 and its filter",
    "dpo_data_build": "preferred and rejected answers, to train with another program",
}
"""The jobs that the lab starts, and what each makes."""

INPUT_HELP = "questions: JSON, JSONL or Parquet"
OPTIONS = {
    "output": "where the rows go (default: the lab's data/JOB.jsonl)",
    "checkout": "a checkout of EasyDistill 2.x (default: the one used last)",
    "python": "its interpreter (default: the checkout's own .venv)",
}
"""The options of a job besides the settings, each a path, with their help."""

_DONE_HERE = {
    "cot_eval": "advanced_cot_distill scores the chains that it makes; qdl score scores any others.",
    "instruct_eval": "qdl compare shows answers side by side.",
} | dict.fromkeys(
    (
        "cot_long2short",
        "cot_short2long",
        "instruction_expansion",
        "instruction_refinement",
        "instruction_response_extraction",
    ),
    "The lab's own teachers do this and resume at the row: qdl run CONFIG.json with job_type {job}_api.",
)
"""Jobs of 2.x that another command of the lab does."""


def check_job(job: str) -> None:
    """Refuse a job that the lab does not start.

    Raises:
        SettingsError: with what to do instead.
    """
    if job in JOBS:
        return
    # Strict: the other jobs of 2.x have names much like these, and are no typing errors.
    close = difflib.get_close_matches(job, JOBS, n=1, cutoff=0.95)
    hint = f"Did you mean {close[0]}?" if close else _DONE_HERE.get(job, "").format(job=job)
    hint = hint or (
        f"It starts {', '.join(JOBS)}. Start other jobs in their own checkout: "
        "easydistill --config FILE. For a job of 1.x: qdl run CONFIG.json"
    )
    raise SettingsError(f"The lab does not start the EasyDistill 2.x job {job!r}", hint)


# The installation ----------------------------------------------------------------------------------------

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
    """The EasyDistill 2.x at `checkout`, else the one used last.

    Without an interpreter, the checkout's own `.venv` runs it, else the interpreter of qdl.

    Raises:
        SettingsError: when it is missing, is not 2.x, or lacks a module; with the steps to get one.
    """
    from qdl_engine.settings.user import load_user_settings

    known = load_user_settings().easydistill2
    named = checkout or known.checkout
    if not named:
        raise SettingsError("EasyDistill 2.x is not configured", steps())
    root = Path(named).expanduser().absolute()
    missing = next((part for part in _PARTS if not (root / part).is_file()), "")
    if missing:
        raise SettingsError(f"{root} is not a checkout of EasyDistill 2.x: {missing} is missing", steps())
    own = root / ".venv" / "bin" / "python"
    program = python or (known.python if str(root) == known.checkout else "")
    program = program or (str(own) if own.is_file() else sys.executable)
    found = Version2(root, str(Path(program).expanduser().absolute()))
    _prove(found)
    return found


def steps() -> str:
    """How to install EasyDistill 2.x and name it."""
    from qdl_engine.upstream.find import HOME

    return f"""\
git clone {HOME} easydistill2
python3 -m venv easydistill2/.venv
easydistill2/.venv/bin/pip install ./easydistill2
Then name it once: qdl easydistill run JOB FILE --checkout easydistill2"""


def remember(found: Version2) -> None:
    """Record it in the user's settings, so that the next call needs no --checkout."""
    from qdl_engine.settings.user import Version2Record, load_user_settings, save_user_settings

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
        raise SettingsError(f"Cannot start {found.python}: {cause}", steps()) from cause
    if shown.returncode:
        why = (shown.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(f"{found.python} cannot import EasyDistill 2.x: {why}", steps())


def clean_environment() -> dict[str, str]:
    """Our environment without what would make 2.x import our modules, or keep it from importing its own."""
    ours = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return ours | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


# The config of a call ------------------------------------------------------------------------------------

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
    teacher: TeacherSettings
    url: str
    system_prompt: str

    @property
    def identity(self) -> list[Any]:
        """What decides an answer; how many requests run at once, and their time limit, do not."""
        teacher = self.teacher
        asked = [teacher.model, teacher.temperature, teacher.max_new_tokens]
        return [self.job, self.url, self.system_prompt, *asked]

    @property
    def question_key(self) -> str:
        return "problem" if "cot" in self.job else "instruction"


def request_of(job: str, settings: LabSettings) -> Request:
    """The job with the lab's teacher.

    Raises:
        SettingsError: when the teacher is not a server, or for a setting that makes 2.x answer nothing.
    """
    from qdl_engine.settings.address import server_url

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
    # The prompt of the chain jobs names its own tags; another system prompt would contradict it.
    system_prompt = "" if "cot" in job else settings.system1.system_prompt
    return Request(job, teacher, url, system_prompt)


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
    teacher = request.teacher
    asking: dict[str, Any] = {
        "temperature": teacher.temperature,
        "max_tokens": teacher.max_new_tokens,
        "max_workers": teacher.concurrency,
        "show_progress": True,
    }
    system = {"system_prompt": request.system_prompt} if request.system_prompt else {}
    backend = {"type": "openai", "base_url": request.url, "timeout": teacher.timeout, "max_retries": 0}
    config = {
        "job_type": request.job,
        "backend": backend | ({"model_id": teacher.model} if teacher.model else {}),
        "dataset": {"input_path": str(folder / INPUT), "output_path": str(folder / OUTPUT)},
    }
    if request.job == "cot_distill":
        config["cot"] = asking
    elif request.job == "advanced_cot_distill":
        config |= _scored_chains(folder, asking)
    else:
        config["generation"] = asking | system
    if request.job == "dpo_data_build":
        config |= _preferences(folder, asking)
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


def _preferences(folder: Path, asking: dict[str, Any]) -> dict[str, Any]:
    scoring = {"scorer": "llm_judge", "metrics": _JUDGED}
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
