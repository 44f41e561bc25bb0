"""Runs the whole demo through the real engine, both students side by side.

Preparing comes first, because a lab has one writer. Then two lanes run with one thread each: the teacher
labels System 1's questions, System 1 trains and is examined; meanwhile System 2 trains on the chains of its
source and is examined.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from qdl_engine.compare.compare import compare_models
from qdl_engine.compare.comparison import read_prompts, save_comparison
from qdl_engine.config.write import write_system1_config, write_system2_config
from qdl_engine.core.errors import LabError, RunError
from qdl_engine.core.events import Event, EventSink, Examined, Note, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.systems import SYSTEM_NAMES, System
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.demo.exam import Marks, Paper, dump_papers, marks_of
from qdl_engine.demo.lab import BASE_STUDENT, TEACHER, create_demo_lab
from qdl_engine.demo.report import HONESTY, DemoReport, ModelFigures
from qdl_engine.demo.world import ALL_TASKS, SYSTEM1_SIMPLE, SYSTEM1_TASKS, SYSTEM2_TASKS
from qdl_engine.runs.launch import python_command, start_run, stop_run, wait_for
from qdl_engine.runs.store import Run, create_run
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import load_settings
from qdl_engine.training.command import run_easy_distill

EXAM_PER_TASK: Final = 40
REPORT_FILE: Final = "demo_report.json"
ONE_THREAD: Final[Mapping[str, str]] = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_STAGES: Final[Mapping[str, str]] = {
    "prepare": "Preparing both data sets",
    "label": "The teacher labels System 1's questions, reasoning stripped",
    "train system1": "System 1 trains on the teacher's answers",
    "train system2": "System 2 trains on the teacher's chains",
    "examine system1": "System 1 and the teacher answer held-out questions at once",
    "examine system2": "System 2 and the teacher reason about held-out questions",
    "compare": "All three answer the sample prompts",
}


def run_demo(directory: str | os.PathLike[str], on_event: EventSink = no_sink) -> DemoReport:
    """Make a demo lab, distil both students, and examine all models on held-out questions.

    Args:
        directory: Where the lab goes; it must not hold one yet.
        on_event: Takes the engine's events; those of one student carry its `system`.

    Raises:
        LabError: when the directory holds a lab, or a step failed; all running runs are stopped first.
    """
    began = time.monotonic()
    lab = create_demo_lab(directory)
    demo = _Demo(lab, load_settings(lab), on_event)
    for line in HONESTY.splitlines():
        demo.say(line)
    try:
        demo.prepare()
        marks = demo.distil()
        comparison = demo.compare()
    except BaseException:
        demo.cancel()
        raise
    report = DemoReport(
        directory=lab.root,
        seconds=time.monotonic() - began,
        teacher=_figures(lab, marks, "teacher", TEACHER),
        teacher_direct=_figures(lab, marks, "teacher_direct", TEACHER),
        system1=_figures(lab, marks, "system1", lab.system1_checkpoint, "base1", SYSTEM1_SIMPLE),
        system2=_figures(lab, marks, "system2", lab.system2_checkpoint, "base2"),
        comparison=comparison,
        stages=demo.stages,
    )
    write_json_atomic(lab.root / REPORT_FILE, report.as_dict())
    return report


@dataclass
class _Demo:
    """One running demo: the lab, the runs that it started, and how long each stage took."""

    lab: Lab
    settings: LabSettings
    on_event: EventSink
    stages: dict[str, float] = field(default_factory=dict)
    _runs: list[Run] = field(default_factory=list)
    _cancelled: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Prepare both data sets, through the default mappings and the RV/CD filter."""
        with self._stage("prepare"):
            prepare_system1_dataset(self.lab, self.settings.system1, on_event=self._emit)
            prepare_system2_dataset(self.lab, self.settings.system2, on_event=self._emit)

    def distil(self) -> dict[str, Marks]:
        """Run both lanes to their ends; the first failure stops both."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            lanes = [pool.submit(self._lane1), pool.submit(self._lane2)]
            try:
                ended, _ = wait(lanes, return_when=FIRST_EXCEPTION)
                # The first failure says why; the other lane only says that it was stopped.
                for lane in ended:
                    lane.result()
            except BaseException:
                self.cancel()
                raise
        return {name: marks for lane in lanes for name, marks in lane.result().items()}

    def compare(self) -> Path:
        """Let teacher and students answer the lab's sample prompts; save the comparison in the lab."""
        asked = self.settings.comparison
        with self._stage("compare"):
            comparison = compare_models(
                read_prompts(self.lab.sample_prompts),
                teacher_path=self.settings.teacher.model,
                system1_path=self.lab.system1_checkpoint,
                system2_path=self.lab.system2_checkpoint,
                max_new_tokens=asked.max_new_tokens,
                system_prompts={
                    "teacher": self.settings.recipe(asked.teacher_mode).system_prompt,
                    "system1": self.settings.system1.system_prompt,
                    "system2": self.settings.system2.system_prompt,
                },
                teacher_mode=asked.teacher_mode,
                quantization=self.settings.teacher.quantization,
                on_event=self._emit,
            )
            return save_comparison(self.lab, comparison)

    def cancel(self) -> None:
        """Stop the runs that this demo started, and no others."""
        with self._lock:
            self._cancelled = True
            runs = list(self._runs)
        for run in runs:
            try:
                stop_run(run, force=True)
            except RunError:
                # It ended by itself.
                continue

    def say(self, message: str) -> None:
        """Send a note to whoever watches."""
        self._emit(Note(message))

    def _lane1(self) -> dict[str, Marks]:
        with self._stage("label"):
            command = python_command("qdl_engine.cli", "--lab", str(self.lab.root), "label", "--in-run")
            self._follow(self._start("label", "system1", command), "system1")
        self._train("system1")
        student = str(self.lab.system1_checkpoint)
        return self._examine(
            "system1",
            Paper("base1", str(BASE_STUDENT), "system1", SYSTEM1_TASKS, EXAM_PER_TASK),
            Paper("system1", student, "system1", SYSTEM1_TASKS, EXAM_PER_TASK),
            Paper("teacher_direct", str(TEACHER), "system1", ALL_TASKS, EXAM_PER_TASK),
        )

    def _lane2(self) -> dict[str, Marks]:
        self._train("system2")
        student = str(self.lab.system2_checkpoint)
        return self._examine(
            "system2",
            Paper("base2", str(BASE_STUDENT), "system2", SYSTEM2_TASKS, EXAM_PER_TASK),
            Paper("system2", student, "system2", SYSTEM2_TASKS, EXAM_PER_TASK),
            Paper("teacher", str(TEACHER), "system2", ALL_TASKS, EXAM_PER_TASK),
        )

    def _train(self, system: System) -> None:
        """Write the EasyDistill config and train from it with the built-in runtime."""
        write = write_system1_config if system == "system1" else write_system2_config
        with self._stage(f"train {system}"):
            config = write(self.lab, self.settings)
            started = run_easy_distill(
                config, lab=self.lab, runtime=self.settings.runtime, wait=False, name=SYSTEM_NAMES[system]
            )
            self._follow(self._own(started.run), system)

    def _examine(self, system: System, *papers: Paper) -> dict[str, Marks]:
        marks: dict[str, Marks] = {}

        def collect(event: Event) -> None:
            if isinstance(event, Examined):
                found = marks_of(event)
                marks[found.name] = found

        with self._stage(f"examine {system}"):
            command = python_command("qdl_engine.demo.exam", dump_papers(papers))
            self._follow(self._start("evaluate", system, command), system, collect)
        return marks

    def _start(self, kind: str, system: System, argv: list[str]) -> Run:
        run = create_run(self.lab, kind, system=system, argv=argv, env=ONE_THREAD)
        return self._own(start_run(run))

    def _own(self, run: Run) -> Run:
        """Remember a run so that `cancel` stops it; stop it here if it started during a cancel."""
        with self._lock:
            self._runs.append(run)
            cancelled = self._cancelled
        if cancelled:
            self.cancel()
        return run

    def _follow(self, run: Run, system: System, extra: EventSink = no_sink) -> None:
        """Wait for a run and pass its events on."""

        def sink(event: Event) -> None:
            extra(event)
            self._emit(replace(event, system=system))

        ended = wait_for(run, sink)
        if ended.state != "done":
            message = ended.message or f"it is {ended.state}"
            raise RunError(f"{run.title}: {message}", ended.hint or f"Its output is in {run.log_file}")

    def _emit(self, event: Event) -> None:
        """Send an event; the lock lets sinks ignore that the lanes are threads."""
        with self._lock:
            self.on_event(event)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.say(f"{_STAGES[name]} ...")
        yield
        self.stages[name] = time.monotonic() - began
        self.say(f"{_STAGES[name]}: done in {self.stages[name]:.0f} s")


def _figures(
    lab: Lab,
    marks: Mapping[str, Marks],
    name: str,
    directory: Path,
    before: str = "",
    simple: tuple[str, ...] = (),
) -> ModelFigures:
    if name not in marks:
        hint = f"Look at the output of the evaluate runs: qdl --lab {lab.word} runs"
        raise LabError(f"No exam result for {name}", hint)
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    return ModelFigures(marks[name], weights, marks.get(before), simple)
