"""Schemas: how the columns of one source row become instruction, reasoning and answer.

A schema is a function from a source row to its chains. One row may hold several chains (OmniThought), and
what cannot be used comes back as a `Drop` that says why, so that the report can count and name it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qdl_engine.data.chain import Chain, Drop, as_level, as_verdict
from qdl_engine.data.columns import at_path, lists_of_objects, unwrapping
from qdl_engine.errors import DataError, SettingsError
from qdl_engine.prompts import THINK_CLOSE, THINK_OPEN, split_completion
from qdl_engine.settings.recipe import MAPPING_KEYS
from qdl_engine.text import is_unicode

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
