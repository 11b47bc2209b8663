"""Kernels are compiled for a GPU by our own call to NVRTC, and the machine code is kept on disk."""

import contextlib
import sys
import types
import warnings
from pathlib import Path

import pytest

from tinygrad_norm.backends.cuda import compiler, nvrtc, nvrtc_wheel
from tinygrad_norm.backends.cuda.compiler import OPTIONS, CompileError, architecture, machine_code
from tinygrad_norm.backends.cuda.launch import CudaSource

WHEELS = pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC: {nvrtc.REMEDY}")
CODE = "template <class T> __global__ void halve(const T* x, T* y) { y[0] = T(x[0] * T(0.5)); }\n"
SM_90 = (*OPTIONS, "-arch=sm_90")


class Counting:
    """NVRTC from its wheel, but getCUBIN cuts the last byte, as CuPy's does; counts what is compiled."""

    def __init__(self):
        self.count = 0

    def compileProgram(self, program, options):
        self.count += 1
        nvrtc_wheel.compileProgram(program, options)

    def getCUBIN(self, program):
        return nvrtc_wheel.getCUBIN(program)[:-1]

    def __getattr__(self, name):
        return getattr(nvrtc_wheel, name)


@pytest.fixture
def counting(monkeypatch, tmp_path):
    if not nvrtc.available():
        pytest.skip(f"no NVRTC: {nvrtc.REMEDY}")
    monkeypatch.setenv("TINYGRAD_NORM_CACHE", str(tmp_path))
    return Counting()


# -- files


def test_a_kernel_is_compiled_once(counting, tmp_path):
    path, name = machine_code(counting, CODE, "halve<float>", SM_90)
    assert path.parent == tmp_path / "cuda"
    assert path.read_bytes().startswith(b"\x7fELF")
    assert name == "_Z5halveIfEvPKT_PS0_"
    assert name.encode() in path.read_bytes()
    assert machine_code(counting, CODE, "halve<float>", SM_90) == (path, name)
    assert counting.count == 1
    assert {one.suffix for one in path.parent.iterdir()} == {".cubin", ".json"}


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_no_byte_of_the_machine_code_is_lost(counting, arch):
    path, _ = machine_code(counting, CODE, "halve<float>", (*OPTIONS, f"-arch={arch}"))
    with compiler.compiled(nvrtc_wheel, CODE, ("halve<float>",), (*OPTIONS, f"-arch={arch}")) as (program, _):
        assert path.read_bytes() == nvrtc_wheel.getCUBIN(program)


def test_everything_that_code_is_made_from_decides_about_its_file(counting, monkeypatch):
    paths = {
        machine_code(counting, CODE, "halve<float>", SM_90)[0],
        machine_code(counting, CODE + " ", "halve<float>", SM_90)[0],
        machine_code(counting, CODE, "halve<double>", SM_90)[0],
        machine_code(counting, CODE, "halve<float>", (*OPTIONS, "-arch=sm_80"))[0],
        machine_code(counting, CODE, "halve<float>", (*SM_90, "-ftz=true"))[0],
    }
    counting.getVersion = lambda: (13, 99)
    paths.add(machine_code(counting, CODE, "halve<float>", SM_90)[0])
    assert len(paths) == counting.count == 6


@pytest.mark.parametrize("suffix", [".cubin", ".json"])
@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"{}", None])
def test_damaged_files_are_made_again(counting, suffix, content):
    path, name = machine_code(counting, CODE, "halve<float>", SM_90)
    whole = path.read_bytes()
    if content is None:
        path.with_suffix(suffix).unlink()
    else:
        path.with_suffix(suffix).write_bytes(content)
    assert machine_code(counting, CODE, "halve<float>", SM_90) == (path, name)
    assert (counting.count, path.read_bytes()) == (2, whole)


