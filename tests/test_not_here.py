"""PyTorch's names that are not here: the table is that of docs/pytorch.md, and every name answers."""

import copy
import inspect
import operator
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_norm as tn
from tinygrad_norm.not_here import ROWS

PAGE = (Path(__file__).parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")
ROW_OF = {name: row for row in ROWS for name in row.names.split()}
METHODS = [name for name, row in ROW_OF.items() if row.methods and "." not in name]
MODULES = ["", "nn", "nn.functional", "nn.utils", "optim", "optim.lr_scheduler", "autograd"]


def get(name, library=tn):
    return operator.attrgetter(name)(library) if name else library


def test_the_page_shows_the_table():
    rows = PAGE.split("## Not here")[1].split("| --- | --- |\n")[1].split("\n\n")[0].splitlines()
    shown = [f"| {', '.join(f'`{name}`' for name in row.names.split())} | {row.instead} |" for row in ROWS]
    assert rows == shown


def test_no_name_stands_there_twice():
    names = [name for row in ROWS for name in row.names.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [*ROW_OF, *(f"Tensor.{name}" for name in METHODS)])
def test_it_is_in_pytorch_and_not_here(name, torch):
    assert get(name, torch)
    instead = ROW_OF[name.removeprefix("Tensor.") if name not in ROW_OF else name].instead
    with pytest.raises(AttributeError) as caught:
        get(name)
    assert str(caught.value).endswith("nothing replaces it" if instead == "–" else instead)


def test_methods_are_those_of_pytorch_that_are_not_here(torch):
    for name, row in ROW_OF.items():
        if "." not in name and name not in ("device", "numel"):  # which Tensor has
            assert row.methods == hasattr(torch.Tensor, name), name


def test_the_errors_say_what_was_asked_for():
    for ask, message in (
        (
            lambda: tn.device,
            "module 'tinygrad_norm' has no attribute 'device'; instead: `tn.use_backend(\"cupy\")` before",
        ),
        (lambda: tn.ones(2).bfloat16, "'Tensor' object has no attribute 'bfloat16'; instead: `tn.float16`"),
        (lambda: tn.Tensor.bfloat16, "type object 'Tensor' has no attribute 'bfloat16'; instead: `tn.flo"),
        (
            lambda: tn.optim.SparseAdam,
            "module 'tinygrad_norm.optim' has no attribute 'SparseAdam'; instead: `optim.Ad",
        ),
        (
            lambda: tn.nn.Linear(1, 1).bfloat16,
            "'Linear' object has no attribute 'bfloat16'; instead: `.float()`",
        ),
        (lambda: tn.jit.script, "module 'tinygrad_norm' has no attribute 'jit'; nothing replaces it"),
    ):
        with pytest.raises(AttributeError) as caught:
            ask()
        assert str(caught.value).startswith(message)


# -- what else asks for attributes works as before


@pytest.mark.parametrize("name", MODULES)
def test_other_names_are_absent_as_in_every_module(name):
    module = get(name)
    with pytest.raises(AttributeError, match=f"^module '{module.__name__}' has no attribute 'absent'$"):
        _ = module.absent
    assert not hasattr(module, "__all__")
    assert getattr(module, "absent", 3) == 3


def test_a_misspelt_name_gets_pythons_suggestion():
    code = "import tinygrad_norm as tn; tn.zerros"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Did you mean: 'zeros'?" in done.stderr


@pytest.mark.parametrize("name", ROW_OF)
def test_hasattr_getattr_and_dir(name):
    owner, _, last = name.rpartition(".")
    try:
        owner = get(owner)
    except AttributeError:
        return  # the owner itself is not here
    owner = tn.ones(2) if owner is tn.Tensor else owner() if isinstance(owner, type) else owner
    assert not hasattr(owner, last)
    assert getattr(owner, last, None) is None
    assert last not in dir(owner)


@pytest.mark.parametrize("name", MODULES)
def test_imports(name):
    module = get(name).__name__
    names = {}
    exec(f"from {module} import *", names)
    assert {n for n in vars(get(name)) if not n.startswith("_")} <= set(names)
    with pytest.raises(ImportError, match="cannot import name 'absent'"):
        exec(f"from {module} import absent")
    for absent in ("device", "compile"):
        with pytest.raises(ImportError):
            exec(f"from tinygrad_norm import {absent}")


def test_dir_of_a_tensor_and_of_a_module_lists_what_they_have():
    for thing in (tn.ones(2, 3), tn.nn.Linear(2, 3), tn.nn.Sequential()):
        listed = dir(thing)
        assert [name for name in listed if not hasattr(thing, name)] == []
        assert {"T", "sum"} <= set(listed) or {"weight", "parameters"} <= set(listed) or len(thing) == 0
        inspect.getmembers(thing)


def test_pickles_and_copies_are_as_before():
    layer, x = tn.nn.Linear(2, 3), tn.ones(2, requires_grad=True)
    for made in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), copy.copy(layer)):
        assert (made.weight == layer.weight).all()
    for made in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        assert made.tolist() == [1, 1]


def test_a_class_of_ones_own_may_have_such_a_name():
    class Own(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.type = "own"

        def register_full_backward_hook(self, hook):
            return hook

    class Delegating(tn.nn.Module):
        def __getattr__(self, name):
            return f"delegated {name}"

    assert (Own().type, Own().register_full_backward_hook("a")) == ("own", "a")
    assert {"type", "register_full_backward_hook"} <= set(dir(Own()))
    assert Delegating().compile == "delegated compile"
