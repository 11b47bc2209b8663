"""Every kernel compiled by NVIDIA's compiler: no spills, no flush-to-zero, 16-byte accesses where expected.

The quick tests compile one instance of each kernel for one architecture, the slow tests all.
"""

import runpy
from pathlib import Path

import pytest
from kernels import ITEMSIZE, KERNELS, SOURCES, STORAGES

from tinygrad_norm.backends.cuda import nvrtc
from tinygrad_norm.backends.cuda.compiler import STANDARD
from tinygrad_norm.backends.cuda.signature import name_expression
from tinygrad_norm.backends.cuda.teams import PACK

pytestmark = pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC: {nvrtc.REMEDY}")
BY_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.path.stem)


def check(source, storage, architecture, choose):
    kernels = [kernel for kernel in KERNELS if kernel.source is source]
    chosen = [(kernel, numbers) for kernel in kernels for numbers in choose(kernel.numbers(storage))]
    names = [name_expression(kernel.name, storage, numbers) for kernel, numbers in chosen]
    if not names:  # none is launched for this type
        return
    compiled = nvrtc.compile(source.text(storage), names, architecture=architecture)
    for (kernel, numbers), name in zip(chosen, names, strict=True):
        found = compiled.kernels[name]
        assert found.spill_bytes == found.stack_bytes == 0, f"{name} spills {found.spill_bytes} bytes"
        assert not found.flushing(), f"{name} flushes subnormals to zero"
        if kernel.loads and numbers and numbers[0] * ITEMSIZE[storage] == PACK:
            assert found.accesses("ld")[PACK], f"{name} never loads 16 bytes at once"
            if not kernel.name.startswith("strip_"):  # these write one number per strip
                assert found.accesses("st")[PACK], f"{name} never stores 16 bytes at once"


def largest_in_registers(numbers):
    return [max(numbers, key=lambda one: (min(one, default=1) > 0, sum(one)))]


@BY_SOURCE
def test_one_instance_of_every_kernel(source):
    check(source, "float32", "sm_90", largest_in_registers)


@pytest.mark.slow
@BY_SOURCE
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_every_instance_of_every_kernel(source, storage, architecture):
    check(source, storage, architecture, list)


LADDER = Path(__file__).parents[3] / "examples" / "layernorm_ladder.py"


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_the_layer_norm_ladder(architecture):
    names = runpy.run_path(str(LADDER))["NAMES"]
    code, options = LADDER.with_suffix(".cu").read_text(), (STANDARD, "-ftz=true")  # CuPy's RawModule adds it
    compiled = nvrtc.compile(code, names, architecture=architecture, options=options)
    assert set(names) == set(compiled.kernels)
    for name, kernel in compiled.kernels.items():
        assert kernel.spill_bytes == kernel.stack_bytes == 0, f"{name} spills {kernel.spill_bytes} bytes"
    loads = compiled.kernels[names[-1]].accesses("ld")
    assert set(loads) == {PACK}, f"{names[-1]} loads {loads}"
