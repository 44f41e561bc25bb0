"""Schemas: how the columns of one source row become instruction, reasoning and answer.

A schema is a function from a source row to its chains. One row may hold several chains (OmniThought). What
cannot be used comes back as a `Drop` with its reason, so that the report can count and name it.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.prompts import THINK_CLOSE, THINK_OPEN, split_completion
from qdl_engine.core.words import is_unicode, one_line
from qdl_engine.settings import MAPPING_KEYS

RawRow = Mapping[str, Any]
"""A source row with columns, before a schema has read it."""


# Columns by name or dotted path ------------------------------------------------------------------

_DEEPEST = 3
_INDEX = re.compile(r"[0-9]{1,9}")


def at_path(row: Any, path: str) -> Any:
    """The value at a dotted path (`reasoning.0.thought`); None when the path leads nowhere."""
    return _walk(row, path)[1]


def has_path(row: Any, path: str) -> bool:
    """Whether a path may lead somewhere; below a null or past the end of a list, one row cannot tell."""
    return _walk(row, path)[0]


def _walk(row: Any, path: str) -> tuple[bool, Any]:
    """Whether a path may lead somewhere, and the value there."""
    if row is None or row == []:
        return True, None
    if isinstance(row, Mapping):
        if path in row:
            return True, row[path]
        # A column's name may hold dots, at any depth: a way to a value wins over one that may have a value.
        ends = [end for end, letter in enumerate(path) if letter == "." and path[:end] in row]
        ways = (_walk(row[path[:end]], path[end + 1 :]) for end in reversed(ends))
        return max(ways, key=lambda way: (way[0], way[1] is not None), default=(False, None))
    name, dot, rest = path.partition(".")
    if not isinstance(row, Sequence) or isinstance(row, str | bytes) or not _INDEX.fullmatch(name):
        return False, None
    if int(name) >= len(row):
        return True, None
    item = row[int(name)]
    return _walk(item, rest) if dot else (True, item)


def columns_of(value: Any, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Every column with its value, and the paths into nested ones; of a list, only the first element."""
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [("0", value[0])]
    for name, item in items:
        yield name, item
        if depth < _DEEPEST:
            yield from ((f"{name}.{path}", inner) for path, inner in columns_of(item, depth + 1))


# Which columns each schema reads -----------------------------------------------------------------

LEVEL_COLUMNS = {
    "rv": ("Reasoning_Verbosity", "reasoning_verbosity", "rv"),
    "cd": ("Cognitive_Difficulty", "cognitive_difficulty", "cd"),
    "verified": ("thought_correctness_verify", "logical_correctness", "verified"),
}
_RECORD = {"thought": ("thought",), "answer": ("solution", "full_response"), **LEVEL_COLUMNS}
_TURNS = ("messages", "conversations")

Columns = Mapping[str, Sequence[str]]
"""By mapping key, the columns that may hold it; the first one with a value counts."""

SCHEMA_COLUMNS: dict[str, Columns] = {
    "distilqwen": {"instruction": ("instruction",), "output": ("output",), **LEVEL_COLUMNS},
    "alpaca": {"instruction": ("instruction",), "input": ("input",), "output": ("output",), **LEVEL_COLUMNS},
    "qa": {"instruction": ("question",), "output": ("answer",), **LEVEL_COLUMNS},
    "messages": {"instruction": _TURNS, "output": _TURNS, **LEVEL_COLUMNS},
    "omnithought": {
        "instruction": ("question", "instruction"),
        **{key: tuple(f"reasoning.0.{name}" for name in names) for key, names in _RECORD.items()},
    },
}


def schema_columns(schema: str, columns: Collection[str]) -> dict[str, str]:
    """Which of a source's columns a named schema reads, by mapping key; of a list, its first element's."""
    found = {
        key: next((name for name in names if name in columns), "")
        for key, names in SCHEMA_COLUMNS.get(schema, {}).items()
    }
    return {key: name for key, name in found.items() if name}


