"""Sources: every kind of file row by row, broken ones too, and what a missing one says."""

from __future__ import annotations

import gzip
import json
import logging
import random
import shlex
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.data import json_rows
from qdl_engine.data.sources import find_local, is_heavy, open_source, read_file


def values(path: Path) -> list[Any]:
    return [row.value for row in read_file(path)]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


LINES = b'{"a": 1}\n{broken\n{"a": 2}\n'


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'{"a": 1}\n{"a": 2}\n', [(1, {"a": 1}), (2, {"a": 2})]),
        (b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n{"a": "\xff"}\n3', [(1, {"a": 1}), (3, None), (4, None), (5, 3)]),
        (b'[\n {"a": "x\\ny"},\n\n {"a":\n 2}, 3\n]\n', [(2, {"a": "x\ny"}), (4, {"a": 2}), (5, 3)]),
        (b" [ ] ", []),
        (gzip.compress(LINES, mtime=0), [(1, {"a": 1}), (2, None), (3, {"a": 2})]),
        (gzip.compress(b'[{"a": 1}, 2]', mtime=0), [(1, {"a": 1}), (1, 2)]),
    ],
)  # fmt: skip
def test_rows_carry_their_line_and_a_broken_one_costs_only_itself(
    tmp_path: Path, content: bytes, rows: list[tuple[int, Any]]
) -> None:
    """The content decides, not the suffix; a null is a row with a problem."""
    read = list(read_file(write(tmp_path / "a.json", content)))
    assert [(row.line, row.value) for row in read] == rows
    assert all(bool(row.problem) == (row.value is None) for row in read)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_the_array_reader_reads_what_json_reads_at_any_chunk_size(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    draw = random.Random(chunk)
    for _ in range(40):
        array = [_random_value(draw, 3) for _ in range(draw.randrange(6))]
        text = json.dumps(array, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 0, 2]))
        assert values(write(tmp_path / "a.json", text)) == array


def _random_value(draw: random.Random, depth: int) -> Any:
    kind = draw.randrange(7 if depth else 5)
    if kind < 3:
        return [draw.randrange(-(10**12), 10**12), draw.random() * 1e6, draw.choice([True, None])][kind]
    if kind < 5:
        return "".join(draw.choice('aé😀"\\\n[]{},: \t') for _ in range(draw.randrange(12)))
    if kind == 5:
        return [_random_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {f"k{i}": _random_value(draw, depth - 1) for i in range(draw.randrange(4))}


@pytest.mark.parametrize(
    ("text", "line"),
    [('[\n{"a": 1},\n{"a": ', 3), ('[\n{"a": 1}\n{"a": 2}]', 3), ("[1,\n2,]", 2), ("[1", 1), ('["\\x"]', 1)],
)
def test_an_array_that_breaks_off_names_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    path = write(tmp_path / "a.json", text)
    with pytest.raises(DataError, match=f"a.json, line {line}:"):
        values(path)


def test_an_array_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        values(write(tmp_path / "a.json", b'["\xff"]'))


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    deep = "[" * 100_000
    assert next(read_file(write(tmp_path / "a.jsonl", '{"a": ' + deep))).problem
    with pytest.raises(DataError):
        values(write(tmp_path / "a.json", deep))


def test_parquet_gives_rows_with_their_numbers(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"question": f"q{i}", "reasoning": [{"thought": "t"}]} for i in range(600)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=250)
    read = list(read_file(path))
    assert [row.value for row in read] == rows
    assert [row.line for row in read] == list(range(1, 601))


def test_a_relative_source_is_looked_for_in_the_lab_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    lab = Lab.at(tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    here = write(tmp_path / "rows.jsonl", "{}")
    assert find_local(lab, "rows.jsonl") == here
    there = write(lab.root / "rows.jsonl", "{}")
    assert find_local(lab, "rows.jsonl") == there
    assert find_local(lab, "someone/some_data") is None


@pytest.mark.parametrize("name", ["gone.jsonl", "./gone", "/gone/for/good", "a/b/c", "~nobody-here/x"])
def test_a_missing_file_is_not_taken_for_a_hub_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="Data file not found"):
        open_source(Lab.at(tmp_path), name, split="train", seed=1)


