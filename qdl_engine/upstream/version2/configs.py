"""The configs of EasyDistill 2.x that we write for its four text jobs.

They are JSON, which 2.x reads as well as YAML: no text turns into a number or a truth value on the way. Its
sections refuse unknown keys, so only keys of 2.0 are written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings import LabSettings
from qdl_engine.settings.address import server_url

Job = Literal["instruct_distill", "cot_distill", "advanced_cot_distill", "dpo_data_build"]
JOBS: tuple[Job, ...] = ("instruct_distill", "cot_distill", "advanced_cot_distill", "dpo_data_build")

LEVELS = ("reasoning_verbosity", "cognitive_difficulty", "logical_correctness")
_JUDGED = ("helpfulness", "correctness")
CANDIDATES = 2
MIN_MARGIN = 0.01
"""Above 0: at 0, 2.x makes pairs of two equal answers."""

DOLLAR = "QDL_DOLLAR"
"""A variable that holds "$". 2.x expands `$NAME` in every text of a config, and has no way to write the sign
itself."""


@dataclass(frozen=True)
class Wish:
    """What is asked of EasyDistill 2.x, the same for every shard."""

    job: Job
    url: str
    model: str
    """Empty for the first model that the server lists."""
    system_prompt: str
    temperature: float
    max_tokens: int
    workers: int
    timeout: float
    by_reference: bool
    """dpo_data_build: every row has an answer to compare with; else a judge compares."""

    def check(self) -> None:
        """Refuse what 2.x would take and answer with nothing.

        Raises:
            SettingsError: naming the setting.
        """
        if "$" in self.url:
            raise SettingsError(f"teacher.url holds a $: {self.url}", "EasyDistill 2.x expands it twice.")
        if self.job == "dpo_data_build" and self.temperature <= 0:
            raise SettingsError(
                "dpo_data_build needs two different answers to each question, and teacher.temperature is 0",
                "Add --set teacher.temperature=0.8",
            )

    def to_dict(self) -> dict[str, Any]:
        """All that decides an answer: how many are asked at once, and for how long, does not."""
        return {key: value for key, value in asdict(self).items() if key not in ("workers", "timeout")}


def wish_of(job: Job, settings: LabSettings, *, by_reference: bool) -> Wish:
    """The job by the lab's teacher, which must be a server: 2.x has no other.

    Raises:
        SettingsError: when it is none.
    """
    teacher = settings.teacher
    if teacher.kind != "server":
        raise SettingsError(
            f"EasyDistill 2.x asks a server, and teacher.kind is {teacher.kind}",
            "Add --set teacher.kind=server --set teacher.url=http://localhost:8000/v1 --set teacher.model=",
        )
    return Wish(
        job=job,
        url=server_url(teacher.url),
        model=teacher.model,
        system_prompt="" if "cot" in job else settings.system1.system_prompt,
        temperature=teacher.temperature,
        max_tokens=teacher.max_new_tokens,
        workers=teacher.concurrency,
        timeout=teacher.timeout,
        by_reference=job == "dpo_data_build" and by_reference,
    )


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def input(self) -> Path:
        return self.folder / "input.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "output.jsonl"

    @property
    def answered(self) -> Path:
        """What the teacher answered, before anything is judged or left out."""
        return self.folder / "answered.jsonl"

    @property
    def scored(self) -> Path:
        return self.folder / "scored.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "easydistill.log"


def input_row(wish: Wish, place: int, question: str, answer: str) -> dict[str, Any]:
    """One row as the job reads it; its id finds the answer's way back."""
    key = "problem" if "cot" in wish.job else "instruction"
    row = {"id": str(place), key: question}
    return row | {"answer": answer} if wish.by_reference else row


def shard_config(wish: Wish, files: ShardFiles) -> dict[str, Any]:
    """The config of one shard."""
    asking: dict[str, Any] = {
        "temperature": wish.temperature,
        "max_tokens": wish.max_tokens,
        "max_workers": wish.workers,
        "show_progress": True,
    }
    backend: dict[str, Any] = {
        "type": "openai",
        "base_url": wish.url,
        "timeout": wish.timeout,
        "max_retries": 0,
    }
    if wish.model:
        backend["model_id"] = wish.model
    config: dict[str, Any] = {
        "job_type": wish.job,
        "backend": backend,
        "dataset": {"input_path": str(files.input), "output_path": str(files.output)},
    }
    make = {
        "instruct_distill": _instruct,
        "cot_distill": _cot,
        "advanced_cot_distill": _advanced_cot,
        "dpo_data_build": _preference,
    }[wish.job]
    escaped: dict[str, Any] = _escaped(config | make(wish, files, asking))
    return escaped


def _system(wish: Wish) -> dict[str, str]:
    return {"system_prompt": wish.system_prompt} if wish.system_prompt else {}


def _instruct(wish: Wish, files: ShardFiles, asking: dict[str, Any]) -> dict[str, Any]:
    return {"generation": asking | _system(wish)}


def _cot(wish: Wish, files: ShardFiles, asking: dict[str, Any]) -> dict[str, Any]:
    # Its prompt asks for the reasoning; a system prompt that asks for other tags would be in its way.
    return {"cot": asking}


def _advanced_cot(wish: Wish, files: ShardFiles, asking: dict[str, Any]) -> dict[str, Any]:
    # `metrics` must be named: without them every row passes unscored. Nothing is mixed or filtered here:
    # that is done where the rows are prepared, by the recipe's own levels.
    judging = asking | {"temperature": 0.0}
    return {
        "eval": judging | {"metrics": list(LEVELS)},
        "pipeline": [
            {"stage": "cot_distill", "config": asking, "output_path": str(files.answered)},
            {"stage": "cot_rvcd_score", "config": judging, "output_path": str(files.scored)},
            {"stage": "build_sft", "config": {}},
        ],
    }


def _preference(wish: Wish, files: ShardFiles, asking: dict[str, Any]) -> dict[str, Any]:
    scorer = "cot" if wish.by_reference else "llm_judge"
    judging = asking | {"temperature": 0.0, "scorer": scorer, "metrics": list(_JUDGED)}
    return {
        "generation": asking | _system(wish),
        "preference": {
            "scorer": scorer,
            "n": CANDIDATES,
            "min_margin": MIN_MARGIN,
            "metrics": list(_JUDGED),
        },
        "pipeline": [
            {
                "stage": "generate_candidates",
                "config": asking | {"n": CANDIDATES},
                "output_path": str(files.answered),
            },
            {"stage": "score_candidates", "config": judging},
            {
                "stage": "build_preference_pairs",
                "config": {"min_margin": MIN_MARGIN},
                "output_path": str(files.scored),
            },
            {"stage": "build_preference_dataset", "config": {"format": "openai_messages"}},
        ],
    }


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", f"${{{DOLLAR}}}")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
