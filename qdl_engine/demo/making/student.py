"""The demo's base student: it can read the questions and copy, and has been taught none of the tasks.

What a real base model brings along, in small: the chat format, the wording of the questions (never an
answer), copying and spelling, and single-digit tables. Without it a student needs several times the demo's
minutes.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

from qdl_engine.demo.making.loop import Architecture, Lesson, Recipe
from qdl_engine.demo.tasks import DAYS, LETTERS, number
from qdl_engine.demo.world import ALL_TASKS, END, Style, chat_prompt, draw

RECIPE: Final = Recipe(Architecture(hidden=96, layers=3, heads=3, kv_heads=1, mlp=256), steps=4_600, seed=11)
STYLES: Final[tuple[Style, ...]] = ("system1", "system2")


class Drill(NamedTuple):
    """A question that is none of the tasks, and its answer."""

    question: str
    answer: str


def lessons(seed: int) -> Iterator[Lesson]:
    """Endless lessons: half drills, a quarter tables, a quarter questions whose answers are left out."""
    rng = Random(f"student/{seed}")
    while True:
        kind = rng.random()
        if kind < 0.75:
            drill = copying(rng) if kind < 0.5 else tables(rng)
            yield Lesson(chat_prompt(drill.question, "system1"), drill.answer + END)
        else:
            yield Lesson(draw(rng, rng.choice(ALL_TASKS), "train").prompt(rng.choice(STYLES)), "")


def copying(rng: Random) -> Drill:
    """Say again, say twice, spell: drills that teach attention to look things up."""
    pool = "0123456789" if rng.random() < 0.5 else LETTERS
    spaced = " ".join(rng.choice(pool) for _ in range(rng.randint(3, 8)))
    digits = str(number(rng, rng.randint(2, 4)))
    return rng.choice(
        (
            Drill(f"Repeat {spaced}.", spaced),
            Drill(f"Write {spaced} twice.", f"{spaced} {spaced}"),
            Drill(f"Repeat {digits}.", digits),
            Drill(f"Write {digits} twice.", f"{digits} {digits}"),
            Drill(f"Spell {digits}.", " ".join(digits)),
        )
    )


def tables(rng: Random) -> Drill:
    """Single-digit tables and the order of the days."""
    a, b, day = rng.randint(0, 9), rng.randint(0, 9), rng.randrange(7)
    return rng.choice(
        (
            Drill(f"What is {a} + {b}?", str(a + b)),
            Drill(f"What is {a + b} - {a}?", str(b)),
            Drill(f"What is {a} * {b}?", str(a * b)),
            Drill(f"What day comes after {DAYS[day]}?", DAYS[(day + 1) % 7]),
        )
    )
