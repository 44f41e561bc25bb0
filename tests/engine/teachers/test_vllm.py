"""vLLM in this process. It needs a GPU: our side of the talk is tested against a stand-in with its names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import no_sink
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import format_prompt
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.settings.toml import save_settings
from qdl_engine.teachers.base import Decoding, Question
from qdl_engine.teachers.vllm import VllmTeacher

STAND_IN = '''
"""The names of vLLM that we use, checked as strictly as its own; the engine echoes, two requests a step."""
import json, os
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace

def note(**what):
    with open(os.environ["VLLM_CALLS"], "a") as calls:
        calls.write(json.dumps(what) + "\\n")

@dataclass(kw_only=True)
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list = field(default_factory=list)
    seed: int | None = None

class LLM:
    def __init__(
        self, model, *, gpu_memory_utilization, generation_config="auto", quantization=None, dtype="auto"
    ):
        note(llm=model, generation_config=generation_config, quantization=quantization, dtype=dtype)
        if "broken" in model:
            raise ValueError("No available memory for the cache blocks.\\nlong story")
        self.llm_engine = Engine()
    def get_tokenizer(self):
        return SimpleNamespace(get_vocab=lambda: {"<|im_end|>": 151645})

class Engine:
    def __init__(self):
        self.waiting = {}
    def add_request(self, request_id, prompt, params):
        note(request=request_id, prompt=prompt, params=asdict(params))
        self.waiting[request_id] = prompt
    def abort_request(self, request_ids):
        note(aborted=list(request_ids))
    def step(self):
        # The last come first, and each is told of once before its end.
        outputs = []
        for request_id in list(self.waiting)[-2:]:
            prompt = self.waiting[request_id]
            asked = prompt.rsplit("<|im_start|>user\\n", 1)[1].split("<|im_end|>")[0]
            half, words = prompt.endswith("\\0"), asked.upper().split()
            if not half:
                self.waiting[request_id] = prompt + "\\0"
            else:
                del self.waiting[request_id]
            said = SimpleNamespace(
                text=" ".join(words if half else words[:1]),
                token_ids=words if half else words[:1],
                finish_reason=("length" if "CUT" in words else "stop") if half else None,
            )
            outputs.append(SimpleNamespace(
                request_id=request_id, finished=half, outputs=[said], prompt_token_ids=list(range(7))
            ))
        return outputs
'''


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the stand-in notes what it was asked; it is on the path of this process and its children."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "vllm.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), *sys.path]))
    monkeypatch.setenv("VLLM_CALLS", str(tmp_path / "calls"))
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    yield tmp_path / "calls"
    sys.modules.pop("vllm", None)


def noted(calls: Path, kind: str) -> list[dict[str, Any]]:
    return [call for line in calls.read_text().splitlines() if kind in (call := json.loads(line))]


def make_lab(root: Path, instructions: list[str], **teacher: Any) -> Lab:
    lab = Lab.at(root)
    lab.create_directories()
    save_settings(lab, LabSettings(teacher=TeacherSettings(kind="vllm", **teacher)))
    write_json_atomic(lab.train_instructions, [{"instruction": text, "output": ""} for text in instructions])
    return lab


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = make_lab(tmp_path / "lab", ["hello"])
    assert main(["--lab", str(lab.root), "label"]) == 1
    told = capsys.readouterr().err
    assert "vLLM is not installed" in told and "pip install vllm" in told and "Traceback" not in told


def test_qdl_label_asks_it_in_our_words(calls: Path, tmp_path: Path) -> None:
    asked = ["hello there", "a cut answer", "good night", "hello there"]
    lab = make_lab(tmp_path / "lab", asked, model="Qwen/Big", max_new_tokens=77, temperature=0.5)
    command = [sys.executable, "-m", "qdl_engine.cli", "--lab", str(lab.root), "--json", "label"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (report["teacher"], report["kept"], report["cut"], report["asked"]) == ("Qwen/Big", 3, 1, 3)
    assert (report["tokens"], report["prompt_tokens"]) == (2 + 3 + 2, 21)
    assert [row["output"] for row in read_json(lab.train_labeled)] == [
        "HELLO THERE",
        "GOOD NIGHT",
        "HELLO THERE",
    ]
    system_prompt = LabSettings().system1.system_prompt
    requests = noted(calls, "request")
    assert [request["prompt"] for request in requests] == [
        format_prompt(text, system_prompt=system_prompt) for text in asked[:3]
    ]
    params = {"temperature": 0.5, "max_tokens": 77, "stop_token_ids": [151645], "seed": 0}
    assert all(request["params"] == params for request in requests)


@pytest.mark.parametrize(
    ("quantization", "given"),
    [
        ("8bit", {"quantization": "fp8", "dtype": "auto"}),
        ("4bit", {"quantization": "bitsandbytes", "dtype": "auto"}),
        ("bf16", {"quantization": None, "dtype": "bfloat16"}),
        ("none", {"quantization": None, "dtype": "auto"}),
    ],
)
def test_our_words_for_weights_in_its_words(calls: Path, quantization: str, given: dict[str, Any]) -> None:
    VllmTeacher("Qwen/Big", Decoding(8), quantization=quantization).load(no_sink)
    assert noted(calls, "llm") == [{"llm": "Qwen/Big", "generation_config": "vllm", **given}]


def test_a_model_that_it_refuses(calls: Path) -> None:
    with pytest.raises(
        ModelError, match=r"vLLM cannot load broken: No available memory for the cache blocks\.\n"
    ):
        VllmTeacher("broken", Decoding(8)).load(no_sink)


def test_who_leaves_early_takes_the_rest_of_the_requests_out(calls: Path) -> None:
    results = VllmTeacher("Qwen/Big", Decoding(8)).answer_each(
        [Question(text, "") for text in "abcd"], on_event=no_sink
    )
    index, _ = next(results)
    results.close()
    (aborted,) = noted(calls, "aborted")
    assert sorted([*aborted["aborted"], str(index)]) == ["0", "1", "2", "3"]


def test_it_streams_what_is_new(calls: Path) -> None:
    teacher = VllmTeacher("Qwen/Big", Decoding(8))
    chunks = list(teacher.stream(Question("good night cut", ""), Decoding(5, 1.0)))
    assert "".join(chunk.text for chunk in chunks) == "GOOD NIGHT CUT" and len(chunks) == 2
    assert (chunks[-1].done, chunks[-1].stopped, chunks[-1].tokens) == (True, "length", 3)
    assert noted(calls, "request")[0]["params"]["max_tokens"] == 5