# Chains ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chain:
    """One instruction with one answer, as the source gives them."""

    instruction: str
    answer: str
    thought: str = ""
    rv: float | None = None
    cd: float | None = None
    verified: bool | None = None
    """Whether a check found the answer right; None when nobody checked."""
    cut: bool = False
    """The reasoning opens and never closes."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A row or chain that is left out: the step of the report that counts it, and what is wrong."""

    step: str
    detail: str


Schema = Callable[[RawRow], list[Chain | Drop]]


class _NotTextError(ValueError):
    """A column holds no text; the message names it."""


def as_level(value: Any) -> float | None:
    """An RV or CD level as a number from 0 to 9; None when the value is no such number.

    OmniThought nests it (`{"level": 4, "judge": ...}`), other exports write 4, 4.0 or "4".
    """
    if isinstance(value, Mapping):
        return as_level(value.get("level"))
    if isinstance(value, bool) or value is None:
        return None
    try:
        level = float(value)
    except (TypeError, ValueError):
        return None
    return level if 0 <= level <= 9 else None


def as_verdict(value: Any) -> bool | None:
    """A correctness mark as a truth value; None only when nobody checked.

    An unreadable mark counts as a failed check: it must never let a wrong chain pass.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    return str(value).strip().lower() in {"1", "1.0", "true", "yes", "correct"}


def _first(row: RawRow, paths: Iterable[str]) -> tuple[str, Any]:
    """The first of these columns that has a value, by path, and the value."""
    for path in paths:
        # Walked only where there are dots: walking every name made mapping 200,000 rows six times slower.
        value = row[path] if path in row else (at_path(row, path) if "." in path else None)
        if value is not None:
            return path, value
    return "", None


def _text(row: RawRow, *paths: str) -> str:
    """The first of these columns that has a value, as text; empty when none has one."""
    path, value = _first(row, paths)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            # Python's JSON reads NaN, Infinity and 1e400 as numbers.
            raise _NotTextError(f"{path} is {value}, not text")
        return str(value)
    raise _NotTextError(f"{path} is {type(value).__name__}, not text")


_TAGS = re.compile(r"<\|(?:begin|end)_of_(?:thought|solution)\|>")
# EasyDistill's prompts ask a teacher for these tags. Without the last one the answer ends with the text.
_SECTIONS = re.compile(
    r"<\|begin_of_thought\|>(?P<thought>.*?)<\|end_of_thought\|>\s*"
    r"<\|begin_of_solution\|>(?P<answer>.*?)(?:<\|end_of_solution\|>|\Z)"
    r"|<thinking>(?P<thinking>.*?)</thinking>\s*<answer>(?P<final>.*?)(?:</answer>|\Z)",
    re.DOTALL,
)
_FINAL_LINE = re.compile(r"\A(?P<thought>.+)\n####[ \t]*(?P<answer>[^\n]+?)\s*\Z", re.DOTALL)


def tagged_sections(text: str) -> tuple[str, str]:
    """Thought and answer in the tags that EasyDistill's prompts ask for; both empty without them."""
    found = _SECTIONS.search(text)
    if found is None:
        return "", ""
    thought, answer = found["thought"] or found["thinking"], found["answer"] or found["final"]
    return (thought or "").strip(), (answer or "").strip()


def merge_input(instruction: str, extra: str) -> str:
    """Alpaca's `input` as part of the instruction, because EasyDistill ignores that column."""
    return f"{instruction}\n\n{extra}" if extra.strip() and instruction.strip() else instruction


