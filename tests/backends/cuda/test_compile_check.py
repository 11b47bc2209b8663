"""The compile check itself, on toy kernels: its report must be right."""

import pytest

from tinygrad_norm.backends.cuda import nvrtc, nvrtc_wheel
from tinygrad_norm.backends.cuda.compiler import OPTIONS

KERNELS = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <class T>
__global__ void copy(const T* __restrict__ x, T* __restrict__ y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
}

extern "C" __global__ void reverse(float* x) {
  __shared__ float kept[256];
  kept[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = kept[255 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(1024) greedy(const float* x, float* y) {
  float kept[128];
#pragma unroll
  for (int i = 0; i < 128; i++) kept[i] = x[threadIdx.x * 128 + i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; i++) y[threadIdx.x * 128 + i] = kept[i] * kept[127 - i];
}
"""
NAMES = (
    "copy<float>",
    "copy<float4>",
    "copy<double2>",
    "copy<__half>",
    "copy<__nv_bfloat16>",
    "copy<__half2>",
)


@pytest.fixture(scope="module")
def wheels():
    if not nvrtc.available():
        pytest.skip(f"no NVRTC: {nvrtc.REMEDY}")


@pytest.fixture(scope="module", params=nvrtc.ARCHITECTURES)
def compiled(wheels, request):
    return nvrtc.compile(KERNELS, NAMES, architecture=request.param)


def test_every_kernel_is_there(compiled):
    assert set(compiled.kernels) == {*NAMES, "reverse", "greedy"}
    assert compiled.cubin.startswith(b"\x7fELF")
    assert f".target {compiled.architecture}" in compiled.ptx
    assert compiled.kernels["copy<float>"].symbol.startswith("_Z4copyIfE")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("copy<float>", 4),
        ("copy<float4>", 16),
        ("copy<double2>", 16),
        ("copy<__half>", 2),
        ("copy<__nv_bfloat16>", 2),
        ("copy<__half2>", 4),
    ],
)
def test_loads_and_stores_by_size(compiled, name, size):
    kernel = compiled.kernels[name]
    assert kernel.accesses("ld") == {size: 1}
    assert kernel.accesses("st") == {size: 1}


def test_shared_memory(compiled):
    kernel = compiled.kernels["reverse"]
    assert kernel.shared_bytes == 1024
    assert kernel.accesses("st", "shared") == {4: 1}
    assert kernel.accesses("ld", "shared") == {4: 1}
    assert compiled.kernels["copy<float>"].shared_bytes == 0


def test_registers_and_spills(compiled):
    good, greedy = compiled.kernels["copy<float4>"], compiled.kernels["greedy"]
    assert 0 < good.registers <= 64
    assert good.spill_bytes == good.stack_bytes == 0
    assert greedy.registers <= 64
    assert greedy.spill_bytes > 0


def test_options_reach_the_compiler(wheels):
    code = 'extern "C" __global__ void f(int* y) { y[0] = VALUE; }'
    assert "f" in nvrtc.compile(code, options=(*OPTIONS, "-DVALUE=3")).kernels


ARITHMETIC = (
    'extern "C" __global__ void f(float* x, double* y) { x[0] = expf(x[0]) * 0.5f / x[1]; y[0] /= y[1]; }'
)


def test_subnormals_are_kept(wheels):
    kernel = nvrtc.compile(ARITHMETIC).kernels["f"]
    assert ".ftz" in kernel.ptx  # inside exp and division, where it changes no result
    assert not kernel.flushing()


def test_flushing_to_zero_is_seen(wheels):
    flushing = nvrtc.compile(ARITHMETIC, options=(*OPTIONS, "-ftz=true")).kernels["f"].flushing()
    assert {"mul.ftz.f32", "div.rn.ftz.f32"} <= flushing


def test_a_text_that_does_not_compile(wheels):
    with pytest.raises(nvrtc.CompileError, match=r'kernel.cu\(2\): error: identifier "unknown"'):
        nvrtc.compile('extern "C" __global__ void f(int* y) {\n  y[0] = unknown;\n}')


def test_without_the_wheels(monkeypatch):
    nvrtc_wheel.directory.cache_clear()
    monkeypatch.setattr(nvrtc_wheel.importlib.util, "find_spec", lambda _: None)
    assert not nvrtc.available()
    with pytest.raises(RuntimeError, match=r"not installed: pip install 'tinygrad_norm\[compile-check\]'"):
        nvrtc.compile("")
