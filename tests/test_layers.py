"""Imports run one way: a room imports rooms of its own layer and of those below it."""

import ast
from pathlib import Path

import pytest

import jaxbandit as jb

LAYERS = [
    {"checks", "extras"},
    {"precision"},
    {"linalg"},
    {"engine"},
    {"inference"},
    {"environments", "policies"},
    {"simulation", "bounds"},
    {"datasets", "ctr"},
    {"studies"},
    {"commands"},
    {"cli", "__main__"},
]
RANK = {folder: rank for rank, layer in enumerate(LAYERS) for folder in layer}
ROOT = Path(jb.__file__).parent


def imported(path):
    """The folders, or rooms at the top, that a file imports; those of the package itself too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxbandit"):
            parts = node.module.split(".")
            names = parts[1:2] or [alias.name for alias in node.names]
            yield from names


def rooms():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    beyond = {name for name in imported(path) if RANK.get(name, -1) > RANK[own]}
    assert beyond == set()


OF_THE_ENGINE = {"threads", "draws", "keep", "devices", "round_kernels"}
"""What inference may know of it: to read a posterior, one need not read how tiles are run."""


def test_inference_knows_little_of_the_engine():
    for path in (ROOT / "inference").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if node.module == "jaxbandit.engine":
                assert {alias.name for alias in node.names} <= OF_THE_ENGINE, path
            elif node.module.startswith("jaxbandit.engine."):
                assert node.module.split(".")[2] in OF_THE_ENGINE, path


def test_policies_and_simulation_know_no_bounds():
    for folder in ("policies", "environments", "simulation"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "bounds" not in imported(path), path
    for path in (ROOT / "bounds").rglob("*.py"):
        assert not {"policies", "simulation"} & set(imported(path)), path
