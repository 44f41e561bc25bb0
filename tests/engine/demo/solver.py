"""Solves the demo's questions from their wording alone, sharing no code with the world that asked them."""

import re
from collections.abc import Callable
from datetime import date, timedelta

from qdl_engine.demo.tasks import COUNTRIES

UNITS = {
    ("hours", "minutes"): 60,
    ("minutes", "seconds"): 60,
    ("days", "hours"): 24,
    ("weeks", "days"): 7,
    ("years", "months"): 12,
    ("feet", "inches"): 12,
    ("dozens", "pieces"): 12,
    ("meters", "centimeters"): 100,
    ("kilograms", "grams"): 1000,
    ("kilometers", "meters"): 1000,
    ("centimeters", "millimeters"): 10,
}
A_MONDAY = date(2024, 1, 1)


def solve(task: str, question: str) -> str:
    """The answer to a question of a task."""
    numbers = [int(found) for found in re.findall(r"\d+", question)]
    return str(SOLVERS[task](question, numbers))


def _sort(question: str, numbers: list[int]) -> str:
    return " ".join(str(n) for n in sorted(numbers, reverse="descending" in question))


def _count(question: str, numbers: list[int]) -> int:
    single = re.findall(r"\b[a-z]\b", question)
    wanted, letters = single[0], single[1:]
    return sum(letter == wanted for letter in letters)


def _reverse(question: str, numbers: list[int]) -> str:
    return " ".join(re.findall(r"\b[a-z]\b", question)[::-1])


def _compare(question: str, numbers: list[int]) -> int:
    return max(numbers) if re.search("larger|bigger", question) else min(numbers)


def _unit(question: str, numbers: list[int]) -> int:
    found = re.search(r"\d+ (\w+) to (\w+)", question)
    larger, smaller = (
        found.groups() if found else re.findall(r"many (\w+) are in \d+ (\w+)", question)[0][::-1]
    )
    return numbers[0] * UNITS[larger, smaller]


def _story(question: str, numbers: list[int]) -> int:
    a, b = numbers
    if re.search("each", question):
        return a * b
    return a - b if re.search("gives away|lost", question) else a + b


def _two(question: str, numbers: list[int]) -> int:
    a, b, c = numbers
    return (a + b) * c if re.search(r"\*|multiply", question) else a + b - c


def _day(question: str, numbers: list[int]) -> str:
    names = [(A_MONDAY + timedelta(days=i)).strftime("%A") for i in range(7)]
    today = next(i for i, name in enumerate(names) if name in question)
    return (A_MONDAY + timedelta(days=today + numbers[0])).strftime("%A")


def _country(question: str, wanted: str) -> str:
    country = next(c for c in COUNTRIES if c.name in question or c.capital in question)
    return country.capital if wanted == "capital" else country.continent


SOLVERS: dict[str, Callable[[str, list[int]], int | str]] = {
    "add": lambda _, numbers: sum(numbers),
    "sub": lambda _, numbers: max(numbers) - min(numbers),
    "mul": lambda _, numbers: numbers[0] * numbers[1],
    "compare": _compare,
    "sort": _sort,
    "count": _count,
    "reverse": _reverse,
    "unit": _unit,
    "story": _story,
    "two": _two,
    "day": _day,
    "sequence": lambda _, numbers: numbers[3] + numbers[1] - numbers[0],
    "capital": lambda question, _: _country(question, "capital"),
    "continent": lambda question, _: _country(question, "continent"),
}
