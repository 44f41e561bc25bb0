"""Columns of source rows, by name or dotted path.

One chain of a source row, and the marks that a filter reads on it.

Schemas: how the columns of one source row become instruction, reasoning and answer.

A schema is a function from a source row to its chains. One row may hold several chains (OmniThought), and
what cannot be used comes back as a `Drop` that says why, so that the report can count and name it.

A mapping held against the columns that are there.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.prompts import THINK_CLOSE, THINK_OPEN, split_completion
from qdl_engine.core.words import is_unicode, one_line
from qdl_engine.settings import MAPPING_KEYS

_DEEPEST = 3
_INDEX = re.compile(r"[0-9]{1,9}")


def at_path(row: Any, path: str) -> Any:
    """The value at a dotted path (`reasoning.0.thought`); None when the path leads nowhere."""
    return _walk(row, path)[1]


def has_path(row: Any, path: str) -> bool:
    """Whether a path may lead somewhere: what lies below a null or an empty list, this row cannot tell."""
    return _walk(row, path)[0]


def _walk(row: Any, path: str) -> tuple[bool, Any]:
    """Whether a path may lead somewhere, and what is there."""
    if row is None or row == []:
        return True, None
    if isinstance(row, Mapping):
        if path in row:
            return True, row[path]
        # A name may hold dots itself, at any depth: what leads to a value goes before what may lead to one.
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
    """Every column, and the paths into a nested one; of a list only the first element."""
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        items = [("0", value[0])]
    for name, item in items:
        yield name, item
        if depth < _DEEPEST:
            yield from ((f"{name}.{path}", inner) for path, inner in columns_of(item, depth + 1))


def lists_of_objects(row: Mapping[str, Any]) -> list[str]:
    """The columns that hold a list of nothing but objects, which may be rows themselves."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
    ]


def unwrapping(names: Sequence[str], path: str | Path) -> str:
    """How to get at the rows that are wrapped in an object, under one of `names`."""
    name = names[0]
    within = f".{name}" if name.isascii() and name.isidentifier() else f".[{json.dumps(name)}]"
    which = "that" if len(names) == 1 else "one of them"
    return f"If {which} holds the rows, unwrap it: {jq(shlex.quote(within), path)} > rows.json"


def jq(what: str, path: str | Path) -> str:
    """A command line that reads a file by jq, which does not unpack."""
    place = shlex.quote(str(path))
    unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(Path(path).suffix.lower())
    return f"jq {what} <({unpack} {place})" if unpack else f"jq {what} {place}"


@dataclass(frozen=True, slots=True)
class Chain:
    """One instruction with one answer, as the source gives them."""

    instruction: str
    answer: str
    thought: str = ""
    rv: float | None = None
    cd: float | None = None
    verified: bool | None = None
    """Whether the answer was checked and found right; None when nobody checked."""
    cut: bool = False
    """The reasoning was opened and never closed."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A row or chain that is left out: the step of the report that counts it, and what was wrong."""

    step: str
    detail: str


def as_level(value: Any) -> float | None:
    """An RV or CD level as a number; None when there is none that can be read.

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

    A mark that cannot be read counts as a failed check: it must never let a wrong chain pass.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    return str(value).strip().lower() in {"1", "1.0", "true", "yes", "correct"}


Row = Mapping[str, Any]


Schema = Callable[[Row], list[Chain | Drop]]

_RV_COLUMNS = ("Reasoning_Verbosity", "reasoning_verbosity", "rv")
_CD_COLUMNS = ("Cognitive_Difficulty", "cognitive_difficulty", "cd")
_VERIFIED_COLUMNS = ("thought_correctness_verify", "logical_correctness", "verified")
_TAGS = re.compile(r"<\|(?:begin|end)_of_(?:thought|solution)\|>")
# What EasyDistill's prompts ask a teacher for. Without the last tag the answer ends with the text.
_SECTIONS = re.compile(
    r"<\|begin_of_thought\|>(?P<thought>.*?)<\|end_of_thought\|>\s*"
    r"<\|begin_of_solution\|>(?P<answer>.*?)(?:<\|end_of_solution\|>|\Z)"
    r"|<thinking>(?P<thinking>.*?)</thinking>\s*<answer>(?P<final>.*?)(?:</answer>|\Z)",
    re.DOTALL,
)
_FINAL_LINE = re.compile(r"\A(?P<thought>.+)\n####[ \t]*(?P<answer>[^\n]+?)\s*\Z", re.DOTALL)


class _Broken(ValueError):
    """A column that holds no text; the message names it."""


def _text(row: Row, *names: str) -> str:
    """The first of these columns that is there, as text; empty when none is."""
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                # Python's JSON reads NaN, Infinity and 1e400 as numbers.
                raise _Broken(f"{name} is {value}, not text")
            return str(value)
        raise _Broken(f"{name} is {type(value).__name__}, not text")
    return ""


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def tagged_sections(text: str) -> tuple[str, str]:
    """Thought and answer in the tags that EasyDistill's prompts ask for; both empty without them."""
    found = _SECTIONS.search(text)
    if found is None:
        return "", ""
    thought, answer = found["thought"] or found["thinking"], found["answer"] or found["final"]
    return (thought or "").strip(), (answer or "").strip()


