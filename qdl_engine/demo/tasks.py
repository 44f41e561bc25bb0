"""The demo's fourteen tasks: each draws one question whose answer a program can check.

First come the words of the demo's little world, then the written working that carries its arithmetic, then
the tasks. Each line of working does one step that a very small model can do in a single forward pass, and
shows every number that the step needs before it shows the result. Where a line gives the result first, the
teacher gets it wrong.

A task takes a random generator and returns a `Draft`. Its key names the operands and nothing else: two
phrasings of the same sum have the same key, so that neither can be trained on while the other is held out.
The shipped weights and data depend on the order in which a task draws: it must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple

NAMES: Final = ("Tom", "Ana", "Ben", "Eva", "Max", "Lea", "Sam", "Mia", "Leo", "Zoe", "Kai", "Ida")
THINGS: Final = ("apples", "books", "coins", "cards", "stars", "shells", "pens", "cakes", "eggs", "keys")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

WORDS: Final = (
    "apple", "banana", "lemon", "orange", "cherry", "grape", "melon", "peach", "plum", "berry", "tiger",
    "zebra", "horse", "sheep", "panda", "camel", "eagle", "otter", "rabbit", "kitten", "puppy", "monkey",
    "donkey", "parrot", "spider", "beetle", "turtle", "lizard", "salmon", "oyster", "table", "chair",
    "window", "door", "floor", "carpet", "mirror", "pillow", "blanket", "lamp", "river", "ocean",
    "island", "forest", "desert", "valley", "meadow", "canyon", "garden", "bridge", "street", "tunnel",
    "castle", "temple", "market", "school", "office", "library", "museum", "theater", "pencil", "paper",
    "letter", "number", "marker", "folder", "button", "needle", "thread", "fabric", "cotton", "velvet",
    "leather", "copper", "silver", "golden", "bronze", "marble", "crystal", "diamond", "winter", "summer",
    "spring", "autumn", "monday", "morning", "evening", "midnight", "thunder", "lightning", "rainbow",
    "breeze", "shadow", "sunset", "planet", "comet", "rocket", "engine", "wheel", "butter", "cheese",
    "pepper", "ginger", "garlic", "onion", "potato", "tomato", "carrot", "cabbage", "coffee", "sugar",
    "honey", "cookie", "muffin", "noodle", "pickle", "raisin", "walnut", "almond", "guitar", "violin",
    "trumpet", "piano", "drum", "flute", "melody", "rhythm", "dancer", "singer", "painter", "writer",
    "doctor", "farmer", "baker", "tailor", "sailor", "soldier", "hunter", "pilot",
)  # fmt: skip


class Country(NamedTuple):
    """A country and the two facts that the demo asks for."""

    name: str
    capital: str
    continent: str


COUNTRIES: Final = (
    Country("France", "Paris", "Europe"),
    Country("Spain", "Madrid", "Europe"),
    Country("Italy", "Rome", "Europe"),
    Country("Germany", "Berlin", "Europe"),
    Country("Poland", "Warsaw", "Europe"),
    Country("Greece", "Athens", "Europe"),
    Country("Norway", "Oslo", "Europe"),
    Country("Sweden", "Stockholm", "Europe"),
    Country("Finland", "Helsinki", "Europe"),
    Country("Denmark", "Copenhagen", "Europe"),
    Country("Portugal", "Lisbon", "Europe"),
    Country("Ireland", "Dublin", "Europe"),
    Country("Austria", "Vienna", "Europe"),
    Country("Hungary", "Budapest", "Europe"),
    Country("Romania", "Bucharest", "Europe"),
    Country("Bulgaria", "Sofia", "Europe"),
    Country("Ukraine", "Kyiv", "Europe"),
    Country("Croatia", "Zagreb", "Europe"),
    Country("Egypt", "Cairo", "Africa"),
    Country("Kenya", "Nairobi", "Africa"),
    Country("Ghana", "Accra", "Africa"),
    Country("Nigeria", "Abuja", "Africa"),
    Country("Morocco", "Rabat", "Africa"),
    Country("Senegal", "Dakar", "Africa"),
    Country("Japan", "Tokyo", "Asia"),
    Country("China", "Beijing", "Asia"),
    Country("India", "New Delhi", "Asia"),
    Country("Iran", "Tehran", "Asia"),
    Country("Iraq", "Baghdad", "Asia"),
    Country("Vietnam", "Hanoi", "Asia"),
    Country("Thailand", "Bangkok", "Asia"),
    Country("Nepal", "Kathmandu", "Asia"),
    Country("Qatar", "Doha", "Asia"),
    Country("Cuba", "Havana", "America"),
    Country("Peru", "Lima", "America"),
    Country("Chile", "Santiago", "America"),
    Country("Canada", "Ottawa", "America"),
    Country("Brazil", "Brasilia", "America"),
    Country("Argentina", "Buenos Aires", "America"),
    Country("Mexico", "Mexico City", "America"),
)


class Unit(NamedTuple):
    """One `larger` is `factor` times one `smaller`."""

    larger: str
    smaller: str
    factor: int


UNITS: Final = (
    Unit("hours", "minutes", 60),
    Unit("minutes", "seconds", 60),
    Unit("days", "hours", 24),
    Unit("weeks", "days", 7),
    Unit("years", "months", 12),
    Unit("feet", "inches", 12),
    Unit("dozens", "pieces", 12),
    Unit("meters", "centimeters", 100),
    Unit("kilograms", "grams", 1000),
    Unit("kilometers", "meters", 1000),
    Unit("centimeters", "millimeters", 10),
)


def add_columns(a: int, b: int) -> str:
    """Column addition from the right; each line is digit + digit + carry = two-digit sum."""
    first, second = _padded(a, b)
    carry, lines = 0, []
    for x, y in zip(first, second, strict=True):
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02d}")
        carry = total // 10
    return "\n".join(lines)


def subtract_columns(a: int, b: int) -> str:
    """Column subtraction of b from a (a >= b); each line ends with the digit and whether it borrows."""
    first, second = _padded(a, b)
    borrow, lines = 0, []
    for x, y in zip(first, second, strict=True):
        total = x - y - borrow
        borrows = int(total < 0)
        lines.append(f"{x}-{y}-{borrow}={total % 10} b{borrows}")
        borrow = borrows
    return "\n".join(lines)


def multiply_columns(a: int, digit: int) -> str:
    """Column multiplication by one digit; each line is digit * digit + carry = two-digit product."""
    carry, lines = 0, []
    for x in _digits(a):
        total = x * digit + carry
        lines.append(f"{x}*{digit}+{carry}={total:02d}")
        carry = total // 10
    return "\n".join(lines)


def convert_units(amount: int, factor: int) -> str:
    """The product of an amount below 100 and a unit's factor, in as few steps as it takes."""
    if factor in (10, 100, 1000):
        return f"{amount}*{factor}={amount * factor}"
    if factor < 10:
        return multiply_columns(amount, factor)
    tens, ones = divmod(factor, 10)
    lines = [_split_product(amount, tens, "0")]
    if ones:
        lines += [_split_product(amount, ones), add_columns(amount * tens * 10, amount * ones)]
    return "\n".join(lines)


