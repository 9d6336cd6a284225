"""The map in ARCHITECTURE.md is the tree, imports follow its order, and torch stays out of parts.

Each line of the map may import what stands in the lines above it; one that begins
with "beside" stands level with the line above it, and neither may import the other.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "polyrank"
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


def read_map() -> list[dict[str, set[str]]]:
    """Return the lines of the map: part -> names of its modules, `*` for one file a method."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.partition("<!-- map -->")[2].partition("<!-- end of map -->")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    lines: list[dict[str, set[str]]] = []
    for parts, files, what in rows:
        names = re.findall(r"`([a-z_/]*[a-z_])(/?)`", parts)
        held = set(re.findall(r"[a-z0-9_]+|\*", files))
        if not what.startswith(" beside "):
            lines.append({})
        lines[-1] |= {name: held if folder else {name} for name, folder in names}
    return lines


MAP = read_map()
PLACE = {part: at for at, line in enumerate(MAP) for part in line}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {m.removesuffix(".__init__"): m for m in MODULES if m.endswith(".__init__")}


def part_of(module: str) -> str:
    _, *folders, last = module.split(".")
    return "/".join(folders) or last


def imported(path: Path) -> set[str]:
    """Return all that a file imports, at any place in it: modules by their full names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in PACKAGES.keys() | MODULES.keys() else node.module)
    return names


def of_polyrank(path: Path) -> set[str]:
    """Return the modules of the package that a file imports."""
    return {PACKAGES.get(name, name) for name in imported(path)} & MODULES.keys()


def test_the_map_names_every_file_and_no_other():
    for line in MAP:
        for part, held in line.items():
            folder = PACKAGE / part
            if not folder.is_dir():
                assert (PACKAGE / f"{part}.py").is_file(), f"the map has {part}, the tree has not"
                continue
            there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
            assert held - {"*"} <= there, f"{part}/: the map has {held - there - {'*'}}"
            assert "*" in held or there <= held, f"{part}/: not in the map: {there - held}"
            inner = {p.relative_to(PACKAGE).as_posix() for p in folder.iterdir() if p.is_dir()}
            assert inner <= {f"{part}/__pycache__", *PLACE}, part
    parts = {part_of(module) for module in MODULES}
    assert parts == PLACE.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_up_the_map(module):
    part = part_of(module)
    for other in map(part_of, of_polyrank(MODULES[module])):
        if other != part:
            assert PLACE[other] < PLACE[part], f"{module} imports {other}"


def test_no_two_modules_import_each_other_by_any_way_round():
    needs = {module: of_polyrank(path) for module, path in MODULES.items()}
    left = dict(needs)
    while free := [m for m, of in left.items() if not of & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_peft_bitsandbytes_and_nvflare_are_imported_in_one_place_each():
    for module, path in MODULES.items():
        tops = {name.split(".")[0] for name in imported(path)}
        assert "peft" not in tops or part_of(module) == "peft_bridge", module
        assert "bitsandbytes" not in tops or path.name == "four_bit.py", module
        assert "nvflare" not in tops or part_of(module) == "engines/nvflare", module


def test_a_run_is_imported_without_what_only_some_runs_need():
    """PEFT brings transformers and bitsandbytes, which take seconds."""
    code = "import sys, polyrank.api, polyrank.runs.simulation, polyrank.cli\n"
    code += "late = {'peft', 'transformers', 'plotly', 'bitsandbytes', 'accelerate', 'datasets'}\n"
    code += "print(sorted(late & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_needs_no_torch_does_not_import_it():
    code = f"import importlib, sys\nfor m in {TORCH_FREE}: importlib.import_module(m)\n"
    code += "print(sorted({'torch', 'peft', 'transformers', 'sklearn'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
