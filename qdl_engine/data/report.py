"""The report of a preparation: how many rows each step dropped, which ones, and how long the kept ones are.

It also records provenance: the settings and the content of the prepared data, so that the lab can tell later
whether they still match the recipe. Contents and settings are compared, never the times of files: a copied
lab has other times and the same data. Nothing heavy is imported, not even the settings models, because the
app reads reports at its first paint.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.core.words import one_line

if TYPE_CHECKING:
    from qdl_engine.data.json_rows import RowPlace
    from qdl_engine.settings import RecipeSettings


# Provenance --------------------------------------------------------------------------------------

DATA_KEYS = (
    "source", "split", "fields", "mapping", "rows", "seed", "max_length", "label",
    "rv_min", "rv_max", "cd_min", "cd_max", "require_verified",
)  # fmt: skip
"""Settings that decide which rows are prepared. Student and system prompt only measure them, and the trainer
measures again."""
HASHED_WHOLE = 64 * 2**20
"""Bytes up to which contents are compared; of a larger file only the size."""


@dataclass(frozen=True)
class SettingChange:
    """One setting that differs from the one the data were prepared with."""

    key: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} was {self.then}, is {self.now}"


def provenance(recipe: RecipeSettings) -> dict[str, Any]:
    """The settings to keep in a report, and which of them were at their default.

    With both, the settings can be compared later with `qdl.toml` alone, which leaves defaults out.
    """
    values = recipe.model_dump()
    settings = {key: values[key] for key in DATA_KEYS if key in values}
    fields = type(recipe).model_fields
    defaults = [
        key for key in settings if settings[key] == fields[key].get_default(call_default_factory=True)
    ]
    return {"settings": settings, "defaults": defaults}


def differences(report: Mapping[str, Any], table: Mapping[str, Any]) -> list[SettingChange]:
    """How a recipe differs from the settings that a report keeps.

    Args:
        report: A saved report; one without settings, from an earlier version, differs in nothing.
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
                found.append(SettingChange(key, _shown(then[key]), _shown(table[key])))
        elif key not in defaults:
            found.append(SettingChange(key, _shown(then[key]), "the default"))
    return found


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def digest(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    import hashlib

    with open(path, "rb") as handle:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def is_same(path: Path, known: object) -> bool | None:
    """Whether a file still has the digest `known`; None when `known` is no digest."""
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        return None
    status = path.stat()
    if status.st_size != known.get("bytes"):
        return False
    if status.st_size > HASHED_WHOLE:
        return True
    return bool(_sha256(path, status.st_size, status.st_mtime_ns) == known["sha256"])


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, computed once for each size and time of change."""
    return str(digest(path)["sha256"])


# Counting ----------------------------------------------------------------------------------------

EXAMPLES_KEPT = 20
_DETAIL = 80
"""Characters kept of an example's text."""

STEPS: dict[str, str] = {
    "broken": "not a JSON object, not text, or holds chat control tokens",
    "multi-turn": "a conversation of more than one turn",
    "empty": "instruction or answer is missing or blank",
    "no reasoning": "System 2 needs reasoning: the row has none, or it never ends",
    "found wrong": "a check found the answer wrong",
    "no level": "no level to filter by, and the bounds are narrower than 0 to 9",
    "outside RV": "Reasoning Verbosity outside rv_min..rv_max",
    "outside CD": "Cognitive Difficulty outside cd_min..cd_max",
    "duplicate": "the same instruction and output came before",
    "over max_length": "prompt and answer are longer than max_length",
    "not sampled": "good rows beyond the number wanted",
}
SYSTEM2_STEPS = ("no reasoning", "no level", "outside RV", "outside CD")


@dataclass(frozen=True)
class Example:
    """One dropped row: its place in the source and what is wrong with it."""

    line: int
    row: int
    detail: str


@dataclass
class Tally:
    """Counts what happens to rows while they flow through."""

    units: int = 0
    """Rows read, or chains where a row holds several."""
    source_rows: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))
    examples: dict[str, list[Example]] = field(default_factory=lambda: {name: [] for name in STEPS})

    def drop(self, step: str, place: RowPlace, detail: str) -> None:
        """Count one row that a step dropped, and keep the first few as examples."""
        self.counts[step] += 1
        if len(self.examples[step]) < EXAMPLES_KEPT:
            # Cut first: a row may have 40 million characters.
            self.examples[step].append(Example(*place, one_line(detail[: 4 * _DETAIL], _DETAIL)))

    def steps(self, system: str) -> list[PrepareStep]:
        """The steps in the order in which rows meet them, each with what it left."""
        remaining = self.units
        noun = "every chain of every row" if system == "system2" else "every row of the source"
        steps = [PrepareStep("read", 0, remaining, noun)]
        for name, why in STEPS.items():
            if system == "system1" and name in SYSTEM2_STEPS:
                continue
            remaining -= self.counts[name]
            steps.append(PrepareStep(name, self.counts[name], remaining, why, self.examples[name]))
        return steps

    def sentence(self) -> str:
        """Where the rows went, for the message of a preparation that kept none."""
        dropped = ", ".join(f"{name}: {count:,}" for name, count in self.counts.items() if count)
        return f"{self.units:,} read; {dropped or 'none dropped'}."


