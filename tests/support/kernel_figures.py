"""Make the table of docs/gpu.md: what can be counted of every CUDA kernel without a GPU.

    python tests/support/kernel_figures.py                             the whole table (a few minutes)
    python tests/support/kernel_figures.py layer_norm rms_norm         some ops of the benchmark
    python tests/support/kernel_figures.py --save figures.json         keep the figures
    python tests/support/kernel_figures.py --before figures.json       show them as "before → after"
    python tests/support/kernel_figures.py layer_norm --code           also the order of loads and stores

Launches and bytes are counted on the emulator, at the sizes below. Registers and spills are NVRTC's, for
sm_90. Warps per multiprocessor follow from them by the limits of sm_90. Loads in flight are read in the
machine code, which needs nvdisasm (on the PATH, or in the wheel `triton`); else they are not in the table.
"""

import argparse
import functools
import json
import math
import sys
from pathlib import Path

import ml_dtypes
import numpy
from kernel_counts import asked_by, count, sized
from kernels import KERNELS
from machine_code import accesses, disassemble, loads_in_flight, nvdisasm, resident_warps

from tinygrad_norm.backends.cuda import nvrtc
from tinygrad_norm.bench.gpu_ops import SUBJECTS

# x has 2¹⁸ to 2²⁰ values: enough rows for two multiprocessors, as the emulator has them.
EXTREMES, ALL = ((512, 1024), (64, 16384)), ((4096, 64), (512, 1024), (64, 8192), (64, 16384))
IMAGES = ((256, 64, 7, 7), (8, 256, 28, 28), (2, 64, 112, 112))
SIZES = {
    "layer_norm": ALL,
    "rms_norm": ALL,
    "batch_norm": ((2048, 256), *IMAGES),
    "batch_norm_eval": IMAGES[1:2],
    "group_norm": IMAGES,
    "instance_norm": IMAGES,
    "local_response_norm": IMAGES[1:2],
    "gelu": EXTREMES[:1],
    "embedding": ((1024, 256),),
    "sgd": ((1 << 18,),),
    "adamw": ((1 << 18,),),
}
DTYPES = {"float32": numpy.dtype(numpy.float32), "bfloat16": numpy.dtype(ml_dtypes.bfloat16)}
STORAGES = {"float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": "bfloat16"}
WORTH_A_LINE = 0.1  # of the bytes of a call
FIGURES = ("launches", "bytes ÷ floor", "registers", "warps", "loads in flight", "kB in flight")


def figures(names):
    """The figures: {"[op, direction, shape, dtype]": {kernel: {figure: value}}}."""
    found = {}
    for name in names:
        for shape in SIZES.get(name, EXTREMES):
            for dtype in DTYPES:
                for direction, counted in count(name, sized(name, *shape), DTYPES[dtype]).items():
                    print(name, shape, dtype, direction, file=sys.stderr)
                    key = json.dumps([name, direction, "×".join(map(str, shape)), dtype])
                    found[key] = _of_call(counted)
    return found


def _of_call(counted):
    heavy = [one for one in counted.launches if asked_by(one) >= WORTH_A_LINE * counted.asked]
    kernels = {}
    for launch in heavy:
        name = launch.name.split("<")[0]
        kernels.setdefault(name, dict(_of_kernel(launch.name, math.prod(launch.block), launch.shared_mem)))
    first = next(iter(kernels.values()))
    first |= {"launches": len(counted.launches), "bytes ÷ floor": round(counted.ratio, 2)}
    return kernels


@functools.cache
def _of_kernel(instance, threads, shared):
    name, storage = instance.split("<")[0], STORAGES[instance.split("<")[1].split(",")[0].rstrip(">")]
    source = next(kernel.source for kernel in KERNELS if kernel.name == name)
    compiled = nvrtc.compile(source.text(storage), [instance], architecture="sm_90")
    kernel = compiled.kernels[instance]
    warps = resident_warps(kernel.registers, threads, shared + kernel.shared_bytes)
    spilled = f" + {kernel.spill_bytes} B spilled" if kernel.spill_bytes else ""
    found = {"instance": instance, "registers": f"{kernel.registers}{spilled}", "warps": warps}
    if nvdisasm():
        code = disassemble(compiled.cubin)[kernel.symbol]
        sizes = loads_in_flight(code)
        widest = max(sizes, default=0)
        found["loads in flight"] = f"{sizes.count(widest)}×{widest} B"
        found["kB in flight"] = round(sum(sizes) * warps * 32 / 1024)
        found["code"] = accesses(code)
    return found


def table(after, before):
    """The table in Markdown: a line for every kernel of a call, float32 and bfloat16 side by side."""
    shown = [one for one in FIGURES if nvdisasm() or "flight" not in one]
    heads = [
        f"{one}, {dtype}"
        for dtype in DTYPES
        for one in shown
        if not (dtype != "float32" and one == "launches")
    ]
    yield f"| call | size | kernel | {' | '.join(heads)} |"
    yield f"|---|---|---|{'---|' * len(heads)}"
    done = set()
    for key in after:
        op, direction, shape, _ = json.loads(key)
        if (op, direction, shape) in done:
            continue
        done.add((op, direction, shape))
        keys = {dtype: json.dumps([op, direction, shape, dtype]) for dtype in DTYPES}
        for kernel in dict.fromkeys(kernel for one in keys.values() for kernel in after[one]):
            cells = [
                _cell(*(side.get(one, {}).get(kernel, {}).get(figure, "") for side in (before, after)))
                for dtype, one in keys.items()
                for figure in shown
                if dtype == "float32" or figure != "launches"
            ]
            yield f"| {op} {direction} | {shape} | {kernel} | {' | '.join(cells)} |"


def _cell(before, after):
    return str(after) if before in ("", after) or after == "" else f"{before} → {after}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ops", nargs="*", default=list(SUBJECTS), help=f"among {', '.join(SUBJECTS)}")
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    parser.add_argument("--before", type=Path, help="a file of --save, to compare with")
    parser.add_argument("--code", action="store_true", help="print the order of loads and stores")
    options = parser.parse_args()
    if unknown := set(options.ops) - set(SUBJECTS):
        parser.error(f"no such ops: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    found = figures(options.ops)
    if options.save:
        options.save.write_text(json.dumps(found, indent=1))
    before = json.loads(options.before.read_text()) if options.before else {}
    print("\n".join(table(found, before)))
    if not nvdisasm():
        print("\nnvdisasm was not found (pip install triton): the table has no loads in flight.")
    elif options.code:
        print()
        for kernels in found.values():
            for kernel in kernels.values():
                print(f"{kernel['instance']}: {kernel['code']}")


if __name__ == "__main__":
    main()