def _split_product(amount: int, digit: int, zeros: str = "") -> str:
    """`35*4=120+20=140`: tens and ones apart; a whole product in one step is luck."""
    tens, ones = amount // 10 * 10 * digit, amount % 10 * digit
    parts = f"{tens}{zeros}+{ones}{zeros}=" if tens and ones else ""
    return f"{amount}*{digit}{zeros}={parts}{tens + ones}{zeros}"


def compare_digits(a: int, b: int) -> str:
    """Digit pairs from the left up to the first that differs; the sign comes after both digits."""
    lines = []
    for x, y in zip(str(a), str(b), strict=True):
        lines.append(f"{x} {y} {'=' if x == y else '>' if x > y else '<'}")
        if x != y:
            break
    return "\n".join(lines)


def _digits(number: int) -> list[int]:
    """The decimal digits, ones first."""
    return [int(digit) for digit in reversed(str(number))]


def _padded(a: int, b: int) -> tuple[list[int], list[int]]:
    """The digits of both numbers, ones first, filled up with zeros to one length."""
    width = max(len(str(a)), len(str(b)))
    return _digits(a) + [0] * (width - len(str(a))), _digits(b) + [0] * (width - len(str(b)))


class Draft(NamedTuple):
    """A question, not yet assigned to a split."""

    key: str
    question: str
    answer: str
    thought: str


