"""Which EasyDistill an interpreter has, and what it has of the packages that 1.0's training imports.

The version does not tell: 1.0 declares 0.0.1, like the placeholder on the package index. The files do. Probes
run in the other interpreter, isolated and away from any checkout.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["1.x", "2.x", "placeholder", "missing"]

HOME = "https://github.com/modelscope/easydistill"
TRAIN_SCRIPT = Path("easydistill/kd/train.py")
CHECKOUT = "easydistill-1.0"
"""The directory of a checkout in the steps that a person types."""
NEEDED = ("torch", "transformers", "trl", "accelerate", "datasets", "jsonlines", "jinja2")
"""Modules that `kd/train.py` and its launcher import; 1.0 does not declare all of them."""
PINS = {"transformers": "4.51.1", "trl": "0.17.0", "tokenizers": "0.21.1"}
"""The versions that 1.0's requirements ask for, of what training imports."""
_SECONDS = 300

_COMMON = """
import importlib.metadata as metadata, importlib.util as util, json, os, sys
def there(name):
    try: return util.find_spec(name) is not None
    except (ImportError, ValueError): return False
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return ""
names = sys.argv[1:]
result = {"missing": [name for name in names if not there(name)]}
"""
# Imports nothing of EasyDistill.
_INSTALLATION_PROBE = """
spec = util.find_spec("easydistill")
if spec is not None:
    places = list(spec.submodule_search_locations or [])
    result["package"] = places[0] if places else os.path.dirname(spec.origin or "")
    result["version"] = version("easydistill")
    if result["version"]:
        url = metadata.distribution("easydistill").read_text("direct_url.json")
        result["url"] = json.loads(url)["url"] if url else ""
print(json.dumps(result))
"""
_INTERPRETER_PROBE = """
result["deepspeed"] = there("deepspeed")
names += ["tokenizers", "deepspeed", "vllm"]
result["versions"] = {name: version(name) for name in names if version(name)}
result["python"] = sys.version.split()[0]
if not result["missing"]:
    try:
        import dataclasses, torch
        from trl import SFTConfig, SFTTrainer
        result["keys"] = [field.name for field in dataclasses.fields(SFTConfig)]
        count = torch.cuda.device_count()
        result["gpus"] = [torch.cuda.get_device_name(at) for at in range(count)]
        powers = [torch.cuda.get_device_capability(at) for at in range(count)]
        result["bf16"] = count > 0 and min(powers) >= (8, 0)
    except Exception as error:
        result["problem"] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(result))
"""


@dataclass(frozen=True)
class Installation:
    """What an interpreter has under the name easydistill."""

    kind: Kind
    version: str = ""
    checkout: Path | None = None
    commit: str = ""
    missing: tuple[str, ...] = ()
    """Modules that 1.x training imports and this interpreter lacks."""
    python: str = ""

    def explain(self) -> str:
        """What it is, in one line."""
        texts: dict[Kind, str] = {
            "1.x": f"EasyDistill 1.x at {self.checkout}" + (f" ({self.commit[:7]})" if self.commit else ""),
            "2.x": f"EasyDistill {self.version or '2.x'}, which dropped training",
            "placeholder": "the package index's easydistill, an empty placeholder from 2020",
            "missing": "not installed; the built-in runtime does not need it",
        }
        lacks = self.missing if self.kind == "1.x" else ()
        return texts[self.kind] + (f"; missing for training: {', '.join(lacks)}" if lacks else "")

    def cure(self) -> str:
        """How to get an EasyDistill that trains, or do without."""
        return (
            f"To get it: git clone -b 1.0 {HOME} {CHECKOUT}, then qdl easydistill check {CHECKOUT} tells "
            "what else to type. Or set runtime.kind = builtin, which trains the same config."
        )


def find_easydistill(python: str | None = None) -> Installation:
    """The EasyDistill of `python`, by default of the running interpreter.

    For an interpreter that cannot be run, the kind is "missing".
    """
    python = python or sys.executable
    try:
        found = _ask(python, _INSTALLATION_PROBE, NEEDED, seconds=60)
    except _NoAnswerError:
        return Installation("missing", python=python)
    missing = tuple(found["missing"])
    if not found.get("package"):
        return Installation("missing", missing=missing, python=python)
    package = Path(found["package"])
    checkout = _checkout(package, str(found.get("url") or ""))
    return Installation(
        kind=kind_of(package),
        version=str(found.get("version") or ""),
        checkout=checkout,
        commit=commit_of(checkout) if checkout else "",
        missing=missing,
        python=python,
    )