def test_zstandard_is_read_and_counts_as_heavy(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    zstd = write(tmp_path / "a.jsonl.zst", pa.compress(LINES, codec="zstd", asbytes=True))
    assert values(zstd) == [{"a": 1}, None, {"a": 2}]
    packed = write(tmp_path / "a.jsonl.gz", gzip.compress(LINES, mtime=0))
    assert is_heavy(zstd) and is_heavy(tmp_path) and not is_heavy(packed)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_packed_file_that_is_cut_short_says_so(tmp_path: Path, codec: str) -> None:
    pa = pytest.importorskip("pyarrow")
    lines = b"".join(b'{"a": %d}\n' % number for number in range(50_000))
    whole = pa.compress(lines, codec=codec, asbytes=True)
    with pytest.raises(DataError) as caught:
        values(write(tmp_path / "a.jsonl", whole[: len(whole) // 2]))
    assert "Cannot read" in caught.value.message and "cut short" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.arrow", b"ARROW1\0\0rest", "not JSON, JSON Lines or Parquet"),
        ("a.csv", b"a,b\n1,2\n", ".csv is not supported"),
    ],
)
def test_a_file_of_another_kind_is_refused_at_once(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        values(write(tmp_path / name, content))


def test_a_directory_laid_out_like_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    snapshot = tmp_path / "datasets--alibaba-pai--OmniThought" / "snapshots" / "0123abcd"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / ".gitattributes").write_text("*.parquet filter=lfs\n")
    chains = [{"thought": "t", "solution": "s", "Reasoning_Verbosity": {"level": 4, "judge": "QwQ-32B"}}]
    for shard in range(2):
        table = pa.Table.from_pylist([{"question": f"q{shard}", "reasoning": chains}])
        pq.write_table(table, snapshot / "data" / f"train-0000{shard}-of-00135.parquet")
    source = open_source(Lab.at(tmp_path), str(snapshot), split="train", seed=1)
    rows = [row.value for row in source.read()]
    assert source.streamed and sorted(row["question"] for row in rows) == ["q0", "q1"]
    assert rows[0]["reasoning"] == chains
    with pytest.raises(DataError, match=r"Cannot read the directory .*test"):
        list(open_source(Lab.at(tmp_path), str(snapshot), split="test", seed=1).read())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        list(open_source(Lab.at(tmp_path), str(tmp_path / "empty"), split="train", seed=1).read())
    assert "directory" in caught.value.message and "JSON Lines or Parquet" in caught.value.hint


ROW = '{\n "instruction": "a",\n "output": "b"\n}\n'
WRAPPED = '{"version": 1,\n "data": [\n  {"instruction": "a"},\n  {"instruction": "b"}\n ]\n}'


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        (ROW, "one JSON object over 4 lines", "jq -c . "),
        ('\ufeff\n{"messages":\n[{"role": "user"}]}', "one JSON object over 2 lines", "jq -c . "),
        (ROW * 2, "JSON objects one after another, each over several lines", "jq -c . "),
        (WRAPPED, 'one JSON object, with a list of objects under "data"', "jq .data "),
        (
            '{"tr ain": [{"q": 1}],\n"test": [{"q": 1}], "n": [1]}',
            'with lists of objects under "tr ain" and "test"',
            "If one of them holds the rows, unwrap it: jq '.[\"tr ain\"]' ",
        ),
        ('{"1": {"q": 1},\n"2": {"q": 2}}', "one JSON object over 2 lines", "Accepted: one object on each"),
        ('{"data": [\n' + '{"q": 1},\n' * 12_000, 'a list of objects under "data"', "jq .data "),
        (
            "{\n" + "".join(f'"{key}": {{"q": 1}},\n' for key in range(12_000)),
            "one JSON object of more than 10,000 keys",
            "If each key holds a row: jq -c '.[]' ",
        ),
    ],
)
def test_one_object_where_rows_are_wanted_is_told_from_broken_rows(
    tmp_path: Path, text: str, words: str, hint: str
) -> None:
    packed = gzip.compress(text.encode(), mtime=0)
    for path in (write(tmp_path / "a.json", text), write(tmp_path / "a b.gz", packed)):
        with pytest.raises(DataError) as refused:
            read_file(path)
        assert refused.value.message.startswith(f"Cannot read {path}: ") and words in refused.value.message
        assert hint in refused.value.hint and "one JSON array of objects" in refused.value.hint
        assert shlex.quote(str(path)) in refused.value.hint
        assert ("<(gzip -dc " in refused.value.hint) == (path.suffix == ".gz")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n "data": [\n  {"q": 1},\n  {"q": 2},\n ]\n}\n', 5),
        ('{"data": [\n  {"q": 1},\n  {"q": 2}\n],}\n', 4),
        ('\ufeff{\r\n "q": 1,\r\n}\r\n', 3),
        ('\n{\n\n "data": [\n {"q": 1},\n {"q": 2}', 6),
    ],
)
def test_a_break_far_in_an_object_is_named_and_its_last_row_is_not_taken_for_the_only_one(
    tmp_path: Path, text: str, line: int
) -> None:
    with pytest.raises(DataError, match=f"Not valid JSON: .*, line {line}: "):
        read_file(write(tmp_path / "a.json", text))