def number(rng: Random, digits: int) -> int:
    """A number with exactly `digits` digits."""
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _word(rng: Random) -> str:
    """An English word half of the time, else 4 to 7 random letters: spelling must not rest on known words."""
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(4, 7)))


def _add(rng: Random) -> Draft:
    a, b = number(rng, rng.choice((2, 3, 3))), number(rng, rng.choice((2, 3, 3)))
    phrasings = (f"What is {a} + {b}?", f"Add {a} and {b}.", f"Compute {a} + {b}.", f"{a} + {b} =")
    return Draft(f"{min(a, b)},{max(a, b)}", rng.choice(phrasings), str(a + b), add_columns(a, b))


def _sub(rng: Random) -> Draft:
    b, a = sorted((number(rng, 3), number(rng, rng.choice((2, 3)))))
    phrasings = (f"What is {a} - {b}?", f"Subtract {b} from {a}.", f"Compute {a} - {b}.", f"{a} - {b} =")
    return Draft(f"{a},{b}", rng.choice(phrasings), str(a - b), subtract_columns(a, b))


def _mul(rng: Random) -> Draft:
    a, d = number(rng, rng.choice((2, 3))), rng.randint(2, 9)
    phrasings = (f"What is {a} * {d}?", f"Multiply {a} by {d}.", f"Compute {a} * {d}.", f"{a} times {d} =")
    return Draft(f"{a},{d}", rng.choice(phrasings), str(a * d), multiply_columns(a, d))


def _near(rng: Random, a: int) -> int:
    """A number like `a` except for one digit after the first, so that a comparison has to look further."""
    digits = list(str(a))
    digits[rng.randrange(1, len(digits))] = str(rng.randint(0, 9))
    return int("".join(digits))


def _compare(rng: Random) -> Draft:
    digits = rng.choice((3, 4))
    a = b = number(rng, digits)
    while b == a:
        b = _near(rng, a) if rng.random() < 0.5 else number(rng, digits)
    if rng.random() < 0.5:
        word, answer = "bigger", max(a, b)
        phrasings = (f"Which is larger, {a} or {b}?", f"Which number is bigger: {a} or {b}?")
    else:
        word, answer = "smaller", min(a, b)
        phrasings = (f"Which is smaller, {a} or {b}?", f"Which number is less: {a} or {b}?")
    thought = f"{compare_digits(a, b)}\n{word}: {'first' if answer == a else 'second'}"
    return Draft(f"{min(a, b)},{max(a, b)}", rng.choice(phrasings), str(answer), thought)


def _sort(rng: Random) -> Draft:
    digits = rng.sample(range(10), rng.choice((4, 5)))
    order = rng.choice(("ascending", "descending"))
    ordered = sorted(digits, reverse=order == "descending")
    shown, left, lines = " ".join(map(str, digits)), list(digits), []
    for digit in ordered[:-1]:
        left.remove(digit)
        lines.append(f"{digit}:" + " ".join(map(str, left)))
    phrasings = (f"Sort {shown} in {order} order.", f"Put {shown} in {order} order.")
    return Draft(f"{shown},{order}", rng.choice(phrasings), " ".join(map(str, ordered)), "\n".join(lines))