def kind_of(package: Path) -> Kind:
    """What a directory named easydistill holds."""
    if not (package / "__init__.py").is_file():
        return "missing"
    if (package / "cli" / "__init__.py").is_file():
        return "2.x"
    return "1.x" if (package / "cli.py").is_file() else "placeholder"


def _checkout(package: Path, url: str) -> Path | None:
    for root in (Path(url.removeprefix("file://")) if url.startswith("file://") else None, package.parent):
        if root is not None and (root / TRAIN_SCRIPT).is_file():
            return root
    return None


def steps_to_get_one(checkout: str = CHECKOUT) -> tuple[str, ...]:
    """The commands that install an EasyDistill 1.0 that trains. `checkout` is quoted for a shell.

    They differ from its requirements, which ask for vllm although training does not import it, and leave out
    three modules that training imports.
    """
    python = f"{checkout}/.venv/bin/python"
    packages = [f"{name}=={PINS[name]}" if name in PINS else name for name in (*NEEDED, "tokenizers")]
    return (
        f"git clone -b 1.0 {HOME} {checkout}",
        f"python3.11 -m venv {checkout}/.venv",
        f"{python} -m pip install {' '.join(packages)}",
        f"qdl easydistill check {checkout} --python {python}",
    )


@dataclass(frozen=True)
class Interpreter:
    """What one interpreter has."""

    python: str
    version: str = ""
    """The version of Python."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version by distribution, of those installed."""
    missing: tuple[str, ...] = ()
    """Modules that training imports and this interpreter lacks."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that its torch can use."""
    bf16: bool = False
    """Whether all of them compute in bf16."""
    deepspeed: bool = False
    training_keys: frozenset[str] = frozenset()
    """The keys that its SFTConfig takes."""
    problem: str = ""
    """Why it cannot be run, or cannot import what it has."""

    @property
    def usable(self) -> bool:
        """Whether it can train: nothing is missing."""
        return not self.missing and not self.problem

    def install_command(self) -> str:
        """The command that installs what is missing."""
        wanted = [f"{name}=={PINS[name]}" if name in PINS else name for name in self.missing]
        return f"{shlex.quote(self.python)} -m pip install {' '.join(wanted)}"


def probe(python: str, needed: Sequence[str] = NEEDED) -> Interpreter:
    """Examine an interpreter; this imports its model libraries, which may take a minute."""
    try:
        found = _ask(python, _INTERPRETER_PROBE, needed, seconds=_SECONDS)
    except _NoAnswerError as error:
        return Interpreter(python, problem=str(error))
    return Interpreter(
        python=python,
        version=str(found["python"]),
        versions=dict(found["versions"]),
        missing=tuple(found["missing"]),
        gpus=tuple(found.get("gpus", ())),
        bf16=bool(found.get("bf16")),
        deepspeed=bool(found["deepspeed"]),
        training_keys=frozenset(found.get("keys", ())),
        problem=str(found.get("problem", "")),
    )


class _NoAnswerError(Exception):
    """Why an interpreter did not answer a probe, in words."""


def _ask(python: str, script: str, names: Sequence[str], *, seconds: int) -> dict[str, Any]:
    """What a probe prints in its last line, run in `python`.

    Raises:
        _NoAnswerError: when it printed no JSON object.
    """
    with tempfile.TemporaryDirectory() as neutral:
        try:
            shown = subprocess.run(
                [python, "-I", "-c", _COMMON + script, *names],
                cwd=neutral, capture_output=True, text=True, timeout=seconds, check=True, errors="replace",
            )  # fmt: skip
            value = json.loads(shown.stdout.strip().rpartition("\n")[2])
        except OSError as error:
            raise _NoAnswerError(f"it cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise _NoAnswerError(f"it did not answer within {seconds} s") from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or [""])[-1]
            raise _NoAnswerError(f"it ended with exit code {error.returncode}: {last}") from error
        except json.JSONDecodeError as error:
            raise _NoAnswerError("it gave no answer: is it a Python?") from error
    if not isinstance(value, dict):
        raise _NoAnswerError("it gave no answer: is it a Python?")
    return value


def commit_of(checkout: Path) -> str:
    """The commit that is checked out; empty for what is not a git checkout."""
    return _git(checkout, "rev-parse", "HEAD")


def changed_files(checkout: Path) -> list[str]:
    """Tracked files that differ from the commit."""
    return [line[3:] for line in _git(checkout, "status", "--porcelain", "-uno").splitlines()]


def _git(checkout: Path, *words: str) -> str:
    if not (checkout / ".git").exists():
        # git would answer for a repository further up.
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout.rstrip()
