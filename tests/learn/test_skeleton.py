"""The small normalization to start from: right as written, under every name, and shown in the docs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_norm.gradient_check.registered import check
from tinygrad_norm.learn.skeleton import TEMPLATE, layer_name, normalization_skeleton
from tinygrad_norm.registry import REGISTRY

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.usefixtures("forget_loaded")


def run_as(name, text, path):
    """Run the text of a module under a full name, so that its relative imports find the package."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_passes_every_test_of_a_registered_op():
    code = """
import sys, pytest
from tinygrad_norm.learn.loading import load_ops
load_ops(sys.argv[1])
raise SystemExit(pytest.main(sys.argv[2:]))
"""
    command = [sys.executable, "-c", code, str(TEMPLATE), "tests/gradient_check/test_registered_ops.py"]
    options = ["-n0", "-p", "no:cacheprovider", "-k", "center_norm", "-m", "slow or not slow"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) >= 25


@pytest.mark.parametrize("family", [None, "batch", "sample", "vector", "weight", "gradient", "graph"])
def test_under_another_name_it_is_right_too(tmp_path, family):
    file, text = normalization_skeleton("my_new_norm", in_package=family is not None)
    assert file == "mynewnorm.py"
    assert "center" not in text.lower()
    assert ("tinygrad_norm" in text) is (family is None)
    name = "mynewnorm" if family is None else f"tinygrad_norm.normalization.{family}.mynewnorm"
    module = run_as(name, text, tmp_path / file)
    op = REGISTRY["my_new_norm"]
    assert op.function is module.my_new_norm
    assert (op.title, op.family) == ("MyNewNorm", family or "normalization")
    verdict = check(op)
    assert verdict.failures == ()
    assert verdict.composed_error < 1e-9
    for error in op.errors:
        with pytest.raises(error.error, match=re.escape(error.match)):
            error.call()
    assert module.MyNewNorm(3).weight.shape == (3,)


@pytest.mark.parametrize(
    "name", ["", "MyNorm", "my-norm", "2norm", "my norm", "_norm", "norm_", "lambda", "ñ"]
)
def test_a_name_that_no_function_can_have_raises(name):
    with pytest.raises(ValueError, match="use lower-case words, as in my_norm"):
        normalization_skeleton(name)


def test_the_name_of_an_op_raises():
    with pytest.raises(ValueError, match="an op named 'layer_norm' is already registered: choose another"):
        normalization_skeleton("layer_norm")


@pytest.mark.parametrize(("name", "layer"), [("my_norm", "MyNorm"), ("norm2", "Norm2"), ("a_b_c", "ABC")])
def test_the_layer_is_named_after_the_function(name, layer):
    assert layer_name(name) == layer


def test_the_page_for_contributors_shows_it_whole():
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    assert f"```python\n{TEMPLATE.read_text(encoding='utf-8')}```\n" in page
