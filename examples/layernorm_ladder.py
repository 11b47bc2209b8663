"""Layer normalization in CUDA, in four steps from naive to fast: runs and checks layernorm_ladder.cu.

Without a GPU, the kernels run on the CPU emulator, which counts the bytes that their threads read and
write. With a GPU, they are timed. Results are checked in both cases.

    python examples/layernorm_ladder.py [--rows 64] [--features 512]
"""

import argparse
from pathlib import Path

import numpy as np

from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda.availability import load_cupy
from tinygrad_norm.normalization.sample.layernorm import layer_norm_forward

EPS = 1e-5
KEPT = 16  # float4 per lane: rows of up to 2048 values
NAMES = ("naive", "shared", "shuffled", f"vectorized<{KEPT}>")


def steps(N, D):
    """Return the number of blocks and threads, and the bytes of shared memory, of each kernel."""
    row_per_thread, row_per_block, row_per_warp = -(-N // 128), N, -(-N // 4)
    launches = (
        (row_per_thread, 128, 0),
        (row_per_block, 128, 4 * D),
        (row_per_warp, 128, 0),
        (row_per_warp, 128, 0),
    )
    return dict(zip(NAMES, launches, strict=True))


def compile_ladder(machine):
    code = Path(__file__).with_suffix(".cu").read_text(encoding="utf-8")
    return machine.RawModule(
        code=code,
        options=("-std=c++17",),
        name_expressions=NAMES,
    )


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    """Run every kernel; return the largest error and the KiB read and written (on a GPU: the µs) of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=positive_int, default=64, help="rows of x (default: 64)")
    parser.add_argument(
        "--features",
        type=positive_int,
        default=512,
        help=f"values per row, a multiple of 4 up to {128 * KEPT} (default: 512)",
    )
    options = parser.parse_args(arguments)
    N, D = options.rows, options.features
    if D % 4 or D > 128 * KEPT:
        parser.error(f"--features must be a multiple of 4 up to {128 * KEPT}, got {D}")
    try:
        cupy = load_cupy()
    except RuntimeError as error:
        print(f"on the emulator, because {error}\n")
        return ladder(emulator, emulator.asarray, emulator.asnumpy, count, "KiB moved", N, D)
    return ladder(cupy, cupy.asarray, cupy.asnumpy, lambda call: microseconds(cupy, call), "µs", N, D)


def ladder(machine, asarray, asnumpy, measure, unit, N, D):
    rng = np.random.default_rng(0)
    x, (weight, bias) = rng.normal(1, 2, (N, D)), rng.normal(size=(2, D))
    expected = layer_norm_forward(x, weight, bias, EPS)[0]
    on = [asarray(array.astype(np.float32)) for array in (x, weight, bias)]
    module, results = compile_ladder(machine), {}
    print(f"{'kernel':14} {'blocks':>7} {'threads':>8} {unit:>14} {'largest error':>14}")
    for name, (blocks, threads, shared) in steps(N, D).items():
        kernel, y = module.get_function(name), asarray(np.zeros((N, D), np.float32))
        args = (*on, y, np.int64(N), np.int64(D), np.float32(EPS))

        def call(kernel=kernel, blocks=blocks, threads=threads, args=args, shared=shared):
            kernel((blocks,), (threads,), args, shared_mem=shared)

        figure = measure(call)
        error = float(abs(asnumpy(y) - expected).max())
        results[name] = error, figure
        print(f"{name:14} {blocks:7,} {threads:8} {figure:14,.1f} {error:14.1e}")
    return results


def count(call):
    """Return the KiB that all threads of a launch on the emulator read and write."""
    with emulator.schedule(checked=True), emulator.record() as launches:
        call()
    traffic = launches[0].traffic
    return sum(read + written for read, written in traffic.values()) / 1024


def microseconds(cupy, call):
    """Return the µs that a launch takes on the GPU: the median of 100, after 10 for warm-up."""
    times = cupy.cuda.Event(), cupy.cuda.Event()
    taken = []
    for _ in range(110):
        times[0].record()
        call()
        times[1].record()
        times[1].synchronize()
        taken.append(cupy.cuda.get_elapsed_time(*times) * 1000)
    return float(np.median(taken[10:]))


if __name__ == "__main__":
    main()