@pytest.mark.parametrize("text", ["[1] x", "[1][2]", "[]\n[2]"])
def test_what_follows_an_array_is_not_missed_in_silence(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="something follows the array"):
        values(write(tmp_path / "a.json", text))


def test_a_line_longer_than_any_row_costs_that_row_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdl_engine.data.json_rows.LONGEST_LINE", 16)
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 50 + '"}\n{"a": 2}\n' + "y" * 32)
    read = [(row.line, row.value, row.problem) for row in read_file(path)]
    assert read[0] == (1, {"a": 1}, "") and read[2] == (3, {"a": 2}, "") and len(read) == 4
    assert read[1] == (2, None, "longer than 16 bytes") and read[3][0] == 4


def test_rows_wrapped_on_one_line_too_long_for_a_row_are_told_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdl_engine.data.json_rows.LONGEST_ROW", 16)
    path = write(tmp_path / "a.json", '{"data": [{"a": 1}, {"a": 2}]}')
    with pytest.raises(DataError, match='a list of objects under "data"'):
        read_file(path)
    chat = '{"messages": [{"role": "user", "content": "Why?"}]}'
    assert len(values(write(tmp_path / "b.json", chat))) == 1


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ('{"a": 1}', 1),
        ('{"data": [{"a": 1}]}\n', 1),
        ('{"a": 1,\n"b": 2}\n{"a": 3}\n{"a": 4}\n', 2),
        ('{"a": 1\n{"a": 2}\n', 1),
        ('{"a": 1,\n}\n{"a": 2}\n', 1),
        ('{"a": 1\n"b": 2}\n{"a": 3}\n', 1),
        ("{\n", 0),
        ("{", 0),
    ],
)
def test_json_lines_with_a_row_broken_are_still_json_lines(tmp_path: Path, text: str, sound: int) -> None:
    rows = list(read_file(write(tmp_path / "a.json", text)))
    assert sum(isinstance(row.value, dict) for row in rows) == sound
    assert len(rows) == len(text.splitlines())


def test_each_try_of_a_hub_that_does_not_answer_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    client = logging.getLogger("huggingface_hub.utils._http")
    told: list[bool] = []

    def unreachable(*_names: Any, **_more: Any) -> Any:
        told.append(client.isEnabledFor(logging.WARNING))
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    before = client.isEnabledFor(logging.WARNING)
    with pytest.raises(DataError, match="Cannot read data set 'someone/else'"):
        next(open_source(Lab.at(tmp_path), "someone/else", split="train", seed=1).read())
    assert told == [False] and before and client.isEnabledFor(logging.WARNING), "as it was afterwards"
