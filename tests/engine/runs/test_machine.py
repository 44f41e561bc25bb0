"""The GPUs as `nvidia-smi` reports them. A stand-in program of that name replaces the hardware."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from qdl_engine.core.gpus import read_gpus
from qdl_engine.runs.launch import start_run, wait_for
from qdl_engine.runs.reader import summarise
from qdl_engine.runs.supervise import machine_event, watch_gpus
from tests.engine.runs.conftest import MakeRun, until

GPUS = """0, GPU-aaa, 37, 1024, 81559, NVIDIA H100 80GB HBM3
1, GPU-bbb, 91, 2048, 81559, NVIDIA H100 80GB HBM3
2, GPU-ccc, [N/A], [N/A], 81559, MIG
"""


def pretend(directory: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, processes: str = "") -> None:
    (directory / "gpus").write_text(gpus)
    (directory / "processes").write_text(processes)
    program = directory / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\ncd {directory}\ncase "$1" in *compute-apps*) cat processes;; *) cat gpus;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_figures_and_their_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, GPUS)
    first, _second, third = read_gpus()
    assert (first.use, first.memory_used, first.memory_total) == (0.37, 2**30, 81559 * 2**20)
    assert (third.name, third.use, third.memory_used) == ("MIG", None, None)


def test_the_gpus_of_the_run_are_separated_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = os.getpgid(0)
    pretend(tmp_path, monkeypatch, GPUS, f"GPU-aaa, {os.getpid()}\nGPU-bbb, 1\n")
    event = machine_event(tmp_path, group, {})
    assert event is not None and event.gpu_use == 0.37
    pretend(tmp_path, monkeypatch, GPUS)
    event = machine_event(tmp_path, group, {})
    assert event is not None and event.gpu_use == 0.91, "in a container the busiest GPU counts"
    for visible in ("0", "GPU-aa"):
        event = machine_event(tmp_path, group, {"CUDA_VISIBLE_DEVICES": visible})
        assert event is not None and event.gpu_use == 0.37
    assert machine_event(tmp_path, group, {"CUDA_VISIBLE_DEVICES": ""}) is None


def test_a_figure_that_the_gpu_does_not_report_is_absent_and_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "0, GPU-ccc, [N/A], [N/A], 81559, MIG\n")
    event = machine_event(tmp_path, 1, {})
    assert event is not None and event.gpu_use is None and event.gpu_memory_bytes is None


def test_samples_come_until_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, GPUS)
    events, ended = tmp_path / "events.jsonl", threading.Event()
    watcher = threading.Thread(target=watch_gpus, args=(tmp_path, events, 1, ended), kwargs={"every": 0.01})
    watcher.start()
    until(events.exists)
    ended.set()
    watcher.join(timeout=10)
    assert not watcher.is_alive()
    assert json.loads(events.read_text(encoding="utf-8").splitlines()[0])["event"] == "machine"


def test_without_a_gpu_there_are_no_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_event(tmp_path, 1, {}) is None
    watch_gpus(tmp_path, tmp_path / "events.jsonl", 1, threading.Event(), every=0.0)
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.parametrize("runtime", ["builtin", "easydistill"])
def test_both_runtimes_show_the_use_of_the_gpu(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    """1.0 trains in a child of the run's program; that child shows which GPU is the run's."""
    pretend(tmp_path, monkeypatch, GPUS)
    run = make_run(
        f"""
        import subprocess
        event("started", device="NVIDIA H100 80GB HBM3", runtime={runtime!r})
        child = subprocess.Popen(["sleep", "60"])
        pid = child.pid if {runtime!r} == "easydistill" else os.getpid()
        Path({str(tmp_path)!r}, "processes").write_text(f"GPU-aaa, {{pid}}\\nGPU-bbb, 1\\n")
        def told():
            lines = Path(os.environ["QDL_EVENTS"]).read_text().splitlines()
            return [json.loads(line).get("gpu_use") for line in lines]
        end = time.time() + 60
        while 0.37 not in told() and time.time() < end:
            time.sleep(0.05)
        event("metrics", step=1, loss=2.0)
        child.kill()
        child.wait()
        """
    )
    ended = wait_for(start_run(run), timeout=90)
    assert summarise(ended).gpu_use == 0.37
