"""`python -m qdl_engine.demo.build tokenizer|teacher|student|all`: makes what ships in
`qdl_engine/demo/assets`.

One thread on purpose: the models are too small to share a step between cores. The teacher takes about 25
minutes and the student about 5 on one core of 2024; set OMP_WAIT_POLICY=PASSIVE when the other cores are
busy.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from qdl_engine.demo.making import student, teacher
from qdl_engine.demo.making.examination import examine
from qdl_engine.demo.making.loop import Lesson, Recipe, new_model, train
from qdl_engine.demo.making.tokenizer import save_tokenizer
from qdl_engine.demo.world import exam

Who = Literal["teacher", "student"]

ASSETS: Final = Path(__file__).parent / "assets"
CARD: Final = "card.json"
EXAM_PER_TASK: Final = 100


def build_tokenizer(assets: Path) -> None:
    """Writes the one tokenizer into both model directories."""
    for who in ("teacher", "student"):
        save_tokenizer(assets / who)


def build_model(assets: Path, who: Who, seconds: float | None = None) -> None:
    """Trains one model, saves it in half precision, examines what was saved, and notes it on the card."""
    torch.set_num_threads(1)
    recipe, lessons = _course(who)
    directory = assets / who
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = new_model(tokenizer, recipe.architecture, recipe.seed)
    outcome = train(model, tokenizer, lessons, recipe, seconds)
    model.to(torch.bfloat16).save_pretrained(directory)
    entry = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": asdict(recipe)
        | {"optimizer": "Muon on matrices, AdamW elsewhere", "threads": 1, "dtype": "float32"},
        "training": asdict(outcome),
        "test": examine_saved(directory),
    }
    _note(assets / CARD, who, entry)


def examine_saved(directory: Path) -> dict[str, Any]:
    """Exact match on the test split of the model as shipped, per style and task."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = Qwen2ForCausalLM.from_pretrained(directory, dtype=torch.float32)
    paper = exam("test", EXAM_PER_TASK)
    return {
        "system1": examine(model, tokenizer, paper, "system1").as_dict(),
        "system2": examine(model, tokenizer, paper, "system2").as_dict(),
    }


def _course(who: Who) -> tuple[Recipe, Iterator[Lesson]]:
    if who == "teacher":
        return teacher.RECIPE, teacher.lessons(teacher.RECIPE.seed)
    return student.RECIPE, student.lessons(student.RECIPE.seed)


def _note(path: Path, who: Who, entry: dict[str, Any]) -> None:
    """Replaces one model's entry on the card."""
    card = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    card[who] = entry
    path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Parses the command line and builds."""
    parser = argparse.ArgumentParser(prog="python -m qdl_engine.demo.build", description=__doc__)
    parser.add_argument("what", choices=("tokenizer", "teacher", "student", "all"))
    parser.add_argument("--out", type=Path, default=ASSETS, help="where the model directories go")
    parser.add_argument("--seconds", type=float, help="a trial: CPU seconds instead of the recipe's steps")
    arguments = parser.parse_args()
    if arguments.what in ("tokenizer", "all"):
        build_tokenizer(arguments.out)
    if arguments.what in ("student", "all"):
        build_model(arguments.out, "student", arguments.seconds)
    if arguments.what in ("teacher", "all"):
        build_model(arguments.out, "teacher", arguments.seconds)


if __name__ == "__main__":
    main()
