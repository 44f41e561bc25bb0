"""`python -m qdl_engine.demo.build all`: makes what ships in `qdl_engine/demo/assets`.

Or one part: `tokenizer`, `student`, `teacher`, then `refinement` (the teacher's second course), and `chains`
(its completions for System 2's source). It uses one thread: the models are too small to share a step between
cores. On one core of 2024 the teacher takes about 30 minutes and the student about 5; set
OMP_WAIT_POLICY=PASSIVE when the other cores are busy.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from transformers import AutoTokenizer

from qdl_engine.core.lab import read_json, write_json_atomic
from qdl_engine.demo.exam import BATCH, Paper, sit
from qdl_engine.demo.lab import ASSETS, LONGEST_ANSWER
from qdl_engine.demo.making.lessons import (
    REFINEMENT,
    REFINEMENT_WEIGHTS,
    STUDENT,
    TEACHER,
    student_lessons,
    teacher_lessons,
)
from qdl_engine.demo.making.tokenizer import save_tokenizer
from qdl_engine.demo.making.training import Lesson, Recipe, new_model, train
from qdl_engine.demo.report import score
from qdl_engine.demo.world import ALL_TASKS, SYSTEM_PROMPTS, Style, chat_prompt, system2_samples
from qdl_engine.models.generate import generate
from qdl_engine.models.load import load_student

Who = Literal["student", "teacher", "refinement"]

SHIPPED: Final[Mapping[Who, str]] = {"student": "student", "teacher": "teacher", "refinement": "teacher"}
"""The directory of each training; the refinement continues the teacher's."""
COMMANDS: Final = ("tokenizer", *SHIPPED, "chains")

CARD: Final = "card.json"
EXAM_PER_TASK: Final = 100
CHAIN_QUESTIONS: Final = 4_800
CHAIN_SEED: Final = 0


def build_tokenizer(assets: Path) -> None:
    """Write the one tokenizer into both model directories."""
    for who in sorted(set(SHIPPED.values())):
        save_tokenizer(assets / who)


def build_model(assets: Path, who: Who, seconds: float | None = None) -> None:
    """Train one model, save it in half precision, examine the saved files, and write it on the card."""
    directory = assets / SHIPPED[who]
    recipe, lessons = _course(who)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    if who == "refinement":
        model = load_student(directory).model
    else:
        model = new_model(tokenizer, recipe.architecture, recipe.seed)
    outcome = train(model, tokenizer, lessons, recipe, seconds)
    model.to(torch.bfloat16).save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)
    method = {"optimizer": "Muon on matrices, AdamW elsewhere", "threads": 1, "dtype": "float32"}
    entry = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": asdict(recipe) | method,
        "training": asdict(outcome),
        "test": examine_saved(directory),
    }
    _note(assets / CARD, who, entry)


def build_chains(assets: Path) -> None:
    """Write the teacher's completions for System 2's source: reasoned ones and direct ones."""
    teacher_model = load_student(assets / "teacher")
    samples = system2_samples(CHAIN_QUESTIONS, CHAIN_SEED)
    chains: dict[str, Any] = {"seed": CHAIN_SEED}
    for name, style in (("reasoned", "system2"), ("direct", "system1")):
        prompts = [chat_prompt(sample.question, cast(Style, style)) for sample in samples]
        answers = generate(teacher_model, prompts, max_new_tokens=LONGEST_ANSWER, batch_size=BATCH)
        chains[name] = [answer.text for answer in answers]
    write_json_atomic(assets / "chains.json", chains)


def examine_saved(directory: Path) -> dict[str, Any]:
    """Exact match of the shipped model on the test split, per style and task."""
    return {style: _examine(directory, style) for style in SYSTEM_PROMPTS}


def _examine(directory: Path, style: Style) -> dict[str, Any]:
    marks = sit(Paper(style, str(directory), style, ALL_TASKS, EXAM_PER_TASK))
    tasks = {task: round(marks.right[task] / asked, 4) for task, asked in marks.asked.items()}
    total = score(marks)
    return {"accuracy": round(total.accuracy, 4), "questions": total.asked, "tasks": tasks}


def _course(who: Who) -> tuple[Recipe, Iterator[Lesson]]:
    if who == "student":
        return STUDENT, student_lessons(STUDENT.seed)
    if who == "teacher":
        return TEACHER, teacher_lessons(TEACHER.seed)
    return REFINEMENT, teacher_lessons(REFINEMENT.seed, REFINEMENT_WEIGHTS)


def _note(path: Path, who: Who, entry: dict[str, Any]) -> None:
    """Replace one model's entry on the card."""
    card = read_json(path) if path.exists() else {}
    write_json_atomic(path, card | {who: entry})


def main() -> None:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m qdl_engine.demo.build", description=__doc__)
    parser.add_argument("what", choices=(*COMMANDS, "all"))
    parser.add_argument("--out", type=Path, default=ASSETS, help="where the model directories go")
    parser.add_argument("--seconds", type=float, help="a trial: CPU seconds instead of the recipe's steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = COMMANDS if arguments.what == "all" else (arguments.what,)
    if "tokenizer" in wanted:
        build_tokenizer(arguments.out)
    for who in SHIPPED:
        if who in wanted:
            build_model(arguments.out, who, arguments.seconds)
    if "chains" in wanted:
        build_chains(arguments.out)


if __name__ == "__main__":
    main()
