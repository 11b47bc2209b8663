"""Files that the doctor imports: anew each time, as a module, and with their lines in errors."""

import importlib
import sys

import pytest

from tinygrad_norm.learn.doctor.targets import find, import_file
from tinygrad_norm.learn.loading import load_ops

DATACLASS = """
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Settings:
    eps: float
    names: ClassVar[list[str]] = []


def f():
    @dataclass
    class Later:
        names: ClassVar[list[str]] = []

    return Later()
"""


pytestmark = pytest.mark.usefixtures("forget_loaded")


def test_a_changed_file_is_read_again_and_nothing_is_written_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "m.py"
    for factor in (2.0, 3.0):  # in the same second, and of the same size
        path.write_text(f"factor = {factor}\n")
        assert import_file(path, "m.py").factor == factor
    assert [file.name for file in tmp_path.iterdir()] == ["m.py"]


def test_dataclasses_with_postponed_annotations(tmp_path):
    path = tmp_path / "settings.py"
    path.write_text(DATACLASS)
    module = import_file(path, "settings.py")
    assert module.Settings(1e-5).eps == 1e-5
    module.f()  # it looks its module up only now


def test_a_file_in_a_package_imports_its_relatives(tmp_path):
    for folder in ("mine", "mine/deep"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "mine" / "names.py").write_text("NAME = 'thrice'\n")
    path = tmp_path / "mine" / "deep" / "ops.py"
    path.write_text("from ..names import NAME\nfrom . import beside as one\nimport beside\n")
    (tmp_path / "mine" / "deep" / "beside.py").write_text("")
    assert find(f"{path}:NAME")[0] == "thrice"
    assert str(path.parent) not in sys.path


@pytest.mark.parametrize("name", ["code", "numbers", "math", "numpy"])
def test_a_file_with_the_name_of_another_module_leaves_that_module_alone(tmp_path, name):
    other = importlib.import_module(name)
    path = tmp_path / f"{name}.py"
    path.write_text("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\n")
    assert import_file(path, path.name).A(1).x == 1
    assert sys.modules[name] is other


def test_files_of_the_same_name_follow_each_other(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "norms.py"
        path.write_text(f"folder = {folder!r}\n")
        assert import_file(path, "norms.py").folder == folder
        assert sys.modules["norms"].folder == folder


def test_a_file_that_fails_is_forgotten_and_told_with_its_line(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text("def f():\n    raise KeyError('lost')\n\n\nf()\n")
    with pytest.raises(ValueError, match=r"^failing\.py cannot be imported, line 2: KeyError: 'lost'$"):
        import_file(path, "failing.py")
    assert "failing" not in sys.modules


def test_a_file_whose_ops_are_loaded_is_not_imported_again(tmp_path):
    path = tmp_path / "own_ops.py"
    path.write_text(
        "from tinygrad_norm.registry import Case, register\n"
        "def twice(x):\n    return x * 2\n"
        "cases = (Case(((2,),)),)\n"
        "register(name='twice', function=twice, composed=twice, cases=cases, bench=cases)\n"
    )
    load_ops(path)
    assert find(f"{path}:twice")[0] is sys.modules["own_ops"].twice