def _count(rng: Random) -> Draft:
    letters = list(_word(rng))
    if rng.random() < 0.6:
        i, j = rng.sample(range(len(letters)), 2)
        letters[i] = letters[j]
    wanted = rng.choice(letters) if rng.random() < 0.9 else rng.choice(LETTERS)
    shown = " ".join(letters)
    tally = (f"{letter}{letters[: i + 1].count(wanted)}" for i, letter in enumerate(letters))
    phrasings = (f"How many times does {wanted} appear in {shown}?", f"Count the letter {wanted} in {shown}.")
    thought = f"count {wanted}: " + " ".join(tally)
    return Draft(f"{''.join(letters)},{wanted}", rng.choice(phrasings), str(letters.count(wanted)), thought)


def _reverse(rng: Random) -> Draft:
    word = _word(rng)
    shown = " ".join(word)
    numbered = [f"{letter}{i}" for i, letter in enumerate(word, 1)]
    thought = " ".join(numbered) + "\n" + " ".join(reversed(numbered))
    phrasings = (f"Reverse the letters {shown}.", f"Write {shown} backwards.")
    return Draft(word, rng.choice(phrasings), " ".join(reversed(word)), thought)


def _unit(rng: Random) -> Draft:
    larger, smaller, factor = rng.choice(UNITS)
    amount = rng.randint(2, 40 if factor < 100 else 99)
    phrasings = (f"Convert {amount} {larger} to {smaller}.", f"How many {smaller} are in {amount} {larger}?")
    thought = f"1 {larger} = {factor} {smaller}\n{convert_units(amount, factor)}"
    return Draft(f"{larger},{amount}", rng.choice(phrasings), str(amount * factor), thought)


def _gain(rng: Random, person: str, things: str) -> Draft:
    a, b = number(rng, 2), number(rng, 2)
    phrasings = (
        f"{person} has {a} {things} and buys {b} more. How many {things} does {person} have?",
        f"{person} had {a} {things}. Then {person} found {b} more. How many {things} now?",
    )
    thought = f"{a}+{b}\n{add_columns(a, b)}"
    return Draft(f"gain,{min(a, b)},{max(a, b)}", rng.choice(phrasings), str(a + b), thought)


def _lose(rng: Random, person: str, things: str) -> Draft:
    b, a = sorted((number(rng, 2), number(rng, 2)))
    phrasings = (
        f"{person} has {a} {things} and gives away {b}. How many {things} are left?",
        f"{person} had {a} {things} and lost {b}. How many {things} now?",
    )
    return Draft(f"lose,{a},{b}", rng.choice(phrasings), str(a - b), f"{a}-{b}\n{subtract_columns(a, b)}")


def _each(rng: Random, person: str, things: str) -> Draft:
    a, d = number(rng, 2), rng.randint(2, 9)
    phrasings = (
        f"{person} has {d} boxes with {a} {things} each. How many {things} in total?",
        f"There are {a} {things} in each of {d} bags. How many {things} in total?",
    )
    return Draft(f"each,{a},{d}", rng.choice(phrasings), str(a * d), f"{a}*{d}\n{multiply_columns(a, d)}")


def _story(rng: Random) -> Draft:
    kind = rng.choice((_gain, _lose, _each))
    return kind(rng, rng.choice(NAMES), rng.choice(THINGS))


def _two(rng: Random) -> Draft:
    """Two steps: the second needs the result of the first, so that no model answers it at once."""
    a, b = number(rng, 2), number(rng, 2)
    total = a + b
    first = f"{a}+{b}\n{add_columns(a, b)}"
    if rng.random() < 0.5:
        c = rng.randint(2, 9)
        question = rng.choice((f"What is ({a} + {b}) * {c}?", f"Add {a} and {b}, then multiply by {c}."))
        thought = f"{first}\n{total}*{c}\n{multiply_columns(total, c)}"
        return Draft(f"times,{min(a, b)},{max(a, b)},{c}", question, str(total * c), thought)
    d = rng.randint(10, min(99, total - 1))
    person, things = rng.choice(NAMES), rng.choice(THINGS)
    story = f"{person} has {a} {things}, buys {b} more and gives away {d}. How many {things} are left?"
    question = rng.choice((story, f"What is {a} + {b} - {d}?"))
    thought = f"{first}\n{total}-{d}\n{subtract_columns(total, d)}"
    return Draft(f"minus,{min(a, b)},{max(a, b)},{d}", question, str(total - d), thought)


