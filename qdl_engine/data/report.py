"""What prepared data were made with, kept in their report: whether they still are what the recipe asks for.

Contents and settings are compared, never the times of files: a copied lab has other times and the same data.
Nothing heavy is imported, not even the settings models: the app asks at its first paint.

What preparing did: how many rows each step took, which ones, and how long the kept ones are.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdl_engine.settings import RecipeSettings


DATA_KEYS = (
    "source", "split", "fields", "mapping", "rows", "seed", "max_length", "label",
    "rv_min", "rv_max", "cd_min", "cd_max", "require_verified",
)  # fmt: skip
"""Settings that decide which rows are prepared. Student and system prompt only measure them, and the trainer
measures again."""
HASHED_WHOLE = 64 * 2**20
"""Bytes up to which a file's content is compared; of a larger one the size must do."""

Digest = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One setting that is not what it was when the data were prepared."""

    key: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} was {self.then}, is {self.now}"


def provenance(recipe: RecipeSettings) -> dict[str, Any]:
    """What to keep in a report: the settings in force, and which of them were at their default.

    With these two, settings can be compared later from `qdl.toml` alone, which leaves defaults out.
    """
    values = recipe.model_dump()
    settings = {key: values[key] for key in DATA_KEYS if key in values}
    fields = type(recipe).model_fields
    defaults = [
        key for key in settings if settings[key] == fields[key].get_default(call_default_factory=True)
    ]
    return {"settings": settings, "defaults": defaults}


def differences(report: Mapping[str, Any], table: Mapping[str, Any]) -> list[Difference]:
    """How a recipe differs from the settings that a report keeps.

    Args:
        report: A saved report; one that keeps no settings, of an earlier version, differs in nothing.
        table: The recipe's table of `qdl.toml`, defaults left out, or all its values.
    """
    then = report.get("settings")
    defaults = report.get("defaults")
    if not isinstance(then, dict) or not isinstance(defaults, list):
        return []
    mapped = "mapping" in (then.get("fields"), table.get("fields"))
    found = []
    for key in DATA_KEYS:
        if key not in then or (key == "mapping" and not mapped):
            continue
        if key in table:
            if table[key] != then[key]:
                found.append(Difference(key, _shown(then[key]), _shown(table[key])))
        elif key not in defaults:
            found.append(Difference(key, _shown(then[key]), "the default"))
    return found


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def digest(path: Path) -> Digest:
    """Size and SHA-256 of a file."""
    import hashlib

    with open(path, "rb") as handle:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def is_same(path: Path, known: object) -> bool | None:
    """Whether a file is the one of which `known` is the digest; None when that is not known."""
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        return None
    status = path.stat()
    if status.st_size != known.get("bytes"):
        return False
    if status.st_size > HASHED_WHOLE:
        return True
    return bool(_content(path, status.st_size, status.st_mtime_ns) == known["sha256"])


@lru_cache(maxsize=32)
def _content(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, worked out once for as long as it stays as it is."""
    return str(digest(path)["sha256"])


EXAMPLES_KEPT = 20

STEPS: dict[str, str] = {
    "broken": "no JSON object, no text, or chat control tokens in it",
    "multi-turn": "a conversation of more than one turn",
    "empty": "instruction or answer is missing or blank",
    "no reasoning": "System 2 needs reasoning; there is none, or it never ends",
    "found wrong": "the answer was checked and found wrong",
    "no level": "no level to filter by, and the bounds are narrower than 0 to 9",
    "outside RV": "Reasoning Verbosity outside rv_min..rv_max",
    "outside CD": "Cognitive Difficulty outside cd_min..cd_max",
    "duplicate": "the same instruction and output came before",
    "over max_length": "prompt and answer are longer than max_length",
    "not sampled": "good rows beyond the number asked for",
}
SYSTEM2_STEPS = ("no reasoning", "no level", "outside RV", "outside CD")


