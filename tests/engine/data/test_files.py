"""Prepared files on disk."""

from __future__ import annotations

import json
from pathlib import Path

from qdl_engine.data.files import array_file


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.json", tmp_path / ".labels.json.abc"
    (tmp_path / ".rows.json.x1y2").write_text("[1,")
    other.write_text("")
    with array_file(path) as handle:
        handle.write("1")
    assert json.loads(path.read_text()) == [1]
    assert sorted(tmp_path.iterdir()) == [other, path]