def _day(rng: Random) -> Draft:
    today, days = rng.randrange(7), rng.randint(1, 30)
    rest = days % 7
    steps = "".join(f"\n{step} {DAYS[(today + step) % 7]}" for step in range(1, rest + 1))
    name = DAYS[today]
    phrasings = (
        f"Today is {name}. What day is it in {days} days?",
        f"What day comes {days} days after {name}?",
    )
    thought = f"{days}-{days - rest}={rest}{steps}"
    return Draft(f"{name},{days}", rng.choice(phrasings), DAYS[(today + days) % 7], thought)


def _sequence(rng: Random) -> Draft:
    start, step = rng.randint(1, 80), rng.randint(2, 9)
    terms = [start + step * i for i in range(4)]
    shown = ", ".join(map(str, terms))
    thought = f"{terms[1]}-{terms[0]}={step}\n{add_columns(terms[3], step)}"
    phrasings = (f"What comes next: {shown}?", f"Continue the sequence {shown}.")
    return Draft(f"{start},{step}", rng.choice(phrasings), str(terms[3] + step), thought)


def _capital(rng: Random) -> Draft:
    """The key holds the phrasing too: a fact cannot be worked out, so it is the wording that is held out."""
    country = rng.choice(COUNTRIES)
    phrasings = (
        f"What is the capital of {country.name}?",
        f"Name the capital of {country.name}.",
        f"Which city is the capital of {country.name}?",
        f"Which capital does {country.name} have?",
        f"Tell me the capital city of {country.name}.",
    )
    chosen = rng.randrange(len(phrasings))
    thought = f"{country.name} is in {country.continent}"
    return Draft(f"{country.name},{chosen}", phrasings[chosen], country.capital, thought)


def _continent(rng: Random) -> Draft:
    """Keyed like a capital."""
    country = rng.choice(COUNTRIES)
    phrasings = (
        f"On which continent is {country.name}?",
        f"Where is {country.capital}, in which continent?",
        f"Name the continent of {country.name}.",
        f"On which continent does {country.capital} lie?",
        f"Which continent is {country.name} in?",
    )
    chosen = rng.randrange(len(phrasings))
    thought = f"{country.capital} is in {country.name}"
    return Draft(f"{country.name},{chosen}", phrasings[chosen], country.continent, thought)


TASKS: Final[Mapping[str, Callable[[Random], Draft]]] = MappingProxyType(
    {
        "add": _add,
        "sub": _sub,
        "mul": _mul,
        "compare": _compare,
        "sort": _sort,
        "count": _count,
        "reverse": _reverse,
        "unit": _unit,
        "story": _story,
        "two": _two,
        "day": _day,
        "sequence": _sequence,
        "capital": _capital,
        "continent": _continent,
    }
)

_FACTS: Final[Mapping[str, tuple[tuple[int, ...], ...]]] = MappingProxyType(
    {"capital": ((0, 1, 2, 3, 4),), "continent": ((0, 2, 4), (1, 3))}
)
"""Phrasings that name the same thing: a continent's questions name the country, or its capital."""


def other_wordings(task: str, key: str) -> list[str] | None:
    """The keys that ask for the same fact in other words; None for a task without facts."""
    if task not in _FACTS:
        return None
    country, wording = key.rsplit(",", 1)
    alike = next(phrasings for phrasings in _FACTS[task] if int(wording) in phrasings)
    return [f"{country},{other}" for other in alike if other != int(wording)]