def printable(text: str, limit: int = 80) -> str:
    """Text of a data set as one short line, with control characters shown and not obeyed."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


@dataclass(frozen=True)
class Example:
    """One row that was left out: its place in the source and what was wrong with it."""

    line: int
    row: int
    """Its number in a JSON array, where many rows may share a line; 0 elsewhere."""
    detail: str

    @property
    def place(self) -> str:
        return f"line {self.line}, row {self.row}" if self.row else f"line {self.line}"


@dataclass
class Tally:
    """Counts what happens to rows while they flow through."""

    units: int = 0
    """Rows read, or chains where a row holds several."""
    source_rows: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))
    examples: dict[str, list[Example]] = field(default_factory=lambda: {name: [] for name in STEPS})

    def drop(self, step: str, place: tuple[int, int], detail: str) -> None:
        self.counts[step] += 1
        if len(self.examples[step]) < EXAMPLES_KEPT:
            self.examples[step].append(Example(*place, printable(detail)))


@dataclass(frozen=True)
class Step:
    """One step of preparing: what it took and what it left."""

    name: str
    dropped: int
    remaining: int
    why: str
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of the kept rows: rendered prompt, answer and end token together."""

    minimum: int
    median: int
    p95: int
    maximum: int
    total: int
    histogram: list[tuple[int, int, int]]
    """Buckets as (from, up to but not including, rows)."""

    @classmethod
    def of(cls, lengths: Sequence[int], buckets: int = 12) -> TokenLengths:
        if not lengths:
            return cls(0, 0, 0, 0, 0, [])
        ordered = array("Q", sorted(lengths))
        last = len(ordered) - 1
        low, high = ordered[0], ordered[-1]
        width = max(1, -(-(high - low + 1) // buckets))
        counts = [0] * (-(-(high - low + 1) // width))
        for length in ordered:
            counts[(length - low) // width] += 1
        histogram = [(low + i * width, low + (i + 1) * width, count) for i, count in enumerate(counts)]
        return cls(low, ordered[last // 2], ordered[round(last * 0.95)], high, sum(ordered), histogram)


@dataclass(frozen=True)
class PrepareReport:
    """The whole story of one preparation, as it is saved beside the data."""

    system: str
    source: str
    fields: str
    streamed: bool
    source_rows: int
    wanted: int
    kept: int
    steps: list[Step]
    tokens: TokenLengths
    seconds: float
    files: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings that decided which rows these are; see `provenance`."""
    defaults: list[str] = field(default_factory=list)
    """Those of them that were at their default."""
    digest: dict[str, Any] = field(default_factory=dict)
    """Size and SHA-256 of what was written."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The report as plain text for a terminal: the steps that took rows, with their first examples."""
        noun = "chains" if self.system == "system2" else "rows"
        lines = [
            f"Source  {printable(self.source, 200)}  ({self.fields} fields, {self.source_rows:,} rows read)"
        ]
        lines.append(f"{'step':<16}{'dropped':>10}{'remaining':>11}  why")
        for step in self.steps:
            if not step.dropped and step.name != "read":
                continue
            lines.append(f"{step.name:<16}{step.dropped:>10,}{step.remaining:>11,}  {step.why}")
            lines.extend(f"{'':<16}{item.place}: {item.detail}" for item in step.examples[:2])
        t = self.tokens
        lines.append(f"Kept {self.kept:,} of {self.wanted:,} {noun} asked for, in {self.seconds:.1f} s.")
        lines.append(
            f"{_measured(self.settings)}: min {t.minimum:,}, median {t.median:,}, p95 {t.p95:,}, "
            f"max {t.maximum:,}."
        )
        return "\n".join(lines)


def _measured(settings: object) -> str:
    """What the lengths are of: where the teacher is yet to answer, rows are measured without an answer."""
    unanswered = isinstance(settings, Mapping) and settings.get("label") is True
    return "Tokens per row, before labelling (the prompt alone)" if unanswered else "Tokens per row"


def steps_of(tally: Tally, system: str) -> list[Step]:
    """The steps in the order in which rows meet them, each with what it left."""
    remaining = tally.units
    noun = "every chain of every row" if system == "system2" else "every row of the source"
    steps = [Step("read", 0, remaining, noun)]
    for name, why in STEPS.items():
        if system == "system1" and name in SYSTEM2_STEPS:
            continue
        remaining -= tally.counts[name]
        steps.append(Step(name, tally.counts[name], remaining, why, tally.examples[name]))
    return steps


def counts_in_words(tally: Tally) -> str:
    """Where the rows went, for the message of a preparation that kept none."""
    taken = ", ".join(f"{name}: {count:,}" for name, count in tally.counts.items() if count)
    return f"{tally.units:,} read; {taken or 'none dropped'}."


_BAR = 30
_SHOWN = ("minimum", "median", "p95", "maximum")


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """A saved report for a person: what each step took, token lengths, then the rows that were left out."""
    source = printable(str(report.get("source", "")), 200)
    lines = [f"Source {source}, {report.get('source_rows', 0):,} rows read as {report.get('fields', '?')}"]
    lines.append(f"{'step':16}{'dropped':>9}{'remaining':>11}")
    steps = report.get("steps", [])
    lines += [
        f"{step['name']:16}{step['dropped']:>9,}{step['remaining']:>11,}"
        for step in steps
        if step["dropped"] or step["name"] == "read"
    ]
    lines.append(f"Kept {report.get('kept', 0):,} of {report.get('wanted', 0):,} asked for.")
    tokens = report.get("tokens") or {}
    if tokens:
        figures = ", ".join(f"{key} {tokens[key]:,}" for key in _SHOWN if key in tokens)
        lines += ["", f"{_measured(report.get('settings'))}: {figures}"]
        lines += _histogram(tokens.get("histogram") or [])
    for step in steps:
        if step["dropped"]:
            lines += ["", f"{step['name']}, {step['dropped']:,}: {step.get('why', '')}", *_examples(step)]
    return lines


def _examples(step: Mapping[str, Any]) -> list[str]:
    examples = [Example(**example) for example in step.get("examples") or []]
    lines = [f"  {example.place}: {printable(example.detail, 200)}" for example in examples]
    more = step["dropped"] - len(examples)
    return [*lines, f"  and {more:,} more"] if examples and more > 0 else lines


def _histogram(buckets: Sequence[Sequence[int]]) -> list[str]:
    """One bar a bucket; a bucket that holds any row shows at least the thinnest bar."""
    most = max((count for _low, _high, count in buckets), default=0)
    lines = []
    for low, high, count in buckets:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        lines.append(f"{f'{low:,}-{high - 1:,}':>13} {bar:{_BAR}} {count:,}")
    return lines
