"""A lab on disk: every path in one place, absolute, and every write atomic.

Where the user's own settings are: apart from what reads them, which costs pydantic's 0.1 s.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import LabBusyError, LabError, SettingsError, writing

SETTINGS_FILE = "qdl.toml"


@dataclass(frozen=True)
class Lab:
    """One directory with a `qdl.toml`; all paths below it are made here and nowhere else."""

    root: Path

    @classmethod
    def at(cls, directory: str | os.PathLike[str]) -> Lab:
        """The lab rooted at `directory`, made absolute. The directory need not exist yet."""
        return cls(Path(directory).expanduser().absolute())

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Lab:
        """An existing lab.

        Raises:
            SettingsError: when there is no `qdl.toml` in `directory`.
        """
        lab = cls.at(directory)
        if not lab.settings_file.is_file():
            raise SettingsError(f"No lab at {lab.root}", f"Make one: qdl --lab {lab.word} init")
        return lab

    @property
    def word(self) -> str:
        """The lab's place as one word of a command line that a person copies into a shell."""
        return shlex.quote(str(self.root))

    @property
    def settings_file(self) -> Path:
        """`qdl.toml`."""
        return self.root / SETTINGS_FILE

    @property
    def settings_backup(self) -> Path:
        """The settings as they were before an import."""
        return self.root / f"{SETTINGS_FILE}.bak"

    @property
    def data(self) -> Path:
        """Prepared rows, answers and reports."""
        return self.root / "data"

    @property
    def configs(self) -> Path:
        """EasyDistill configs and the templates they name."""
        return self.root / "configs"

    @property
    def runs(self) -> Path:
        """One directory for each run."""
        return self.root / "runs"

    @property
    def comparisons(self) -> Path:
        """Saved comparisons, votes and exports."""
        return self.root / "comparisons"

    @property
    def votes(self) -> Path:
        """Votes on answers, one a line, append-only."""
        return self.comparisons / "votes.jsonl"

    @property
    def exports(self) -> Path:
        """Where the app writes a comparison that is to be handed on."""
        return self.comparisons / "exports"

    @property
    def logs(self) -> Path:
        """Where tracebacks go that no person should have to read on the screen."""
        return self.root / "logs"

    @property
    def train_instructions(self) -> Path:
        """Prepared System 1 rows; what the teacher labels."""
        return self.data / "train_instructions.json"

    @property
    def train_labeled(self) -> Path:
        """System 1 rows with the answers to train on."""
        return self.data / "train_labeled.json"

    @property
    def omnithought_cot(self) -> Path:
        """Prepared System 2 rows: instruction, reasoning and answer."""
        return self.data / "omnithought_cot.json"

    @property
    def label_cache(self) -> Path:
        """The teacher's answers, one a line, in the order they came."""
        return self.data / "labels.jsonl"

    @property
    def scored_chains(self) -> Path:
        """Chains with the levels that a judge gave them: a source for System 2."""
        return self.data / "scored_chains.jsonl"

    @property
    def score_report(self) -> Path:
        """What the last scoring did."""
        return self.data / "score_report.json"

    @property
    def easydistill2(self) -> Path:
        """Keeps what EasyDistill 2.x was asked and what it answered."""
        return self.data / "easydistill2"

    @property
    def label_report(self) -> Path:
        """What the last labelling did."""
        return self.data / "label_report.json"

    @property
    def sample_prompts(self) -> Path:
        """The prompts that `qdl compare` asks."""
        return self.root / "sample_prompts.txt"

    @property
    def system1_checkpoint(self) -> Path:
        """The System 1 student."""
        return self.root / "distilled-qwen2.5-0.5b"

    @property
    def system2_checkpoint(self) -> Path:
        """The System 2 student."""
        return self.root / "distilled-qwen2.5-1.5b-cot"

    def checkpoint(self, system: str) -> Path:
        """The student of `system1` or `system2`."""
        return self.system1_checkpoint if system == "system1" else self.system2_checkpoint

    def training_data(self, system: str) -> Path:
        """The file that a system trains on."""
        return self.train_labeled if system == "system1" else self.omnithought_cot

    def report_file(self, system: str) -> Path:
        """The report of a system's last preparation."""
        return self.data / f"{system}_report.json"

    def token_counts_file(self, system: str) -> Path:
        """Tokens of each prepared row, so that preflight counts them once."""
        return self.data / f"{system}_tokens.json"

    @property
    def labels_record(self) -> Path:
        """Of which instructions the labels are."""
        return self.data / "system1_labels.json"

    def template_file(self, system: str) -> Path:
        """The prompt template that a system's configs name."""
        return self.configs / f"{system}_template.jinja"

    def config_file(self, system: str, config_id: str) -> Path:
        """The config with this id."""
        kind = "black_box" if system == "system1" else "cot"
        return self.configs / f"kd_{kind}_{config_id}.json"

    def create_directories(self) -> None:
        """Make every directory of the lab that does not exist yet."""
        for directory in (self.data, self.configs, self.runs, self.comparisons):
            directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writer_lock(self, purpose: str) -> Iterator[None]:
        """Hold the lab's one writer's lock while preparing or labelling.

        The lock is the kernel's (`flock`), so a killed holder never leaves it taken.

        Raises:
            LabBusyError: when another process holds it; the message names that process and its purpose.
        """
        import fcntl

        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".qdl.lock", "a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as busy:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise LabBusyError(
                    f"The lab at {self.root} is being written by {holder}",
                    "Wait for it, or stop that process.",
                ) from busy
            handle.seek(0)
            handle.truncate()
            with writing(handle.name):
                handle.write(f"process {os.getpid()} ({purpose})")
                handle.flush()
            try:
                yield
            finally:
                handle.seek(0)
                handle.truncate()


def write_text_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` so that a reader sees the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        # A person knows the file by its own name.
        error.filename = os.fspath(path)
        raise
    try:
        with writing(path), os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json_atomic(path: Path, value: Any) -> None:
    """Write one JSON document atomically, as UTF-8 that a person can read."""
    write_text_atomic(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        LabError: naming the file and the line where it stops being JSON.
    """
    try:
        # A byte order mark is how some editors begin a file.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as missing:
        raise LabError(f"File not found: {path}") from missing
    except IsADirectoryError as directory:
        raise LabError(f"Not a file: {path}", "It is a directory.") from directory
    except (ValueError, RecursionError) as broken:
        # Not JSON, not UTF-8, a number of thousands of digits, or nested without end.
        raise LabError(f"Not valid JSON: {path}: {broken}", "Repair the file, or make it again.") from broken


def user_settings_file() -> Path:
    """The settings file of the user; XDG_CONFIG_HOME moves it."""
    from platformdirs import user_config_path

    return user_config_path("qdl") / "settings.toml"
