"""What an interpreter has for EasyDistill 1.0's training, found by running it, away from any checkout.

Which EasyDistill an interpreter has. Its version does not tell: 1.0 says 0.0.1, like the placeholder.
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

NEEDED = ("torch", "transformers", "trl", "accelerate", "datasets", "jsonlines", "jinja2")
"""Modules that `kd/train.py` and its launcher import; 1.0 does not declare all of them."""
PINS = {"transformers": "4.51.1", "trl": "0.17.0", "tokenizers": "0.21.1"}
"""What 1.0's requirements ask for, as far as training goes."""
_SECONDS = 300

_IMPORTS_PROBE = """
import importlib.metadata as metadata, importlib.util as util, json, sys
def there(name):
    try: return util.find_spec(name) is not None
    except (ImportError, ValueError): return False
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return ""
names = sys.argv[1:]
result = {"missing": [name for name in names if not there(name)], "deepspeed": there("deepspeed")}
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
class Interpreter:
    """What was found in one interpreter."""

    python: str
    version: str = ""
    """Python's own."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version by distribution, of those that are there."""
    missing: tuple[str, ...] = ()
    """Modules that training imports and this interpreter lacks."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that its torch can use."""
    bf16: bool = False
    """Whether all of them calculate in bf16."""
    deepspeed: bool = False
    training_keys: frozenset[str] = frozenset()
    """What its SFTConfig takes."""
    problem: str = ""
    """Why it cannot be run, or cannot import what it has; empty when it can."""

    @property
    def usable(self) -> bool:
        return not self.missing and not self.problem

    def install_command(self) -> str:
        """What a person types to get what is missing."""
        wanted = [f"{name}=={PINS[name]}" if name in PINS else name for name in self.missing]
        return f"{shlex.quote(self.python)} -m pip install {' '.join(wanted)}"


def probe(python: str, needed: Sequence[str] = NEEDED) -> Interpreter:
    """Look at an interpreter; takes as long as importing its model libraries does."""
    with tempfile.TemporaryDirectory() as neutral:
        try:
            shown = subprocess.run(
                [python, "-I", "-c", _IMPORTS_PROBE, *needed],
                cwd=neutral, capture_output=True, text=True, timeout=_SECONDS, check=True, errors="replace",
            )  # fmt: skip
            found = json.loads(shown.stdout.strip().rpartition("\n")[2])
        except OSError as error:
            return Interpreter(python, problem=f"it cannot be run: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Interpreter(python, problem=f"it did not answer within {_SECONDS} s")
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or [""])[-1]
            return Interpreter(python, problem=f"it ended with exit code {error.returncode}: {last}")
        except json.JSONDecodeError:
            return Interpreter(python, problem="it gave no answer: is it a Python?")
    return _interpreter(python, found)


def _interpreter(python: str, found: dict[str, Any]) -> Interpreter:
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


Kind = Literal["1.x", "2.x", "placeholder", "missing"]

HOME = "https://github.com/modelscope/easydistill"
TRAIN_SCRIPT = Path("easydistill/kd/train.py")
CHECKOUT = "easydistill-1.0"
"""What the steps call a checkout."""

# Runs in the other interpreter, isolated and away from any checkout, and imports nothing of EasyDistill.
_PROBE = """
import importlib.metadata as metadata, importlib.util as util, json, os, sys
def there(name):
    try: return util.find_spec(name) is not None
    except (ImportError, ValueError): return False
spec, result = util.find_spec("easydistill"), {}
if spec is not None:
    places = list(spec.submodule_search_locations or [])
    result["package"] = places[0] if places else os.path.dirname(spec.origin or "")
    try:
        result["version"] = metadata.version("easydistill")
        url = metadata.distribution("easydistill").read_text("direct_url.json")
        result["url"] = json.loads(url)["url"] if url else ""
    except metadata.PackageNotFoundError: pass
result["missing"] = [name for name in sys.argv[1:] if not there(name)]
print(json.dumps(result))
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
        """One line a person reads."""
        texts: dict[Kind, str] = {
            "1.x": f"EasyDistill 1.x at {self.checkout}" + (f" ({self.commit[:7]})" if self.commit else ""),
            "2.x": f"EasyDistill {self.version or '2.x'}, which dropped training",
            "placeholder": "the package index's easydistill, an empty placeholder from 2020",
            "missing": "not installed; the built-in runtime needs none",
        }
        lack = (
            f"; missing for training: {', '.join(self.missing)}"
            if self.kind == "1.x" and self.missing
            else ""
        )
        return texts[self.kind] + lack

    def cure(self) -> str:
        return (
            f"The real one: git clone -b 1.0 {HOME} {CHECKOUT}, then qdl easydistill check {CHECKOUT} says "
            "what else to type. Or set runtime.kind = builtin, which trains the same config."
        )


def steps_to_get_one(checkout: str = CHECKOUT) -> tuple[str, ...]:
    """What a person types to have an EasyDistill 1.0 that trains. `checkout` is a word of a shell.

    Not what its requirements say: they ask for vllm, which training does not import, and leave out three
    modules that it does.
    """
    python = f"{checkout}/.venv/bin/python"
    packages = [f"{name}=={PINS[name]}" if name in PINS else name for name in (*NEEDED, "tokenizers")]
    return (
        f"git clone -b 1.0 {HOME} {checkout}",
        f"python3.11 -m venv {checkout}/.venv",
        f"{python} -m pip install {' '.join(packages)}",
        f"qdl easydistill check {checkout} --python {python}",
    )


def find_easydistill(python: str | None = None) -> Installation:
    """Look for EasyDistill in `python`, by default the running interpreter.

    An interpreter that cannot be run has none; `explain` then says "missing".
    """
    python = python or sys.executable
    found = _probe(python)
    package = Path(found["package"]) if found.get("package") else None
    if package is None:
        return Installation("missing", missing=tuple(found.get("missing", ())), python=python)
    kind = kind_of(package)
    checkout = _checkout(package, str(found.get("url") or ""))
    return Installation(
        kind=kind,
        version=str(found.get("version") or ""),
        checkout=checkout,
        commit=commit_of(checkout) if checkout else "",
        missing=tuple(found.get("missing", ())),
        python=python,
    )


def _probe(python: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as neutral:
        try:
            shown = subprocess.run(
                [python, "-I", "-c", _PROBE, *NEEDED],
                cwd=neutral, capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            value = json.loads(shown.stdout)
        except (OSError, subprocess.SubprocessError, json.JSONDecodeError):
            return {}
    return value if isinstance(value, dict) else {}


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


def commit_of(checkout: Path) -> str:
    """The commit that is checked out; empty when it is no git checkout."""
    return _git(checkout, "rev-parse", "HEAD")


def changed_files(checkout: Path) -> list[str]:
    """Tracked files that are not as committed."""
    return [line[3:] for line in _git(checkout, "status", "--porcelain", "-uno").splitlines()]


def _git(checkout: Path, *words: str) -> str:
    if not (checkout / ".git").exists():
        # Not the commit of a repository that it happens to lie in.
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout.rstrip()
