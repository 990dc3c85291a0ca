"""The house: what importing costs, who may import whom, and that everything public is explained."""

import ast
import inspect
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

ROOT = Path(tg.__file__).parent

FLOORS = {
    "ops": 1, "random": 1, "state": 1, "sources": 1, "locks": 1, "trees": 1, "heap": 1,
    "elsewhere": 1,
    "tape": 2, "protocols": 2, "writes": 3, "arrays": 3, "methods": 3,
    "backpropagation": 4, "tensors": 5,
    "listing": 6, "observing": 6,
    "autodiff": 7, "checkpointing": 7, "checks": 7, "anomaly": 7, "files": 7,
    "nn": 8, "optim": 8,
    "draw": 9, "compiler": 9, "convert": 9, "data": 9,
    "train": 10,
    "tasks": 11,
    "__init__": 12, "cli": 13, "__main__": 14,
}  # fmt: skip
"""A module imports from lower floors, and from its own folder; the package's __init__ from anywhere."""

MODULES = [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms of this package that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [a.name.split(".") for a in node.names]
            found |= {n[1] if len(n) > 1 else "__init__" for n in names if n[0] == ROOT.name}
        if isinstance(node, ast.ImportFrom):
            absolute = (node.module or "").split(".") if not node.level else []
            if node.level:
                folder = (ROOT.name, *path.relative_to(ROOT).parent.parts)
                base = folder[: len(folder) - node.level + 1]
                absolute = [*base, *(node.module.split(".") if node.module else [])]
            if absolute[:1] == [ROOT.name]:
                found |= {absolute[1]} if len(absolute) > 1 else {a.name for a in node.names}
    return {
        name if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file() else "__init__" for name in found
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    mine = room(path)
    assert mine in FLOORS, f"{mine} has no floor yet: give it one in this test"
    for other in imports(path) - {mine}:
        assert other in FLOORS, f"{path} imports {other}, which is no room"
        assert FLOORS[other] < FLOORS[mine], f"{mine} imports {other}, which is not below it"


def test_the_imports_are_seen() -> None:
    """The reading of import statements above finds each form of them."""
    assert {"ops", "state"} <= imports(ROOT / "tape.py")
    assert imports(ROOT / "checkpointing.py") == {
        "backpropagation", "observing", "ops", "random", "state", "tape", "tensors", "trees",
    }  # fmt: skip
    assert imports(ROOT / "ops" / "shape.py") == {"ops"}


def test_ops_knows_numpy_and_nothing_else() -> None:
    for path in (ROOT / "ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in {"numpy", *sys.stdlib_module_names}
            assert not isinstance(node, ast.ImportFrom) or node.level <= 1


def test_importing_needs_numpy_alone() -> None:
    code = (
        "import sys, numpy.random; before = set(sys.modules); import tinygrad_rnn as tg; "
        "tg.tanh(tg.tensor([1.0], requires_grad=True)).backward(); "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    foreign = set(run.stdout.split()) - sys.stdlib_module_names - {"numpy", "tinygrad_rnn"}
    assert not foreign


def test_importing_leaves_numpys_lazy_parts_alone() -> None:
    """numpy.random alone is a sixth of NumPy's own import time."""
    code = "import sys, numpy; import tinygrad_rnn; sys.exit('numpy.random' in sys.modules)"
    already = subprocess.run(
        [sys.executable, "-c", "import sys, numpy; sys.exit('numpy.random' in sys.modules)"]
    )
    if already.returncode:
        pytest.skip("this NumPy imports numpy.random by itself")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent).returncode == 0


def test_rooms_load_when_they_are_named() -> None:
    code = (
        "import sys, tinygrad_rnn as tg; assert 'tinygrad_rnn.nn' not in sys.modules; "
        "assert 'nn' in dir(tg); tg.nn; assert 'tinygrad_rnn.nn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
    with pytest.raises(AttributeError, match="module 'tinygrad_rnn' has no attribute 'nothing'"):
        _ = tg.nothing


PUBLIC = [name for name in dir(tg) if not name.startswith("_") and name not in tg._ROOMS]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(tg, name)
    if name in ("annotations", "Any", "importlib"):
        return
    assert inspect.getdoc(value)
    if isinstance(value, type) and not isinstance(value, types.ModuleType):
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and callable(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"


def test_what_the_package_promises_is_there() -> None:
    promised = (
        "tensor Tensor no_grad enable_grad scope Tape gradcheck gradgradcheck manual_seed default_generator "
        "get_default_dtype set_default_dtype"
    )
    assert set(promised.split()) <= set(PUBLIC)
    assert not any(isinstance(getattr(tg, name), types.ModuleType) for name in PUBLIC)
    for name, p in tg.ops.REGISTRY.items():
        if name not in ("scatter", "assign", "contract"):  # the parts that others are made of
            assert getattr(tg, name) is p
    assert tg.__version__.count(".") == 2
    assert (ROOT / "py.typed").exists()  # so that type checkers of those who import it read its annotations


def test_primitives_take_arrays_to_arrays() -> None:
    y = tg.tanh(np.zeros(3))
    assert type(y) is np.ndarray
