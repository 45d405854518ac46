"""Who may import whom: rooms and floors, no circle, nothing upwards, nothing heavy when imported.

Floors of `benchmark`, each of which sees itself and what is below: contract, ground (the modules
directly in the room), report, engine, commands, cli, and the root of the package. Plug-ins see the
contract and the ground.
"""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter

import pytest
from helpers import ROOT

ROOMS = ("upstreams", "downstreams", "tasks", "benchmark")
PUBLIC = ROOT / "benchmark" / "public"  # the root of the package: its imports start there
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
# all that may be imported at module level, beside the standard library
EARLY = {"numpy", "torch", "yaml", "pandas", "soundfile", "pydantic"}
GROUND = {"contract", "ground"}
SEES = {
    "contract": {"contract"},
    "ground": GROUND,
    "report": GROUND | {"report"},
    "engine": GROUND | {"report", "engine"},
    "commands": GROUND | {"report", "engine", "commands", "tasks"},
    "cli": {"ground", "commands"},
    "public": GROUND | {"report", "engine"},
    "upstreams": GROUND | {"upstreams"},
    "downstreams": GROUND | {"downstreams"},
    "tasks": GROUND | {"tasks", "downstreams"},
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p): p for p in FILES}


def floor(module):
    room, *rest = module.split(".")
    if room != "benchmark":
        return room
    inner = rest[0] if rest else ""
    return inner if inner in SEES else "ground"


@cache
def imports(module, typing=True):
    """{module of the house: the line that imports it}, wherever in the file that stands.

    Without `typing`, what stands below `if TYPE_CHECKING` is left out.
    """
    path, found = MODULES[module], {}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    above = [] if path.parent == PUBLIC else package.split(".")
    tree = ast.parse(path.read_text())
    for block in () if typing else [node for node in tree.body if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            tree.body.remove(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = above[: len(above) - node.level + 1]
            base = ".".join(start + ([node.module] if node.module else []))
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found[inner if inner in MODULES else base] = node.lineno
    return {target: line for target, line in found.items() if target != module}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_from_above(module):
    allowed = SEES[floor(module)]
    # bad input is one sentence on every floor
    wrong = [
        f"line {line}: {target}"
        for target, line in imports(module).items()
        if floor(target) not in allowed and target != "benchmark.errors"
    ]
    assert not wrong


def test_there_is_no_circle():
    """Imports inside functions count: a circle that waits for a call is one too."""
    order = TopologicalSorter({module: set(imports(module, typing=False)) for module in MODULES})
    assert len(list(order.static_order())) == len(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_imported_with_a_module(module):
    """Few packages, and the house's own modules by relative imports: one name for each."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert not (node.module or "").startswith("earlyexit_superb"), node.lineno
    for node in ast.parse(MODULES[module].read_text()).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for top in (name.split(".")[0] for name in names):
            assert top in EARLY or top in sys.stdlib_module_names, f"line {node.lineno}: {top}"


def test_every_folder_of_code_is_a_package():
    assert [p for p in FILES if not p.with_name("__init__.py").exists()] == []
