"""Without a network: a data set of the cache is read, one that is not there says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from tests.engine.data.words import write_lines

PREPARE = """
import sys
from qdl_engine.data.prepare import prepare_system1_dataset
from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.settings import System1Settings
from tests.engine.data.words import WordTokenizer
try:
    settings = System1Settings(source=sys.argv[2], rows=50)
    report = prepare_system1_dataset(Lab.at(sys.argv[1]), settings, tokenizer=WordTokenizer())
except DataError as error:
    print(error)
else:
    print("kept", report.kept)
"""


def offline(code: str, *arguments: str, cache: Path) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache)}
    command = [sys.executable, "-c", code, *arguments]
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        command, env=environment, cwd=repository, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill_cache(cache: Path, directory: Path) -> None:
    """Leave `someone/SomeData` in the cache as a download does, in the library's own files."""
    source = write_lines(directory / "a.jsonl", [{"instruction": f"q{i}", "output": "a"} for i in range(200)])
    code = (
        "import datasets, sys\n"
        "rows = datasets.load_dataset('json', data_files=sys.argv[1], split='train')\n"
        "print(rows.cache_files[0]['filename'])\n"
    )
    made = Path(offline(code, str(source), cache=cache).strip().splitlines()[-1]).parent
    entry = cache / "someone___some_data" / "default" / "0.0.0" / "0123abcd"
    shutil.copytree(made, entry)
    next(entry.glob("json-*.arrow")).rename(entry / "some_data-train.arrow")
    description = entry / "dataset_info.json"
    info = json.loads(description.read_text()) | {"config_name": "default", "dataset_name": "some_data"}
    description.write_text(json.dumps(info))


def test_offline_the_cache_is_read_and_what_is_missing_is_said(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    cache = tmp_path / "cache"
    fill_cache(cache, tmp_path)
    lab = Lab.at(tmp_path / "lab")
    assert offline(PREPARE, str(lab.root), "someone/SomeData", cache=cache) == "kept 50\n"
    message, hint = offline(PREPARE, str(lab.root), "someone/else", cache=cache).strip().split("\n")
    assert "'someone/else'" in message and "Couldn't reach" in message
    assert "local JSON" in hint and "cache" in hint
