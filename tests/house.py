"""Measures the code as a house: `python -m tests.house [CHECKOUT] [--walk] [--json]`.

Two checkouts measured by it can be compared. Static figures come from the syntax trees, with the imports
inside functions and under `TYPE_CHECKING`. `--walk` trains the demo's System 2 in CHECKOUT, profiled from
its config to the first batch, and counts the modules that its rows walk through.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

PACKAGES = ("qdl_engine", "qdl_tui")
Graph = dict[str, set[str]]


def module_name(path: Path, root: Path) -> str:
    return str(path.relative_to(root).with_suffix("")).replace("/", ".").removesuffix(".__init__")


def import_graph(trees: dict[str, ast.Module]) -> Graph:
    """Which module imports which, wherever in the file the import stands."""
    graph: Graph = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    graph[name].add(inner if inner in trees else node.module)
            elif isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names)
        graph[name] = {target for target in graph[name] if target in trees and target != name}
    return graph


def folder_of(module: str) -> str:
    """`qdl_engine.data` for `qdl_engine.data.prepare`; a loose file is a room of its own."""
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[int]:
    """Sizes of the strongly connected components of more than one node (Tarjan, 1972), largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    sizes: list[int] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            size = 0
            while True:
                size += 1
                if stack.pop() == node:
                    break
            if size > 1:
                sizes.append(size)

    sys.setrecursionlimit(10_000)
    for node in graph:
        if node not in index:
            visit(node)
    return sorted(sizes, reverse=True)


def measure(root: Path) -> dict[str, object]:
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    texts = {module_name(path, root): path.read_text(encoding="utf-8") for path in paths}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lines = {name: text.count("\n") for name, text in texts.items()}
    folders = {module_name(path.parent / "__init__.py", root) for path in paths}
    graph = import_graph(trees)
    by_folder: Graph = defaultdict(set)
    for module, targets in graph.items():
        here = folder_of(module)
        by_folder[here] |= {folder_of(target) for target in targets} - {here, *PACKAGES}
    rooms = {room: {t for t in targets if t in by_folder} for room, targets in by_folder.items()}
    functions = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)
    public = [node for node in functions if not node.name.startswith("_")]
    whole = [count for name, count in lines.items() if count > 15]
    comments = sum(len(re.findall(r"^\s*#", text, re.M)) for text in texts.values())
    per_folder: dict[str, int] = defaultdict(int)
    for module in trees:
        per_folder[module.rpartition(".")[0] or module] += 1
    importers: Graph = defaultdict(set)
    for module, targets in graph.items():
        for target in targets:
            importers[target].add(module)
    tests = [p for p in (root / "tests").rglob("*.py") if p.name != "house.py"]
    total = sum(lines.values())
    return {
        "modules": len(trees),
        "lines": total,
        "module lines, median": statistics.median(whole),
        "module lines, longest": max(whole),
        "loose files": sum(1 for module in trees if module.count(".") == 1 and module not in folders),
        "most modules in a folder": max(per_folder.values()),
        "modules with one importer": sum(1 for found in importers.values() if len(found) == 1),
        "imports inside functions": sum(
            isinstance(inner, ast.ImportFrom | ast.Import) for node in functions for inner in ast.walk(node)
        ),
        "functions": len(lengths),
        "function lines, median": statistics.median(lengths),
        "function lines, p90": lengths[int(len(lengths) * 0.9)],
        "function lines, longest": lengths[-1],
        "public functions with a docstring, %": round(100 * sum(map(_documented, public)) / len(public)),
        "comment lines per 100": round(100 * comments / total, 1),
        "circles of files": circles(graph),
        "circles of folders": circles(rooms),
        "arrows between folders": sum(map(len, rooms.values())),
        "files that write the key rv_min": _files_with(texts, r"\brv_min\b"),
        "files that write the event field gpu_memory": _files_with(texts, r"\bgpu_memory(_bytes)?\b"),
        "lines of tests": sum(path.read_text(encoding="utf-8").count("\n") for path in tests),
    }


def _documented(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(node) is not None


def _files_with(texts: dict[str, str], pattern: str) -> int:
    return sum(1 for text in texts.values() if re.search(pattern, text))


_PROFILED = """
import runpy, sys
rooms, steps, last = [], [0], [None]
def seen(frame, event, arg):
    name = frame.f_globals.get('__name__') or ''
    if event != 'call' or not name.startswith('qdl_engine.') or frame.f_code.co_name == '<module>':
        return
    if name != last[0]:
        steps[0] += 1
        last[0] = name
        if name not in rooms:
            rooms.append(name)
import torch
forward = torch.nn.Module.__call__
def first(*args, **kwargs):
    sys.setprofile(None)
    print('WALK', len(rooms), steps[0], ' '.join(rooms))
    sys.stdout.flush()
    import os
    os._exit(0)
torch.nn.Module.__call__ = first
sys.argv = ['trainer', '--config', sys.argv[1]]
sys.setprofile(seen)
runpy.run_module('qdl_engine.trainer', run_name='__main__')
"""


def walk(root: Path) -> dict[str, object]:
    """The modules between a config and its first forward pass, and the changes of module on the way."""
    env = {**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        lab = Path(place, "lab")
        make = (
            "import sys, qdl_engine\nfrom qdl_engine.demo.lab import create_demo_lab\n"
            "lab = create_demo_lab(sys.argv[1])\nqdl_engine.prepare_system2_dataset(lab)\n"
            "print(qdl_engine.write_system2_config(lab))\n"
        )
        made = subprocess.run(
            [sys.executable, "-c", make, str(lab)],
            env=env,
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            return {"row": made.stderr.strip().splitlines()[-1]}
        config = made.stdout.split()[-1]
        done = subprocess.run(
            [sys.executable, "-c", _PROFILED, config],
            env=env,
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^WALK (\d+) (\d+) (.*)$", done.stdout, re.M)
        if found is None:
            return {"row": (done.stderr.strip().splitlines() or ["no walk"])[-1]}
        return {
            "modules from a config to its first batch": int(found[1]),
            "changes of module on the way": int(found[2]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--walk", action="store_true", help="also train one batch and count the rooms on the way"
    )
    given = parser.parse_args()
    figures = measure(given.checkout.resolve())
    if given.walk:
        figures |= walk(given.checkout.resolve())
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:<45} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