def _chain(row: Row, instruction: str, output: str, thought: str = "", *, final_line: bool = False) -> Chain:
    """A chain from flat columns; reasoning inside `output` is taken out of it."""
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
    return Chain(
        instruction=instruction,
        answer=_TAGS.sub("", output),
        thought=_without_tags(thought),
        rv=as_level(_first(row, _RV_COLUMNS)),
        cd=as_level(_first(row, _CD_COLUMNS)),
        verified=as_verdict(_first(row, _VERIFIED_COLUMNS)),
        cut=cut,
    )


def _without_tags(thought: str) -> str:
    thought = _TAGS.sub("", thought).strip()
    return thought.removeprefix(THINK_OPEN).removesuffix(THINK_CLOSE).strip()


def distilqwen(row: Row) -> list[Chain | Drop]:
    """`instruction`, `output`."""
    return [_chain(row, _text(row, "instruction"), _text(row, "output"))]


def alpaca(row: Row) -> list[Chain | Drop]:
    """`instruction`, `input`, `output`; EasyDistill ignores `input`, so it is merged into the instruction."""
    instruction = merge_input(_text(row, "instruction"), _text(row, "input"))
    return [_chain(row, instruction, _text(row, "output"))]


def merge_input(instruction: str, extra: str) -> str:
    return f"{instruction}\n\n{extra}" if extra.strip() and instruction.strip() else instruction


def question_answer(row: Row) -> list[Chain | Drop]:
    """`question`, `answer`; a last line `#### N` (GSM8K) is the answer, the text before it reasoning."""
    return [_chain(row, _text(row, "question"), _text(row, "answer"), final_line=True)]


def omnithought(row: Row) -> list[Chain | Drop]:
    """`question` and nested `reasoning[]`: each record is a chain of its own, filtered on its own."""
    records = row.get("reasoning")
    if not isinstance(records, Sequence) or isinstance(records, str):
        return [Drop("broken", "reasoning is no list of records")]
    if not records:
        return [Drop("empty", "reasoning holds no chain")]
    question = _text(row, "question", "instruction")
    return [_omnithought_chain(question, record, number) for number, record in enumerate(records)]


def _omnithought_chain(question: str, record: Any, number: int) -> Chain | Drop:
    if not isinstance(record, Mapping):
        return Drop("broken", f"reasoning[{number}] is no record")
    try:
        thought, solution = _text(record, "thought"), _text(record, "solution")
        if not thought and not solution:
            solution = _text(record, "full_response")
    except _Broken as broken:
        return Drop("broken", f"reasoning[{number}].{broken}")
    return _chain(record, question, solution, thought)


_ROLES = {"human": "user", "gpt": "assistant", "prompter": "user"}


def messages(row: Row) -> list[Chain | Drop]:
    """Chat `messages` (or `conversations`): one user and one assistant turn; longer talks are skipped."""
    turns = _first(row, ("messages", "conversations"))
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        return [Drop("broken", "messages is no list of turns")]
    if not all(isinstance(turn, Mapping) for turn in turns):
        return [Drop("broken", "messages holds something that is no turn")]
    named = [(_role(turn), turn) for turn in turns if _role(turn) != "system"]
    roles = [role for role, _ in named]
    if roles not in (["user", "assistant"], ["user"]):
        if not roles:
            return [Drop("empty", "messages holds no turn")]
        return [Drop("multi-turn", " ".join(roles[:6]))]
    reply = named[1][1] if len(named) == 2 else {}
    thought = _text(reply, "reasoning_content", "reasoning")
    return [_chain(row, _content(named[0][1]), _content(reply), thought)]


def _role(turn: Row) -> str:
    role = str(turn.get("role", turn.get("from", "")))
    return _ROLES.get(role, role)


def _content(turn: Row) -> str:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, Sequence) and not isinstance(content, str):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise _Broken("content holds something that is no text")
        return "".join(part["text"] for part in content)
    return _text({"content": content}, "content")


def mapped(mapping: Mapping[str, str]) -> Schema:
    """A schema from the user's own mapping of `MAPPING_KEYS` to columns or dotted paths.

    Raises:
        SettingsError: for a key that is none of these, or a mapping without an instruction.
    """
    for key in mapping:
        if key not in MAPPING_KEYS:
            near = difflib.get_close_matches(key, MAPPING_KEYS, 1)
            raise SettingsError(
                f"Unknown key in mapping: {key!r}",
                f"Accepted: {', '.join(MAPPING_KEYS)}." + (f" Did you mean {near[0]!r}?" if near else ""),
            )
    if not mapping.get("instruction"):
        raise SettingsError(
            "The mapping names no instruction column", 'Add one: mapping = {instruction = "..."}'
        )

    def schema(row: Row) -> list[Chain | Drop]:
        flat = {key: at_path(row, path) for key, path in mapping.items() if path}
        instruction = merge_input(_text(flat, "instruction"), _text(flat, "input"))
        return [
            _chain(
                flat, instruction, _text(flat, "answer", "output"), _text(flat, "thought"), final_line=True
            )
        ]

    return schema


