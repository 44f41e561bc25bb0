"""Verdict, cure, time and disk."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.errors import DataError, ModelError, SettingsError
from qdl_engine.core.events import Metrics, Started, append_event
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.models.checkpoint import sign
from qdl_engine.models.shape import read_shape
from qdl_engine.preflight.examine import examine
from qdl_engine.preflight.fit import TIGHT, find_cure, recipe_memory
from qdl_engine.preflight.hardware import GPUS, find_hardware
from qdl_engine.preflight.memory import Pass, Training
from qdl_engine.preflight.rows import load_rows
from qdl_engine.preflight.speed import Speed
from qdl_engine.runs.process import identity_of
from qdl_engine.runs.store import create_run, save_run
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import save_settings
from tests.engine.preflight.conftest import write_rows


def test_a_t4_trains_half_a_billion_in_full_and_one_and_a_half_by_lora(lab: Lab) -> None:
    """As measured by many, and as the presets have it."""
    settings = LabSettings()
    small = examine(lab, settings, "system1", device="T4", ask_hub=False)
    assert small.verdict == "fits" and small.ready and small.cure is None
    large = examine(lab, settings, "system2", device="T4", ask_hub=False)
    assert large.verdict == "does not fit" and not large.ready
    assert large.memory.largest.name == "optimizer"
    assert large.cure is not None and large.cure.changes["lora_rank"] == 16
    words = "config set system2.lora_rank=16 system2.learning_rate=0.0002"
    assert large.change == f"qdl --lab {lab.word} {words}"
    assert "optimizer" in large.verdict_text() and large.change in large.table()
    assert examine(lab, settings, "system2", device="H100", ask_hub=False).verdict == "fits"


def test_the_cure_keeps_the_effective_batch_and_fits(lab: Lab) -> None:
    settings = LabSettings.model_validate(
        {"system1": {"batch_size": 64, "gradient_accumulation": 2, "gradient_checkpointing": False}}
    )
    found = examine(lab, settings, "system1", device="A100-80", ask_hub=False)
    assert found.verdict == "does not fit" and found.cure is not None
    changes = found.cure.changes
    assert changes["batch_size"] * changes["gradient_accumulation"] == 128
    assert "lora_rank" not in changes
    cured = settings.model_copy(update={"system1": settings.system1.model_copy(update=changes)})
    again = examine(lab, cured, "system1", device="A100-80", ask_hub=False)
    assert again.verdict == "fits" and again.memory.total <= TIGHT * GPUS["A100-80"].memory
    shape = read_shape(settings.system1.student, "student", ask_hub=False)
    larger = settings.system1.model_copy(
        update={"batch_size": 2 * changes["batch_size"], "gradient_accumulation": 1}
    )
    rows = load_rows(lab, settings, "system1")
    assert recipe_memory(shape, larger, rows, GPUS["A100-80"]).total > TIGHT * GPUS["A100-80"].memory


@pytest.mark.parametrize(
    ("changes", "warning", "warned"),
    [
        ({"system1": {"max_steps": 1}}, "little can be learnt", True),
        ({"system1": {"max_steps": 9}}, "little can be learnt", True),
        ({"system1": {"max_steps": 10}}, "little can be learnt", False),
        ({"runtime": {"kind": "easydistill"}}, "built-in runtime", True),
        ({"runtime": {"kind": "builtin"}}, "built-in runtime", False),
        ({"system1": {"max_length": 40_000}}, "context of 32,768 tokens", True),
        ({"system1": {"max_length": 32_768}}, "context of 32,768 tokens", False),
    ],
)
def test_what_may_go_wrong_is_warned_of(lab: Lab, changes: Any, warning: str, warned: bool) -> None:
    write_rows(lab)
    found = examine(lab, LabSettings.model_validate(changes), "system1", device="T4", ask_hub=False)
    assert any(warning in text for text in found.warnings) == warned


def test_where_nothing_helps_no_cure_is_made_up(lab: Lab) -> None:
    hardware = replace(GPUS["T4"], free=400 * 2**20)
    settings = LabSettings()
    shape = read_shape(settings.system2.student, "student", ask_hub=False)
    assert find_cure(shape, settings.system2, load_rows(lab, settings, "system2"), hardware) is None


def test_time_is_never_under_the_floor_and_falls_with_better_hardware(lab: Lab) -> None:
    settings = LabSettings()
    found = [examine(lab, settings, "system2", device=name, ask_hub=False) for name in ("T4", "A10", "H100")]
    assert all(item.duration.floor_seconds < item.duration.seconds for item in found)
    assert all(item.duration.origin == "estimated" for item in found)
    seconds = [item.duration.seconds for item in found]
    assert seconds == sorted(seconds, reverse=True)


def test_time_counts_what_lies_around_the_training(lab: Lab, settings: LabSettings) -> None:
    write_rows(lab)

    def seconds(**changes: object) -> float:
        changed = settings.model_copy(update={"system1": settings.system1.model_copy(update=changes)})
        found = examine(lab, changed, "system1", ask_hub=False, device="cpu")
        assert found.duration.error in found.summary()["time"]
        return found.duration.seconds

    plain = seconds()
    assert seconds(save_steps=1) > plain, "checkpoints"
    assert seconds(eval_steps=1) > plain, "held-out loss"
    assert seconds(epochs=4.0) > plain


def test_a_guess_says_how_far_it_may_be_off(lab: Lab) -> None:
    on_gpu = examine(lab, LabSettings(), "system1", device="T4", ask_hub=False)
    on_cpu = examine(lab, LabSettings(), "system1", device="cpu", ask_hub=False)
    assert "RAM, libraries not counted" in on_cpu.table() and "RAM" not in on_gpu.table()
    assert "factor of 2" in on_gpu.table() and "± 30 %" in on_cpu.table()


def test_adapters_and_tiles_cost_what_their_weights_do_not(lab: Lab) -> None:
    """On a CPU LoRA is about as fast as training all of a small student, and tiles are far slower."""
    small = read_shape("Qwen/Qwen2.5-0.5B-Instruct", "student", ask_hub=False)
    small = replace(small, hidden=256, intermediate=1024, layers=6, heads=4, kv_heads=2, vocabulary=1000)

    def seconds(vocabulary: int = 1000, lora: int = 0) -> float:
        shape = replace(small, vocabulary=vocabulary)
        training = Training("cpu", "fp32", lora_rank=lora)
        return Speed(shape, training, find_hardware("cpu")).pass_seconds(Pass(4, 400, 1200))

    assert 0.8 < seconds() / seconds(lora=8) < 1.5
    assert seconds(vocabulary=30_000) > 2 * seconds(vocabulary=20_000)


def test_measured_runs_of_the_same_student_decide_the_time(lab: Lab, settings: LabSettings) -> None:
    write_rows(lab)
    guess = examine(lab, settings, "system1", ask_hub=False, device="cpu")
    from qdl_engine.config.write import write_system1_config

    for rate, device in ((50.0, "Tesla T4"), (1000.0, "CPU")):
        run = create_run(
            lab, "train", system="system1", argv=["true"], config=write_system1_config(lab, settings)
        )
        append_event(run.events_file, Started(device=device))
        for step, factor in enumerate((0.1, 1.0, 1.0), 1):
            append_event(run.events_file, Metrics(step=step, tokens_per_second=rate * factor))
        save_run(replace(run, state="done"))
    found = examine(lab, settings, "system1", ask_hub=False, device="cpu")
    assert guess.duration.origin == "estimated" and found.duration.origin == "measured"
    assert found.duration.tokens_per_second == 1000.0, "of this device, and without the slow first report"
    assert run.id in found.duration.source
    settings.system1.lora_rank = 4
    assert examine(lab, settings, "system1", ask_hub=False, device="cpu").duration.origin == "estimated"


def test_disk_counts_checkpoints_and_a_full_one_is_said(
    lab: Lab, settings: LabSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(lab)
    settings.system1.save_steps, settings.system1.save_total_limit = 1, 2
    found = examine(lab, settings, "system1", device="T4", ask_hub=False)
    assert found.disk.checkpoints == 3 * found.disk.checkpoint
    assert found.disk.download == 0 and found.ready
    monkeypatch.setattr("qdl_engine.preflight.fit.free_bytes", lambda path: 1000)
    full = examine(lab, settings, "system1", device="T4", ask_hub=False)
    assert not full.ready and "disk lacks" in full.table()


def test_the_teacher_is_counted_where_it_will_label(lab: Lab) -> None:
    settings = LabSettings.model_validate({"system1": {"label": True}})
    found = examine(lab, settings, "system1", device="T4", ask_hub=False)
    assert found.labelling is not None and found.labelling.fits
    weights = found.labelling.memory.parts[0]
    assert 8.5e9 < weights.bytes < 9.0e9, "7B in 8 bits, with embedding and output layer in 16"
    assert found.disk.download > 15e9
    settings.teacher.quantization = "none"
    plain = examine(lab, settings, "system1", device="T4", ask_hub=False)
    assert plain.labelling is not None and not plain.labelling.fits and not plain.ready
    write_rows(lab)
    assert examine(lab, settings, "system1", device="T4", ask_hub=False).labelling is None


def test_what_cannot_be_examined_is_said_with_a_way_out(
    lab: Lab, settings: LabSettings, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="--device P100") as unknown:
        examine(lab, settings, "system1", device="P100", ask_hub=False)
    assert "T4" in unknown.value.hint
    with pytest.raises(ModelError, match="Invalid student model: nobody/nothing"):
        changed = settings.system1.model_copy(update={"student": "nobody/nothing"})
        examine(lab, settings.model_copy(update={"system1": changed}), "system1", device="T4", ask_hub=False)
    with pytest.raises(ModelError, match=r"Invalid student model: /nope\nThe directory does not exist\."):
        changed = settings.system1.model_copy(update={"student": "/nope"})
        examine(lab, settings.model_copy(update={"system1": changed}), "system1", device="T4", ask_hub=False)
    (tmp_path / "half").mkdir()
    write_json_atomic(tmp_path / "half/config.json", {"hidden_size": 8})
    (tmp_path / "half/model.safetensors").touch()
    (tmp_path / "half/tokenizer.json").touch()
    with pytest.raises(ModelError, match="Invalid student model") as half:
        changed = settings.system1.model_copy(update={"student": str(tmp_path / "half")})
        examine(lab, settings.model_copy(update={"system1": changed}), "system1", device="T4", ask_hub=False)
    assert "num_attention_heads" in half.value.hint
    write_rows(lab)
    short = settings.model_copy(update={"system1": settings.system1.model_copy(update={"max_length": 16})})
    with pytest.raises(DataError, match="No data for System 1 distillation"):
        examine(lab, short, "system1", device="T4", ask_hub=False)


def test_the_gpu_with_the_least_room_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = "0, a, 0, 0, 15360, Tesla T4\\n1, b, 0, 1000, 81920, NVIDIA A100-SXM-80GB\\n2, c, 0, 5, 48000, Odd"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{gpus}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_hardware().name == "Tesla T4" and not find_hardware().has_bf16
    assert find_hardware(all_gpus=True).count == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = find_hardware()
    assert found.free == 80920 * 2**20 and found.short_flops == GPUS["A100-80"].short_flops
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert find_hardware().bandwidth == GPUS["L40S"].bandwidth, "an unknown name: the nearest memory"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_hardware().kind == "cpu"


def test_the_command_says_it_by_exit_code_and_json(
    lab: Lab, settings: LabSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    save_settings(lab, settings)
    write_rows(lab)
    words = ["--lab", str(lab.root), "preflight", "--offline"]
    assert main([*words, "system1", "--device", "T4", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "fits" and shown["rows"]["trained_rows"] > 0
    assert shown["memory"]["bytes"] == sum(part["bytes"] for part in shown["memory"]["parts"])
    assert main([*words, "system2", "--device", "T4"]) == 1
    text = capsys.readouterr().out
    assert "DOES NOT FIT" in text and f"qdl --lab {lab.word} config set system2.lora_rank=16" in text
    change = text.split(" config set ")[1].splitlines()[0].split()
    assert main(["--lab", str(lab.root), "config", "set", *change]) == 0
    assert main([*words, "system2", "--device", "T4"]) == 0


def test_no_model_library_is_imported(lab: Lab, settings: LabSettings) -> None:
    save_settings(lab, settings)
    write_rows(lab)
    code = (
        "import sys, contextlib, io\nfrom qdl_engine.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main(['--lab', {str(lab.root)!r}, 'preflight', 'system1', '--offline'])\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_teacher_elsewhere_is_asked_whether_it_is_there(lab: Lab, settings: LabSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        there = {"teacher": {"kind": "server", "url": url, "model": "m"}, "system1": {"label": True}}
        found = examine(lab, LabSettings.model_validate(there), "system1", device="T4", ask_hub=False)
        assert found.labelling is None and "server" not in found.table()
    found = examine(lab, LabSettings.model_validate(there), "system1", device="T4", ask_hub=False)
    assert "server does not answer at 127.0.0.1" in found.table()
    there["teacher"]["url"] = ""
    found = examine(lab, LabSettings.model_validate(there), "system1", device="T4", ask_hub=False)
    assert "teacher.url" in found.table()


def test_vllm_takes_its_share_of_the_gpu(lab: Lab) -> None:
    settings = LabSettings.model_validate({"system1": {"label": True}, "teacher": {"kind": "vllm"}})
    text = examine(lab, settings, "system1", device="T4", ask_hub=False).table()
    assert "vLLM takes 90 % of the GPU while it labels, 14.5 GB: 8.7 GB for" in text and "not known" in text
    settings.teacher.quantization = "none"
    assert "DOES NOT FIT" in examine(lab, settings, "system1", device="T4", ask_hub=False).table()
    assert "needs a GPU" in examine(lab, settings, "system1", device="cpu", ask_hub=False).table()


def test_the_student_that_is_replaced_and_where_it_is_kept_are_said(lab: Lab) -> None:
    assert examine(lab, LabSettings(), "system1", device="T4", ask_hub=False).notes == []
    for place in ("distilled-qwen2.5-0.5b", "distilled-qwen2.5-0.5b.previous"):
        (lab.root / place).mkdir()
        (lab.root / place / "config.json").write_text("{}")
        (lab.root / place / "model.safetensors").write_bytes(b"")
    sign(lab.system1_checkpoint, "0003-train-system1")
    kept = "The student of run 0003 moves to distilled-qwen2.5-0.5b.previous"
    text = examine(lab, LabSettings(), "system1", device="T4", ask_hub=False).table()
    assert f"note      {kept}-2\n" in f"{text}\n", "what is no checkpoint of ours stays"
    sign(lab.root / "distilled-qwen2.5-0.5b.previous", "0001-train-system1")
    found = examine(lab, LabSettings(), "system1", device="T4", ask_hub=False)
    assert found.notes == [f"{kept}; the older backup is deleted"] and found.to_dict()["notes"] == found.notes
    assert examine(lab, LabSettings(), "system2", device="T4", ask_hub=False).notes == []


def test_a_run_beside_it_is_said_on_this_machine(lab: Lab) -> None:
    done = create_run(lab, "train", system="system1", argv=["x"])
    save_run(replace(done, state="done"))
    other = create_run(lab, "train", system="system2", argv=["x"], output_dir=lab.system2_checkpoint)
    save_run(replace(other, state="running", pid=os.getpid(), identity=identity_of(os.getpid())))
    found = examine(lab, LabSettings(), "system1", ask_hub=False)
    assert found.notes == ["run 0002 is training: both will be slower"]
    assert examine(lab, LabSettings(), "system1", device="T4", ask_hub=False).notes == []
    same = examine(lab, LabSettings(), "system2", ask_hub=False)
    assert same.notes == ["run 0002 is training this student: it has to end first"]