def _chain(
    row: RawRow,
    instruction: str,
    output: str,
    thought: str = "",
    *,
    levels: Columns = LEVEL_COLUMNS,
    final_line: bool = False,
) -> Chain:
    """A chain from flat columns; reasoning inside `output` moves to the thought."""
    cut = False
    if not thought:
        if THINK_OPEN in output or THINK_CLOSE in output:
            parts = split_completion(output)
            thought, output, cut = parts.reasoning, parts.answer, not parts.reasoning_closed
        elif "<|begin_of_thought|>" in output or "<thinking>" in output:
            thought, answer = tagged_sections(output)
            output = answer if thought else output
            cut = not thought and not any(tag in output for tag in ("<|end_of_thought|>", "</thinking>"))
        elif final_line and (found := _FINAL_LINE.match(output)):
            thought, output = found["thought"].strip(), found["answer"]
    thought = _TAGS.sub("", thought).strip()
    return Chain(
        instruction=instruction,
        answer=_TAGS.sub("", output),
        thought=thought.removeprefix(THINK_OPEN).removesuffix(THINK_CLOSE).strip(),
        rv=as_level(_first(row, levels.get("rv", ()))[1]),
        cd=as_level(_first(row, levels.get("cd", ()))[1]),
        verified=as_verdict(_first(row, levels.get("verified", ()))[1]),
        cut=cut,
    )


# The schemas -------------------------------------------------------------------------------------


def _flat(columns: Columns, *, final_line: bool = False) -> Schema:
    """A schema that reads one chain from a row's own columns.

    Args:
        columns: Where each mapping key may stand.
        final_line: Whether a last line `#### N` (GSM8K) is the answer and the text before it reasoning.
    """

    def paths(*keys: str) -> tuple[str, ...]:
        return tuple(path for key in keys for path in columns.get(key, ()))

    instructions, inputs = paths("instruction"), paths("input")
    answers, thoughts = paths("answer", "output"), paths("thought")

    def schema(row: RawRow) -> list[Chain | Drop]:
        instruction = merge_input(_text(row, *instructions), _text(row, *inputs))
        answer, thought = _text(row, *answers), _text(row, *thoughts)
        return [_chain(row, instruction, answer, thought, levels=columns, final_line=final_line)]

    return schema


def _omnithought(row: RawRow) -> list[Chain | Drop]:
    """`question` and nested `reasoning[]`: each record is a chain, filtered on its own."""
    records = row.get("reasoning")
    if not isinstance(records, Sequence) or isinstance(records, str):
        return [Drop("broken", "reasoning is not a list of records")]
    if not records:
        return [Drop("empty", "reasoning holds no chain")]
    question = _text(row, *SCHEMA_COLUMNS["omnithought"]["instruction"])
    return [_omnithought_chain(question, record, number) for number, record in enumerate(records)]


def _omnithought_chain(question: str, record: Any, number: int) -> Chain | Drop:
    if not isinstance(record, Mapping):
        return Drop("broken", f"reasoning[{number}] is not a record")
    solution_column, whole_column = _RECORD["answer"]
    try:
        thought, solution = _text(record, *_RECORD["thought"]), _text(record, solution_column)
        if not thought and not solution:
            solution = _text(record, whole_column)
    except _NotTextError as problem:
        return Drop("broken", f"reasoning[{number}].{problem}")
    return _chain(record, question, solution, thought)


_ROLES = {"human": "user", "gpt": "assistant", "prompter": "user"}


def _messages(row: RawRow) -> list[Chain | Drop]:
    """Chat `messages` (or `conversations`) of one user and one assistant turn; longer ones are dropped."""
    turns = _first(row, _TURNS)[1]
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        return [Drop("broken", "messages is not a list of turns")]
    if not all(isinstance(turn, Mapping) for turn in turns):
        return [Drop("broken", "messages holds something other than turns")]
    named = [(_role(turn), turn) for turn in turns if _role(turn) != "system"]
    roles = [role for role, _ in named]
    if roles not in (["user", "assistant"], ["user"]):
        if not roles:
            return [Drop("empty", "messages holds no turn")]
        return [Drop("multi-turn", " ".join(roles[:6]))]
    reply = named[1][1] if len(named) == 2 else {}
    thought = _text(reply, "reasoning_content", "reasoning")
    return [_chain(row, _content(named[0][1]), _content(reply), thought)]


def _role(turn: RawRow) -> str:
    role = str(turn.get("role", turn.get("from", "")))
    return _ROLES.get(role, role)


