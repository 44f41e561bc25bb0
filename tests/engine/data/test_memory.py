"""Memory stays flat: 200,000 rows within 300 MB over the imports, from every kind of file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 200_000
LIMIT = 300 * 1024 * 1024

PREPARE = """
import json, sys
from pathlib import Path
import numpy, pyarrow.parquet, transformers
from transformers import AutoTokenizer
from qdl_engine.data.prepare import prepare_system1_dataset
from qdl_engine.core.lab import Lab
from qdl_engine.settings import System1Settings
source, student, rows = sys.argv[1:]
def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
# The peak so far is that of the imports (and of the process that forked this one): start it anew.
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
lab = Lab.at(Path(source).parent / "lab")
settings = System1Settings(source=source, student=student, rows=int(rows))
report = prepare_system1_dataset(lab, settings)
print(json.dumps({"kept": report.kept, "seconds": report.seconds, "grew": memory("VmHWM") - before}))
"""


def make_student(directory: Path) -> Path:
    """A byte-level tokenizer of the library's fast kind, as the real students have."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(["some text to learn a few merges from"] * 10, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(directory)
    return directory


def make_rows(path: Path) -> Path:
    rows = ({"instruction": f"Question {i}?", "output": f"Answer {i}: " + "word " * 20} for i in range(ROWS))
    if path.suffix == ".jsonl":
        with path.open("w") as handle:
            handle.writelines(json.dumps(row) + "\n" for row in rows)
    elif path.suffix == ".json":
        with path.open("w") as handle:
            handle.write("[")
            handle.writelines((", " if i else "") + json.dumps(row) for i, row in enumerate(rows))
            handle.write("]")
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured through Linux's /proc")
# Keeping them all costs a minute or two of tokenising a file; reading an array needs no second proof of that.
@pytest.mark.parametrize(("suffix", "wanted"), [(".jsonl", ROWS), (".json", 1_000), (".parquet", ROWS)])
def test_memory_stays_flat(tmp_path: Path, suffix: str, wanted: int) -> None:
    source, student = make_rows(tmp_path / f"rows{suffix}"), make_student(tmp_path / "student")
    command = [sys.executable, "-c", PREPARE, str(source), str(student), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{suffix} {wanted:,} rows wanted: grew {result['grew'] / 2**20:.0f} MB in {result['seconds']:.0f} s"
    )
    assert result["kept"] == wanted
    assert result["grew"] < LIMIT