@dataclass(frozen=True)
class PrepareStep:
    """One step of preparing: what it dropped and what it left."""

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
        """The distribution of these lengths, in tokens."""
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
    steps: list[PrepareStep]
    tokens: TokenLengths
    seconds: float
    files: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings that decided which rows these are; see `provenance`."""
    defaults: list[str] = field(default_factory=list)
    """The ones among them that were at their default."""
    digest: dict[str, Any] = field(default_factory=dict)
    """Size and SHA-256 of the written file."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The report in brief for a terminal: the steps that dropped rows, with their first examples."""
        return "\n".join(report_lines(self.to_dict(), brief=True))


# Showing a report --------------------------------------------------------------------------------

_BAR = 30
_FIGURES = ("minimum", "median", "p95", "maximum")


def report_lines(report: Mapping[str, Any], *, brief: bool = False) -> list[str]:
    """A saved report for a person: what each step dropped, token lengths, then the dropped rows.

    Args:
        report: As `PrepareReport.to_dict` gives it.
        brief: Two examples under each step, and no histogram.
    """
    source = one_line(str(report.get("source", "")), 200)
    lines = [f"Source {source}, {report.get('source_rows', 0):,} rows read as {report.get('fields', '?')}"]
    lines.append(f"{'step':16}{'dropped':>9}{'remaining':>11}")
    steps = [step for step in report.get("steps", []) if step["dropped"] or step["name"] == "read"]
    for step in steps:
        figures = f"{step['name']:16}{step['dropped']:>9,}{step['remaining']:>11,}"
        lines.append(f"{figures}  {step['why']}" if brief else figures)
        lines += [f"{'':14}{line}" for line in _examples(step)[:2]] if brief else []
    noun = "chains" if report.get("system") == "system2" else "rows"
    seconds = f" in {report['seconds']:.1f} s" if brief else ""
    lines.append(f"Kept {report.get('kept', 0):,} of {report.get('wanted', 0):,} {noun} wanted{seconds}.")
    tokens = report.get("tokens") or {}
    if tokens:
        named = ", ".join(f"{key} {tokens[key]:,}" for key in _FIGURES if key in tokens)
        lines += [] if brief else [""]
        lines.append(f"{_measured(report.get('settings'))}: {named}")
    if brief:
        return lines
    lines += _histogram(tokens.get("histogram") or [])
    for step in steps:
        if not step["dropped"]:
            continue
        lines += ["", f"{step['name']}, {step['dropped']:,}: {step.get('why', '')}", *_examples(step)]
        more = step["dropped"] - len(step.get("examples") or [])
        lines += [f"  and {more:,} more"] if step.get("examples") and more > 0 else []
    return lines


def _measured(settings: object) -> str:
    """What the lengths measure: before the teacher answers, a row is its prompt alone."""
    unanswered = isinstance(settings, Mapping) and settings.get("label") is True
    return "Tokens per row, before labelling (the prompt alone)" if unanswered else "Tokens per row"


def _examples(step: Mapping[str, Any]) -> list[str]:
    from qdl_engine.data.json_rows import RowPlace

    return [
        f"  {RowPlace(example['line'], example['row'])}: {one_line(str(example['detail']), 200)}"
        for example in step.get("examples") or []
    ]


def _histogram(buckets: Sequence[Sequence[int]]) -> list[str]:
    """One bar for each bucket; a bucket with any row shows at least the thinnest bar."""
    most = max((count for _low, _high, count in buckets), default=0)
    lines = []
    for low, high, count in buckets:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        lines.append(f"{f'{low:,}-{high - 1:,}':>13} {bar:{_BAR}} {count:,}")
    return lines