def _content(turn: RawRow) -> str:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, Sequence) and not isinstance(content, str):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise _NotTextError("content holds something other than text")
        return "".join(part["text"] for part in content)
    return _text({"content": content}, "content")


def mapped(mapping: Mapping[str, str]) -> Schema:
    """A schema from the user's own mapping of `MAPPING_KEYS` to columns or dotted paths.

    Raises:
        SettingsError: for an unknown key, or a mapping without an instruction.
    """
    for key in mapping:
        if key not in MAPPING_KEYS:
            raise SettingsError(f"Unknown key in mapping: {key!r}", _accepted(key, MAPPING_KEYS))
    if not mapping.get("instruction"):
        raise SettingsError(
            "The mapping names no instruction column", 'Add one: mapping = {instruction = "..."}'
        )
    return _flat({key: (path,) for key, path in mapping.items() if path}, final_line=True)


SCHEMAS: dict[str, Schema] = {
    "distilqwen": _flat(SCHEMA_COLUMNS["distilqwen"]),
    "omnithought": _omnithought,
    "alpaca": _flat(SCHEMA_COLUMNS["alpaca"]),
    "qa": _flat(SCHEMA_COLUMNS["qa"], final_line=True),
    "messages": _messages,
}


def chains_of(row: Any, schema: Schema) -> list[Chain | Drop]:
    """The chains of one source row; a row that cannot be used comes back as a `Drop`."""
    if not isinstance(row, Mapping):
        return [Drop("broken", f"a {type(row).__name__}, not an object with columns")]
    try:
        return [_encodable(chain) for chain in schema(row)]
    except _NotTextError as problem:
        return [Drop("broken", str(problem))]


def _encodable(chain: Chain | Drop) -> Chain | Drop:
    """The chain, unless no file could hold it: JSON can spell half a surrogate pair, UTF-8 cannot."""
    if isinstance(chain, Drop) or is_unicode(chain.instruction + chain.thought + chain.answer):
        return chain
    return Drop("broken", "not valid Unicode: it holds half a surrogate pair")


# Choosing a schema -------------------------------------------------------------------------------


ROWS_TO_DETECT = 20
"""Rows with columns that are read to recognise a source's schema."""


def choose_schema(
    fields: str, mapping: Mapping[str, str], first_rows: Sequence[RawRow], *, source: str
) -> tuple[str, Schema]:
    """The schema that the settings ask for, with its name.

    Under `auto` a mapping that the user wrote wins over recognition: it was written for a reason.

    Raises:
        SettingsError: when `fields` names no schema.
        DataError: when `auto` recognises none.
    """
    if fields == "mapping" or (fields == "auto" and mapping):
        return "mapping", mapped(mapping)
    if fields == "auto":
        fields = detect_schema(first_rows, source=source)
    if fields not in SCHEMAS:
        hint = _accepted(fields, ["auto", *SCHEMAS, "mapping"])
        raise SettingsError(f"Unknown schema: fields = {fields!r}", hint)
    return fields, SCHEMAS[fields]


def _accepted(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, 1)
    return f"Accepted: {', '.join(words)}." + (f" Did you mean {near[0]!r}?" if near else "")


def detect_schema(rows: Sequence[RawRow], *, source: str) -> str:
    """The name of the schema that fits the columns of the first rows.

    Raises:
        DataError: naming the columns, when no schema fits.
    """
    columns = _columns_with_values(rows)
    fitting = recognise(columns)
    if fitting:
        return fitting
    found = ", ".join(sorted(columns)[:12]) or "none"
    hint = 'Set fields = "mapping" and name your columns: mapping = {instruction = "...", output = "..."}'
    wrapped = _lists_of_objects(rows[0]) if len(rows) == 1 else []
    if wrapped:
        hold = "holds a list of objects" if len(wrapped) == 1 else "hold lists of objects"
        hint = f"{' and '.join(map(repr, wrapped))} {hold}. {unwrapping(wrapped, source)}\n{hint}"
    raise DataError(f"No named schema fits the columns of {source}: {found}", hint)


