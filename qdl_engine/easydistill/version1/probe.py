"""What an interpreter has for EasyDistill 1.0's training, found by running it, away from any checkout."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NEEDED = ("torch", "transformers", "trl", "accelerate", "datasets", "jsonlines", "jinja2")
"""Modules that `kd/train.py` and its launcher import; 1.0 does not declare all of them."""
PINS = {"transformers": "4.51.1", "trl": "0.17.0", "tokenizers": "0.21.1"}
"""What 1.0's requirements ask for, as far as training goes."""
_SECONDS = 300

_PROBE = """
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
                [python, "-I", "-c", _PROBE, *needed],
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
