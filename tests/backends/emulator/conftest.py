"""The emulator's tests: the kernels in the .cu files here, compiled once for all of them."""

import shutil
import sys
from pathlib import Path

import pytest

from tinygrad_norm.backends.emulator import RawModule, schedule

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def compiler():
    """g++ on Linux, where both modes run; on other systems the test is skipped."""
    if sys.platform != "linux":
        pytest.skip("the emulator's checked mode needs Linux")
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++: apt install g++")


@pytest.fixture(scope="session")
def correct(compiler):
    """Correct kernels."""
    names = ["row_sum<float, 256>", "row_sum<double, 64>"]
    return RawModule(code=(HERE / "correct.cu").read_text(), name_expressions=names)


@pytest.fixture(scope="session")
def bugs(compiler):
    """Kernels with one planted bug each."""
    return RawModule(code=(HERE / "bugs.cu").read_text())


@pytest.fixture(params=["plain", "checked"])
def mode(request):
    """Run the test in both modes."""
    with schedule(checked=request.param == "checked"):
        yield request.param


@pytest.fixture(params=[0, 1, 2])
def seed(request):
    """Run the test under three schedules: in order, and in two random orders."""
    with schedule(seed=request.param):
        yield request.param
