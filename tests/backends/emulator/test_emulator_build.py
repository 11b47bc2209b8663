"""Building: the cache, several processes at once, and the messages if something is missing."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import CompileError, RawModule, build, empty

SCRIPT = """
import numpy, sys
from tinygrad_norm.backends.emulator import *
from tinygrad_norm.backends.emulator import build
build.RUNTIME += tuple(sys.argv[1:])
text = '''
extern "C" __global__ void reverse(int* y) {
  __shared__ int kept[64];
  kept[threadIdx.x] = __shfl_xor_sync(0xffffffffu, int(threadIdx.x), 31);
  __syncthreads();
  y[threadIdx.x] = kept[threadIdx.x ^ 32];
}
'''
for seed in (0, 1):
    y = empty(64, numpy.int32)
    with schedule(seed=seed):
        RawModule(code=text).get_function("reverse")((1,), (64,), (y,))
    assert numpy.array_equal(y, numpy.arange(64)[::-1]), y
"""


def start(*flags):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *flags], stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("compiler")
def test_processes_share_a_cold_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_NORM_CACHE", str(tmp_path))
    runs = [start(), start()]
    for run in runs:
        assert run.communicate()[1] == ""
        assert run.returncode == 0
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "emulator").iterdir())
    assert names == ["header", "kernel", "runtime"]


@pytest.mark.usefixtures("compiler")
def test_fibers_on_ucontext_where_there_is_no_assembly():
    run = start("-DEMULATOR_UCONTEXT")
    assert run.communicate()[1] == ""
    assert run.returncode == 0


@pytest.mark.usefixtures("compiler")
def test_a_library_is_compiled_once_and_again_when_anything_changes(monkeypatch):
    text = "int f() { return 1; }"
    path = build.compile_module(text, (), checked=False)

    def refuse(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "_build", refuse)
    assert build.compile_module(text, (), checked=False) == path
    for other in ((text + " ", (), False), (text, ("-DNDEBUG",), False), (text, ("--fmad=false",), False)):
        with pytest.raises(AssertionError, match="compiled again"):
            build.compile_module(*other)


@pytest.mark.usefixtures("compiler")
def test_a_library_serves_other_checkouts_while_their_headers_are_equal(tmp_path, monkeypatch):
    text = "int f() { return 2; }"
    path = build.compile_module(text, (), checked=False)
    copy = shutil.copytree(build.INCLUDE, tmp_path / "include")
    monkeypatch.setattr(build, "INCLUDE", copy)
    monkeypatch.setattr(build, "_build", None)  # calling it raises
    assert build.compile_module(text, (), checked=False) == path
    with open(copy / build.SHIM, "a", encoding="utf-8") as file:
        file.write("// changed\n")
    monkeypatch.setattr(build, "_precompiled_header", lambda *_: tmp_path)
    with pytest.raises(TypeError, match="not callable"):
        build.compile_module(text, (), checked=False)


@pytest.mark.usefixtures("compiler")
def test_a_kernel_that_does_not_compile():
    module = RawModule(code='extern "C" __global__ void f(int* y) {\n  y[0] = unknown;\n}')
    with pytest.raises(CompileError, match=r"kernel.cu:2:.*\n?.*unknown"):
        module.get_function("f")


@pytest.mark.parametrize(
    ("system", "remedy"), [("linux", "apt install g++"), ("darwin", "xcode-select --install")]
)
def test_without_a_compiler(monkeypatch, system, remedy):
    build.compiler.cache_clear()
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    monkeypatch.setattr(build.sys, "platform", system)
    with pytest.raises(RuntimeError, match=rf"g\+\+, which was not found: {remedy.replace('+', '[+]')}"):
        build.compiler()


@pytest.mark.parametrize(
    ("environment", "system", "expected"),
    [
        ({"TINYGRAD_NORM_CACHE": "/a"}, "linux", "/a/emulator"),
        ({"XDG_CACHE_HOME": "/b"}, "linux", "/b/tinygrad_norm/emulator"),
        ({"HOME": "/c"}, "linux", "/c/.cache/tinygrad_norm/emulator"),
        ({"HOME": "/c"}, "darwin", "/c/Library/Caches/tinygrad_norm/emulator"),
    ],
)
def test_the_cache_directory(monkeypatch, environment, system, expected):
    for name in ("TINYGRAD_NORM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(build.sys, "platform", system)
    assert str(build.cache_directory()) == expected


@pytest.mark.usefixtures("compiler")
def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYGRAD_NORM_CACHE", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="set TINYGRAD_NORM_CACHE to a directory"):
        build.compile_module("", (), checked=False)


@pytest.mark.usefixtures("compiler")
def test_two_modules_do_not_share_the_variables_of_a_template():
    text = """
    template <class T> __global__ void fill(T* y) {
      __shared__ T kept[SIZE];
      kept[threadIdx.x] = SIZE;
      __syncthreads();
      y[threadIdx.x] = kept[SIZE - 1 - threadIdx.x];
    }
    """
    for size in (8, 32):
        module = RawModule(code=text, options=(f"-DSIZE={size}",), name_expressions=("fill<int>",))
        y = empty(size, np.int32)
        module.get_function("fill<int>")((1,), (size,), (y,))
        assert np.asarray(y).tolist() == [size] * size
        (shared,) = module.library(False).shared_variables
        assert (shared.name, shared.size) == ("kept", 4 * size)
