"""Which EasyDistill an interpreter has. Its version does not tell: 1.0 says 0.0.1, like the placeholder."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qdl_engine.easydistill.version1.probe import NEEDED, PINS

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
