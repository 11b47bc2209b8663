"""Module names that other code may import gradcheck from: PyTorch's, and earlier ones of this package."""

import subprocess
import sys

STATEMENTS = """
import tinygrad_norm.autograd.gradcheck
import tinygrad_norm.learn.check
from tinygrad_norm.autograd import GradcheckError, gradcheck
assert tinygrad_norm.gradcheck is gradcheck
assert tinygrad_norm.gradient_check.gradcheck is gradcheck
assert tinygrad_norm.autograd.gradcheck is gradcheck
assert tinygrad_norm.learn.check is tinygrad_norm.gradient_check.registered

from tinygrad_norm.autograd.gradcheck import GradcheckError as second, gradcheck as third, jacobians
assert second is GradcheckError
assert third is gradcheck

import tinygrad_norm.autograd.errors
from tinygrad_norm.autograd.errors import GradcheckError as fourth
assert fourth is GradcheckError
assert tinygrad_norm.autograd.errors.GradcheckError is GradcheckError

from tinygrad_norm.learn import check as module
from tinygrad_norm.learn.check import check, cotangent, draw, evaluate, relative_error
assert module is tinygrad_norm.learn.check
"""


def test_modules_are_found_under_their_other_names():
    subprocess.run([sys.executable, "-c", STATEMENTS], check=True)


def test_every_name_can_be_the_first_import():
    first = "import tinygrad_norm.learn.check; import tinygrad_norm.autograd.errors"
    subprocess.run([sys.executable, "-c", first], check=True)