SCHEMAS: dict[str, Schema] = {
    "distilqwen": distilqwen,
    "omnithought": omnithought,
    "alpaca": alpaca,
    "qa": question_answer,
    "messages": messages,
}


def detect_schema(rows: Sequence[Row], *, source: str) -> str:
    """The name of the schema that the columns of the first rows belong to.

    Raises:
        DataError: naming the columns found, when no schema knows them.
    """
    columns = {name for row in rows for name, value in row.items() if value is not None}
    if "reasoning" in columns and columns & {"question", "instruction"}:
        return "omnithought"
    if columns & {"messages", "conversations"}:
        return "messages"
    if "instruction" in columns:
        return "alpaca" if "input" in columns else "distilqwen"
    if "question" in columns:
        return "qa"
    found = ", ".join(sorted(columns)[:12]) or "none"
    hint = 'Set fields = "mapping" and name your columns: mapping = {instruction = "...", output = "..."}'
    wrapped = lists_of_objects(rows[0]) if len(rows) == 1 else []
    if wrapped:
        hold = "holds a list of objects" if len(wrapped) == 1 else "hold lists of objects"
        hint = f"{' and '.join(map(repr, wrapped))} {hold}. {unwrapping(wrapped, source)}\n{hint}"
    raise DataError(f"No named schema fits the columns of {source}: {found}", hint)


def choose_schema(
    fields: str, mapping: Mapping[str, str], first_rows: Sequence[Row], *, source: str
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
        names = ["auto", *SCHEMAS, "mapping"]
        near = difflib.get_close_matches(fields, names, 1)
        raise SettingsError(
            f"Unknown schema: fields = {fields!r}",
            f"Accepted: {', '.join(names)}." + (f" Did you mean {near[0]!r}?" if near else ""),
        )
    return fields, SCHEMAS[fields]


def chains_of(row: Any, schema: Schema) -> list[Chain | Drop]:
    """The chains of one source row; anything that is no usable row comes back as a `Drop`."""
    if not isinstance(row, Mapping):
        return [Drop("broken", f"a {type(row).__name__}, not an object with columns")]
    try:
        return [_writable(chain) for chain in schema(row)]
    except _Broken as broken:
        return [Drop("broken", str(broken))]


def _writable(chain: Chain | Drop) -> Chain | Drop:
    """The chain, unless no file could hold it: JSON can spell half a surrogate pair, UTF-8 cannot."""
    if isinstance(chain, Drop) or is_unicode(chain.instruction + chain.thought + chain.answer):
        return chain
    return Drop("broken", "not valid Unicode: it holds half a surrogate pair")


_SHOWN = 24
_WIDEST = 60
"""Characters of a name: a file can have a text where a name belongs."""
_BRACKETS = re.compile(r"\.?\[(\d*)\]")


def check_mapping(
    mapping: Mapping[str, str],
    first_rows: Sequence[Mapping[str, Any]],
    *,
    source: str,
    answered: bool = True,
) -> None:
    """Refuse a mapping to columns that none of the first rows has: all rows would come out empty.

    Args:
        mapping: Of `MAPPING_KEYS` to columns or dotted paths.
        first_rows: Those that have columns; without any, nothing is refused.
        source: What the message calls the source.
        answered: Whether the answers are read; without, only what makes the question must be there.

    Raises:
        DataError: naming the columns that are not there, the nearest ones, and all that are.
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
    more = ", …" if len(known) > _SHOWN else "."
    sentences.append(f"Its columns: {', '.join(known[:_SHOWN]) or 'none'}{more}")
    fitting = _fitting(first_rows)
    if fitting:
        sentences.append(f'A named schema fits them too: fields = "{fitting}", without a mapping.')
    named = ", ".join(f"{one_line(path, _WIDEST)!r} ({key})" for key, path in absent.items())
    raise DataError(
        f"The mapping names what is not in the first {len(first_rows):,} rows of {source}: {named}",
        " ".join(sentences),
    )


def _fitting(rows: Sequence[Mapping[str, Any]]) -> str:
    try:
        return detect_schema(rows, source="")
    except DataError:
        return ""


def _nearest(path: str, known: Iterable[str]) -> str:
    """The column most like `path`; `reasoning[].thought`, as others write it, is the first element's."""
    spelt = {name.casefold(): name for name in known}
    wanted = _BRACKETS.sub(lambda found: f".{found[1] or 0}", path.strip()).casefold()
    found = difflib.get_close_matches(wanted, spelt, 1)
    if not found:
        return ""
    near = spelt[found[0]]
    # An accent may be a character of its own: two names that look the same are told apart by their spelling.
    alike = near != path and unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path)
    return ascii(near) if alike else repr(near)
