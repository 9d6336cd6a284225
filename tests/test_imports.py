"""Imports point one way, and what needs no torch does not import it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "polyrank"
TORCH_FREE = [
    "polyrank",
    "polyrank.cli",
    "polyrank.mcda",
    "polyrank.allocators",
    "polyrank.partitioners",
    "polyrank.criteria",
    "polyrank.datasets",
    "polyrank.planning.rank_plan",
    "polyrank.runs.loading",
    "polyrank.record.run_folder",
    "polyrank.report",
    "polyrank.report.live",
]
FORBIDDEN = {  # part -> what it must not know
    "mcda": {"allocators", "aggregators", "training", "federation", "engines", "cli", "settings"},
    "criteria": {"training", "federation", "engines", "cli", "settings"},
    "allocators": {"aggregators", "training", "federation", "engines", "cli", "settings"},
    "aggregators": {"training", "client", "federation", "engines", "cli", "settings", "checkpoint"},
    "partitioners": {"training", "federation", "engines", "cli", "settings"},
    "training.py": {"client", "federation", "engines", "cli", "checkpoint", "results"},
    "federation.py": {"engines", "cli", "checkpoint", "results", "client", "peft_bridge"},
    "engines": {"federation", "cli", "experiment", "results"},
    "report": {"federation", "engines", "training", "experiment", "aggregators"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def parts(path: Path) -> list[Path]:
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_point_one_way(part):
    files = parts(PACKAGE / part)
    assert files
    for file in files:
        known = {name.split(".")[1] for name in imported(file) if name.startswith("polyrank.")}
        assert not known & FORBIDDEN[part], file


def test_peft_and_bitsandbytes_are_imported_in_one_place_and_flower_by_its_engine():
    for file in PACKAGE.rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(file)}
        assert "peft" not in tops or file.parent.name == "peft_bridge", file
        assert "bitsandbytes" not in tops or file.name == "four_bit.py", file
        assert "flwr" not in tops or file.name == "flower.py", file


def test_what_needs_no_torch_does_not_import_it():
    code = f"import importlib, sys\nfor m in {TORCH_FREE}: importlib.import_module(m)\n"
    code += "print(sorted({'torch', 'peft', 'transformers', 'sklearn'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
