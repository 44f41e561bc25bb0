"""What costs nothing must stay free: imports are lazy, and layers only look down."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import qdl_engine

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "trl",
    "peft",
    "accelerate",
    "pyarrow",
    "numpy",
    "textual",
    "rich",
    "pydantic",
}
MODELS = HEAVY - {"pydantic"}


def loaded_after(code: str) -> set[str]:
    """The top-level modules in memory after `code`, in a fresh interpreter."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(shown.stdout.splitlines()[-1]))


def cli(word: str) -> str:
    """Code that runs `qdl word`, which ends the interpreter by itself."""
    quiet = "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):"
    return f"import contextlib, io\nfrom qdl_engine.cli import main\n{quiet} main(['{word}'])"


@pytest.mark.parametrize(
    "code",
    [
        "import qdl_engine",
        "import qdl_engine.runs, qdl_engine.core.words, qdl_engine.lab_state.status",
        cli("--version"),
        cli("--help"),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert not loaded_after(code) & HEAVY


@pytest.mark.parametrize(
    "code", [cli("--version"), cli("--version").replace("qdl_engine.cli", "qdl_tui.__main__")]
)
def test_the_version_costs_no_grammar_of_commands(code: str) -> None:
    script = f"{code}\nimport sys\nprint([name for name in sys.modules if name.startswith('qdl_')])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(shown.stdout)) <= {
        "qdl_engine",
        "qdl_engine.cli",
        "qdl_engine.cli.streams",
        "qdl_tui",
        "qdl_tui.__main__",
    }


def test_settings_and_doctor_need_no_model_library() -> None:
    code = (
        "import qdl_engine.settings.toml, qdl_engine.lab_state.doctor\n"
        "import qdl_engine.config.write, qdl_engine.compare.comparison"
    )
    assert not loaded_after(code) & MODELS


def test_every_public_name_is_defined_in_its_home() -> None:
    """Read, not imported: importing them all takes torch."""
    for name, home in qdl_engine._HOMES.items():
        spec = importlib.util.find_spec(home)
        assert spec is not None and spec.origin is not None, home
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        assert name in _names_of(tree), f"{home} has no {name}"


def _names_of(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def test_public_names_are_complete_and_lazy() -> None:
    assert set(qdl_engine.__all__) == {*qdl_engine._HOMES, "__version__"}
    assert set(qdl_engine.__all__) <= set(dir(qdl_engine))
    assert qdl_engine.format_prompt("x").startswith("<|im_start|>system")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = qdl_engine.no_such_name


def test_the_version_is_the_packages() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{qdl_engine.__version__}"\n' in text


def test_the_engine_never_imports_the_app_or_its_libraries() -> None:
    for path in Path(qdl_engine.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"textual", "rich", "qdl_tui"}, path