def test_a_cache_that_cannot_be_written_gives_one_warning(counting, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYGRAD_NORM_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*file/cuda \(Not a directory\).*NORM_CACHE"):
        path, _ = machine_code(counting, CODE, "halve<float>", SM_90)
    assert path.read_bytes().startswith(b"\x7fELF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other, _ = machine_code(counting, CODE, "halve<double>", SM_90)
    assert other.exists()
    assert other.parent == path.parent


def test_a_user_without_a_home(counting, monkeypatch):
    def no_home(part):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compiler, "cache_directory", no_home)
    assert machine_code(counting, CODE, "halve<float>", SM_90)[0].exists()


def test_a_text_that_does_not_compile(counting, tmp_path):
    with pytest.raises(CompileError, match=r'kernel.cu\(1\): error: identifier "unknown"'):
        machine_code(counting, CODE.replace("x[0]", "unknown"), "halve<float>", SM_90)
    assert not list(tmp_path.iterdir())


# -- architectures


def test_a_gpu_newer_than_the_compiler_gets_ptx(counting):
    old = types.SimpleNamespace(getSupportedArchs=lambda: (75, 80, 90))
    assert architecture("90", old) == "sm_90"
    assert architecture("86", old) == "compute_80"
    assert architecture("120", old) == "compute_90"
    path, name = machine_code(counting, CODE, "halve<float>", (*OPTIONS, "-arch=compute_90"))
    assert f".entry {name}(" in path.read_text()


def test_a_gpu_older_than_the_compiler():
    new = types.SimpleNamespace(getSupportedArchs=lambda: (75, 80, 120), getVersion=lambda: (13, 0))
    message = r"compute capability 6\.1, but NVRTC 13\.0 compiles for 7\.5 and newer.*\[cuda12\]"
    with pytest.raises(RuntimeError, match=message):
        architecture("61", new)


@WHEELS
def test_the_compiler_knows_the_architectures_of_the_compile_check():
    assert {f"sm_{arch}" for arch in nvrtc_wheel.getSupportedArchs()} >= set(nvrtc.ARCHITECTURES)


# -- CuPy


class Device(contextlib.nullcontext):
    """A GPU of compute capability 9.0."""

    compute_capability = "90"


@pytest.fixture
def cupy(counting, monkeypatch):
    """A CuPy with a GPU of compute capability 9.0, whose RawModule returns what it was given."""
    loaded = []

    class Noted(Device):
        def __enter__(self):
            loaded.append(self.enter_result)

    def raw_module(*, path):
        return types.SimpleNamespace(get_function=lambda name: (path, name, loaded[-1]))

    def assembled(options):
        return ("-I/cccl", *options, "-I/cupy", f"-I{nvrtc_wheel.directory() / 'include'}")

    core = types.SimpleNamespace(assemble_cupy_compiler_options=assembled)
    fake = types.ModuleType("cupy")
    fake.cuda = types.SimpleNamespace(nvrtc=counting, Device=Noted)
    fake.RawModule = raw_module
    for name, module in {
        "cupy": fake,
        "cupy._core": types.ModuleType("_core"),
        "cupy._core.core": core,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("cupy")
def test_cupy_loads_by_path_and_lowered_name_on_the_device_of_the_arrays(counting):
    path, name, device = compiler.load(3, "#include <cuda_fp16.h>\n" + CODE, "halve<__half>")
    assert name == "_Z5halveI6__halfEvPKT_PS1_"
    assert name.encode() in Path(path).read_bytes()
    assert device == 3
    assert counting.count == 1


@WHEELS
def test_cupy_compiles_to_the_machine_code_of_the_compile_check(monkeypatch, tmp_path):
    cupy = pytest.importorskip(
        "cupy", reason="comparison with CuPy's own includes: pip install cupy-cuda13x[ctk]"
    )
    if cupy.cuda.nvrtc.getVersion() != nvrtc_wheel.getVersion():
        pytest.skip("CuPy has another NVRTC than the compile check")
    monkeypatch.setenv("TINYGRAD_NORM_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "architecture", lambda capability, nvrtc: "sm_90")
    monkeypatch.setattr(cupy, "RawModule", lambda path: types.SimpleNamespace(get_function=lambda name: path))
    monkeypatch.setattr(cupy.cuda, "Device", Device)
    text = "#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n" + CODE
    for name in ("halve<__half>", "halve<__nv_bfloat16>", "halve<float>"):
        with_cupys_headers = compiler.load(0, text, name)
        include = f"-I{nvrtc_wheel.directory() / 'include'}"
        alone, _ = machine_code(nvrtc_wheel, text, name, (*SM_90, include))
        assert str(alone) != with_cupys_headers
        assert alone.read_bytes() == Path(with_cupys_headers).read_bytes()


@pytest.mark.cuda
def test_a_gpu_keeps_subnormals(tmp_path):
    import cupy

    (tmp_path / "halve.cu").write_text(CODE.replace("const T* x", "const T* __restrict__ x"))
    source = CudaSource(str(tmp_path / "halve.py"))
    x, y = cupy.full(1, 1.5e-38, "float32"), cupy.empty(1, "float32")
    source.launch("halve", x.dtype, (), 1, 1, (x, y))
    assert y.get()[0] == pytest.approx(7.5e-39, rel=1e-6)