def recognise(columns: Collection[str]) -> str:
    """The named schema that these columns belong to; empty when there is none."""
    if "reasoning" in columns and ("question" in columns or "instruction" in columns):
        return "omnithought"
    if any(name in columns for name in _TURNS):
        return "messages"
    if "instruction" in columns:
        return "alpaca" if "input" in columns else "distilqwen"
    return "qa" if "question" in columns else ""


def _columns_with_values(rows: Iterable[RawRow]) -> set[str]:
    return {name for row in rows for name, value in row.items() if value is not None}


def _lists_of_objects(row: RawRow) -> list[str]:
    """The columns that hold a list of objects only: the list may be the rows."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
    ]


def unwrapping(names: Sequence[str], path: str | Path) -> str:
    """How to extract rows that an object wraps, under one of `names`."""
    name = names[0]
    within = f".{name}" if name.isascii() and name.isidentifier() else f".[{json.dumps(name)}]"
    which = "that" if len(names) == 1 else "one of them"
    return f"If {which} holds the rows, unwrap it: {jq(shlex.quote(within), path)} > rows.json"


def jq(query: str, path: str | Path) -> str:
    """A command line that reads a file with jq, which does not decompress."""
    place = shlex.quote(str(path))
    unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(Path(path).suffix.lower())
    return f"jq {query} <({unpack} {place})" if unpack else f"jq {query} {place}"


# Checking a mapping ------------------------------------------------------------------------------

_COLUMNS_LISTED = 24
_WIDEST = 60
"""Characters of a name: a file can have a text where a name belongs."""
_BRACKETS = re.compile(r"\.?\[(\d*)\]")


def check_mapping(
    mapping: Mapping[str, str], first_rows: Sequence[RawRow], *, source: str, answered: bool = True
) -> None:
    """Refuse a mapping to columns that none of the first rows has: every row would come out empty.

    Args:
        mapping: `MAPPING_KEYS` to columns or dotted paths.
        first_rows: Rows with columns; without any, nothing is refused.
        source: What the message calls the source.
        answered: Whether the answers are read; otherwise only the question's columns must exist.

    Raises:
        DataError: naming the missing columns, the nearest ones, and all that exist.
    """
    read = {key: path for key, path in mapping.items() if answered or key in ("instruction", "input")}
    absent = {
        key: path
        for key, path in read.items()
        if path and first_rows and not any(has_path(row, path) for row in first_rows)
    }
    if not absent:
        return
    known = list(dict.fromkeys(one_line(name, _WIDEST) for row in first_rows for name, _ in columns_of(row)))
    near = list(dict.fromkeys(filter(None, (_nearest(path, known) for path in absent.values()))))
    sentences = [f"Did you mean {' and '.join(near)}?"] if near else []
    more = ", …" if len(known) > _COLUMNS_LISTED else "."
    sentences.append(f"Its columns: {', '.join(known[:_COLUMNS_LISTED]) or 'none'}{more}")
    fitting = recognise(_columns_with_values(first_rows))
    if fitting:
        sentences.append(f'A named schema fits them too: fields = "{fitting}", without a mapping.')
    named = ", ".join(f"{one_line(path, _WIDEST)!r} ({key})" for key, path in absent.items())
    raise DataError(
        f"The mapping names columns that the first {len(first_rows):,} rows of {source} lack: {named}",
        " ".join(sentences),
    )


def _nearest(path: str, known: Iterable[str]) -> str:
    """The column most like `path`; `reasoning[].thought`, as others write it, is the first element's."""
    spelt = {name.casefold(): name for name in known}
    wanted = _BRACKETS.sub(lambda found: f".{found[1] or 0}", path.strip()).casefold()
    found = difflib.get_close_matches(wanted, spelt, 1)
    if not found:
        return ""
    near = spelt[found[0]]
    # An accent may be a character of its own: only their spelling tells two names apart that look the same.
    alike = near != path and unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path)
    return ascii(near) if alike else repr(near)
