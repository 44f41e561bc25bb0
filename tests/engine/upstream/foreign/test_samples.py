"""The sample configs of an EasyDistill 1.0 checkout, unmodified: read here, or refused with the reason.

They name rows, models and a server that their repository does not have: these are put where they look.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qdl_engine.config.jobs import KINDS, TRAIN_ONLY
from qdl_engine.core.errors import SettingsError
from qdl_engine.settings import LabSettings
from qdl_engine.upstream.foreign.job import read_foreign
from qdl_engine.upstream.foreign.make import check_teacher
from tests.engine.upstream.version1.upstream import CHECKOUT, STEPS

SAMPLES = Path(CHECKOUT) / "configs"
MODELS = ("student/Qwen/Qwen2.5-0.5B-Instruct", "teacher/Qwen/Qwen2.5-7B-Instruct")
ROWS = ("cot_input", "cot_question", "raw", "train", "train_labeled", "data/alpaca_en_demo")

pytestmark = pytest.mark.skipif(not (CHECKOUT and SAMPLES.is_dir()), reason=STEPS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's configs, with all that they lack, and the current directory."""
    shutil.copytree(SAMPLES, tmp_path / "configs")
    for name in MODELS:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "data").mkdir()
    rows = [{"instruction": f"{number}?", "output": "Yes.", "data": "A fact."} for number in range(5)]
    for name in ROWS:
        (tmp_path / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "configs"


def test_every_sample_is_read_or_refused_with_the_reason(place: Path) -> None:
    lab = LabSettings.model_validate({"teacher": {"kind": "server", "url": "http://127.0.0.1:9/v1"}})
    passed = set()
    for path in sorted(place.glob("*.json")):
        job_type = json.loads(path.read_text(encoding="utf-8"))["job_type"]
        if job_type in KINDS:
            check_teacher(read_foreign(path), lab)
            passed.add(job_type)
        else:
            with pytest.raises(SettingsError, match="does not run here") as refused:
                read_foreign(path)
            assert refused.value.hint
    # There is no sample of the job that only trains.
    assert passed == set(KINDS) - {TRAIN_ONLY}
