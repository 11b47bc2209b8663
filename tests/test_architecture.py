"""The plan of the house: imports go one way, names have one meaning, normalizations have one shape."""

import ast
import functools
import importlib
import itertools
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

from tinygrad_norm import nn, normalization
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.learn.skeleton import TEMPLATE
from tinygrad_norm.normalization import functions
from tinygrad_norm.registry import REGISTRY

PACKAGE = Path(__file__).parent.parent / "tinygrad_norm"
FILES = sorted(PACKAGE.rglob("*.py"))

# A layer imports from those before it, and from itself; on one line, they do not know each other.
LAYERS = [
    ["files", "suggestions", "not_here", "backends"],
    ["autograd"],
    ["registry"],
    ["ops"],
    ["module_backward_hooks", "module_registry", "module_state", "parameter"],
    ["module_hooks"],
    ["module"],
    ["distributed"],
    ["normalization"],
    ["nn"],
    ["optim", "data"],
    ["gradient_check"],
    ["proof"],
    ["training", "learn", "onnx"],
    ["bench", "experiments", "explore"],
    ["cli"],
    ["__init__"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes(path):
    """Every node of the file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imported(path):
    """Every module that the file imports, by absolute name, and the line."""
    package = ["tinygrad_norm", *path.relative_to(PACKAGE).parent.parts]
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def test_every_part_of_the_package_has_its_place():
    assert {layer_of(path) for path in FILES} <= set(RANK)


def test_imports_go_one_way():
    wrong = []
    for path in FILES:
        own = layer_of(path)
        for name, line in imported(path):
            if name.startswith("tinygrad_norm."):
                other = name.split(".")[1]
                other = other if other in RANK else "__init__"
                if other != own and RANK[other] >= RANK[own]:
                    wrong.append(f"{path.name}:{line}: {own} imports from {other}, above or beside it")
    assert not wrong, "\n".join(wrong)


# backends/__init__ is the switch that cuda/capture.py asks too
PACKAGES = sorted({layer_of(path) for path in FILES if path.parent != PACKAGE} - {"backends"})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_in_a_circle(package):
    """Nor do those inside functions, or for type checking only."""
    paths = [path for path in FILES if layer_of(path) == package]
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in paths}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {}
    for name, path in names.items():
        found = [[n for n in names if f"{other}.".startswith(f"{n}.")] for other, _ in imported(path)]
        graph[name] = {max(candidates, key=len) for candidates in found if candidates} - {name}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_only_backends_know_cupy():
    asking = [
        path.name
        for path in FILES
        if layer_of(path) != "backends"
        and (
            any(name.split(".")[0] == "cupy" for name, _ in imported(path))
            or any(isinstance(node, ast.Name) and node.id == "cupy" for node in nodes(path))
        )
    ]
    assert not asking, f"{asking} ask for CuPy: that is the work of backends"


# -- one name, one meaning


def test_no_two_files_share_a_name():
    """Except for a kernel beside its Python file, and a command of cli/ named after what it runs."""
    named = defaultdict(list)
    for path in (*FILES, *PACKAGE.rglob("*.cu"), *PACKAGE.rglob("*.cuh")):
        place = path.with_suffix("")
        if path.stem not in ("__init__", "__main__") and place not in named[path.stem]:
            named[path.stem].append(place)
    for places in named.values():
        below = [place for place in places if place.parent != PACKAGE / "cli"]
        assert len(below) <= 1, (
            f"files with one name: {', '.join(str(p.relative_to(PACKAGE)) for p in places)}"
        )


def test_no_module_is_shadowed_by_what_its_package_imports():
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        *parents, name = parts[:-1] if parts[-1] == "__init__" else parts
        held = getattr(importlib.import_module(".".join(parents)), name, None) if parents else None
        assert held is None or isinstance(held, ModuleType), f"{name} of {'.'.join(parents)} is {held}"


def test_the_map_of_tests_mirrors_the_package():
    tests = PACKAGE.parent / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    own = sorted(str(folder) for folder in folders if not (PACKAGE / folder).is_dir())
    assert own == ["libraries", "reliability", "site"]


# -- the shape of a normalization

SECTIONS = ["composed", "forward and backward", "Function", "function", "Module", "register"]
FUNCTIONS_ONLY = {  # as in PyTorch; in nn
    *(
        "normalize",
        "adagroupnorm",
        "adalayernorm",
        "cosinelinear",
        "memoryefficient",
        "weightdemodulation",
        "magnitudepreserving",
    ),
}
NORMALIZATIONS = [
    pytest.param(path, id=path.stem)
    for path in FILES
    if layer_of(path) == "normalization" and "\nregister(" in path.read_text()
]


def sections(path):
    """The section of every public top-level definition, in the file's order."""
    for node in ast.parse(path.read_text()).body:
        name = getattr(node, "name", "")
        if isinstance(node, ast.FunctionDef) and not name.startswith("_"):
            if name.endswith("_composed"):
                yield "composed"
            elif any(ast.unparse(decorator) == "kernel" for decorator in node.decorator_list):
                assert name.endswith(("_forward", "_backward")), f"kernel {name} is neither"
                yield "forward and backward"
            elif name.endswith("_rows"):  # a body that another normalization runs too
                yield "forward and backward"
            elif not name.endswith(("_cuda", "_loop")):
                yield "function"
        elif isinstance(node, ast.ClassDef) and not name.startswith("_"):
            yield "Function" if name.endswith("Function") else "Module"
        elif isinstance(node, ast.Expr) and ast.unparse(node).startswith("register("):
            yield "register"


@pytest.mark.parametrize("path", [*NORMALIZATIONS, TEMPLATE])
def test_a_normalization_has_its_sections_in_order(path):
    """One that is put together from others has no statistic of its own, and so no Function."""
    found = [section for section, _ in itertools.groupby(sections(path))]
    absent = {"Module"} if path.stem in FUNCTIONS_ONLY else set()
    if "Function" not in found:
        absent |= {"forward and backward", "Function"}
    expected = [section for section in SECTIONS if section not in absent]
    assert found == expected, f"{path.name}: {found}"


@pytest.mark.parametrize("path", NORMALIZATIONS)
def test_the_layers_of_a_normalization_are_exported(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name[0] != "_" and not node.name.endswith("Function"):
            assert hasattr(normalization, node.name), f"add a line for {node.name} to normalization/layers.py"
            assert hasattr(nn, node.name) or path.parent.stem == "weight"  # in nn.utils, as in PyTorch


def test_the_function_of_a_registered_normalization_is_exported():
    ops = [op for op in REGISTRY.values() if op.kind == "normalization"]
    assert {op.family for op in ops} <= set(normalization.__dict__)
    missing = [op.name for op in ops if not hasattr(normalization, op.name)]
    assert not missing, f"add lines for {missing} to normalization/functions.py"
    assert [name for name in vars(functions) if name[0] != "_" and not hasattr(nn.functional, name)] == []


@pytest.mark.parametrize("path", [*NORMALIZATIONS, TEMPLATE])
def test_a_normalization_opens_with_its_derivation(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    parts = ["y = ", "arXiv:", "Backward", "dx = ", "Insight: "]
    positions = [docstring.find(part) for part in parts]
    assert -1 not in positions, f"missing: {[p for p, at in zip(parts, positions, strict=True) if at < 0]}"
    assert positions == sorted(positions)


def test_a_primitive_is_documented_by_its_formula_and_its_derivative():
    for node in itertools.chain.from_iterable(map(nodes, FILES)):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Function" for base in node.bases):
            if node.name.startswith("_"):
                continue
            docstring = ast.get_docstring(node) or ""
            formula, _, derivative = docstring.partition(" · ")
            assert "=" in formula, f"{node.name}: {docstring!r} has no formula"
            assert derivative.startswith("d"), f"{node.name}: {docstring!r} has no derivative"
            assert "=" in derivative, f"{node.name}: {docstring!r} has no derivative"


def _functions(module):
    """The classes of Functions that the modules of a package define."""
    found, unseen = set(), [Function]
    while unseen:
        unseen += (subclasses := unseen.pop().__subclasses__())
        found |= {cls for cls in subclasses if cls.__module__.startswith(f"tinygrad_norm.{module}.")}
    return sorted(found, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("package", ["ops", "nn", "normalization"])
def test_a_function_is_named_after_what_it_computes(package):
    """In ops by the plain word; where a layer may have that name, with "Function" behind it."""
    names = [cls.__name__ for cls in _functions(package) if not cls.__name__.startswith("_")]
    assert names
    assert [name for name in names if name.endswith("Function") == (package == "ops")] == []


def test_a_layer_and_its_function_are_spelled_alike():
    layers = {name.lower(): name for name, layer in vars(nn).items() if isinstance(layer, type)}
    for cls in (*_functions("nn"), *_functions("normalization")):
        name = cls.__name__.removesuffix("Function")
        assert layers.get(name.lower(), name) == name
