"""The first run on a GPU: what only a GPU can show, the most doubtful first, in one table.

    python tests/gpu_first_run.py --json first_run.json
    python tests/gpu_first_run.py --only subnormals products
    python tests/gpu_first_run.py --backend emulator          # a dry run, at small sizes

Every part is a process of its own, so an error, a crash or a hang of one does not stop the others. The exit
status is 1 if a check failed. All of it takes two or three minutes, half of it for starting CUDA and for
compiling.
"""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent / "support"), str(Path(__file__).parents[1])]
from bench_cases import ODD, PACKS, small_case
from separate_parts import Check, at_most, equal, run_all, run_here

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends import asarray, current_backend, to_numpy
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.backends.cuda.machine import machine_of
from tinygrad_norm.bench.gpu_data import drawn_dy, typed
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Op
from tinygrad_norm.bench.gpu_timing import cells, prepare
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.embedding import embedding_backward
from tinygrad_norm.registry import Case

TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
PARTS: dict[str, Callable] = {}


@dataclasses.dataclass(frozen=True)
class Machine:
    """CuPy on a GPU; or, for a dry run at small sizes, the tests' stand-in for both."""

    is_gpu: bool = True

    @property
    def storages(self) -> list[str]:
        there = importlib.util.find_spec("ml_dtypes") is not None
        return ["float32", *["float64", "float16"] * self.is_gpu, *["bfloat16"] * there]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        import strict_cupy

        with contextlib.nullcontext() if self.is_gpu else strict_cupy.standing_in(), tn.use_backend("cupy"):
            yield

    def synchronize(self) -> None:
        current_backend().namespace.cuda.Device().synchronize()


def part(function: Callable) -> Callable:
    PARTS[function.__name__] = function
    return function


# -- right


@part
def versions(machine: Machine) -> Iterator[Check]:
    """what is installed"""
    cupy = current_backend().namespace
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    yield Check("device", properties["name"].decode())
    yield Check("compute capability", cupy.cuda.Device().compute_capability)
    yield Check("memory", f"{properties['totalGlobalMem'] / 2**30:.0f} GiB")
    yield Check("CUDA of the driver", str(runtime.driverGetVersion()))
    yield Check("CUDA of the runtime", str(runtime.runtimeGetVersion()))
    yield Check("NVRTC", ".".join(map(str, cupy.cuda.nvrtc.getVersion())))
    yield Check("CuPy", cupy.__version__)
    for name in ("numpy", "ml_dtypes", "torch", "triton"):
        there = importlib.util.find_spec(name) is not None
        yield Check(name, importlib.import_module(name).__version__ if there else "not installed")


@part
def subnormals(machine: Machine) -> Iterator[Check]:
    """kernels are compiled without flushing float32's subnormal numbers to zero"""
    x = asarray(np.full(1, 1e-40, np.float32))
    text = "template <class T> __global__ void twice(T* x) { x[0] = x[0] * T(2); }\n"
    machine_of(x).load(text, "twice<float>")((1,), (1,), (x,))
    yield equal("1e-40 · 2, in a kernel", to_numpy(x)[0], np.float32(1e-40) * np.float32(2))
    for name in ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "normalize"):
        for size in (1e-40, 3.4e38):
            found = _error(name, small_case(name), "float32", size)
            yield at_most(f"{name} of numbers near {size:g}", found, 1e-3)


@part
def kernels(machine: Machine) -> Iterator[Check]:
    """every kernel, in every storage type"""
    for name in SUBJECTS:
        for storage in machine.storages:
            sizes = {"packs": PACKS, "odd": ODD} if storage == "float32" else {"packs": PACKS}
            for label, chosen in sizes.items():
                found = _error(name, small_case(name, chosen), storage)
                yield at_most(f"{name} {storage}, {label}", found, TOLERANCE[storage])


@part
def long_rows(machine: Machine) -> Iterator[Check]:
    """rows that registers do not hold: in more than 48 kB of shared memory, or read again"""
    N = 300 if machine.is_gpu else 2
    for name in ("layer_norm", "rms_norm", "softmax"):
        for D in (8192, 16384, 49152, 65536):
            vectors = len(SUBJECTS[name].cases[0].inputs) - 1
            found = _error(name, Case(((N, D), *[(D,)] * vectors)), "float32")
            yield at_most(f"{name} of {D} values, {D // 256} KiB", found, TOLERANCE["float32"])


def _error(name: str, case: Case, storage: str, size: float = 1.0) -> float:
    """The worst error of outputs and gradients, relative to their largest value in float64 on the CPU."""
    dtype = np.dtype(importlib.import_module("ml_dtypes").bfloat16 if storage == "bfloat16" else storage)
    inputs = [values for values, _ in typed(case, dtype)]
    rng = np.random.default_rng(0)
    if size != 1:
        inputs[0] = rng.uniform(-size, size, inputs[0].shape).astype(dtype)
    found = _outcome(SUBJECTS[name], inputs, dtype)
    with tn.use_backend("numpy"):
        exact = [x if x.dtype.kind == "i" else x.astype(np.float64) for x in inputs]
        expected = _outcome(SUBJECTS[name], exact, dtype)
    errors = [abs(a - b).max() / (abs(b).max() or 1) for a, b in zip(found, expected, strict=True)]
    return float(max(errors)) if np.isfinite(errors).all() else math.nan


def _outcome(subject, inputs: list, dtype: np.dtype) -> list[np.ndarray]:
    """The outputs and gradients of an op, or parameters and moments after a step, in float64."""
    if isinstance(subject, Op):
        ys, saved = subject.forward(*map(asarray, inputs))
        dys = [drawn_dy(y.shape, k, dtype).astype(inputs[0].dtype) for k, y in enumerate(ys)]
        gradients = subject.backward(*map(asarray, dys), *saved)
        made = [*ys, *(gradients if isinstance(gradients, tuple) else (gradients,))]
    else:
        (param,) = inputs
        wide = np.float64 if param.dtype == np.float64 else np.float32
        dy = drawn_dy(param.shape, 0, dtype).astype(param.dtype)
        moments = [np.zeros(param.shape, wide) for _ in range(subject.moments)]
        made = [asarray(x) for x in (param, dy, *moments)]
        subject.step(*made, asarray(np.zeros((2, param.size), wide)))
    return [to_numpy(x).astype(np.float64) for x in made]


@part
def embedding(machine: Machine) -> Iterator[Check]:
    """the gradient of an embedding, whose rows are sums of many rows"""
    rng, (N, V, D) = np.random.default_rng(0), (65536, 1000, 64) if machine.is_gpu else (600, 20, 8)
    index, dy = rng.integers(0, V, N), (rng.normal(size=(N, D)) + 0.1).astype(np.float32)
    expected = np.zeros((V, D))
    np.add.at(expected, index, dy.astype(np.float64))
    found = to_numpy(embedding_backward(asarray(dy), asarray(index), V))
    yield at_most(f"{N} tokens of {V} rows", abs(found - expected).max() / abs(expected).max(), 1e-5)
    dy[index == 3] = np.inf
    found = to_numpy(embedding_backward(asarray(dy), asarray(index), V))
    yield equal("rows that an infinite one makes not finite", np.flatnonzero(~np.isfinite(found).all(1)), [3])


# -- captured


@part
def products(machine: Machine) -> Iterator[Check]:
    """matrix products in a captured step"""
    rng = np.random.default_rng(0)
    shapes = {"matrices": ((64, 48), (48, 32)), "a batch": ((3, 5, 8), (3, 8, 4)), "a vector": ((6, 7), (7,))}
    shapes |= {"transposed": ((48, 64), (32, 48)), "heads": ((2, 5, 3, 8), (2, 8, 3, 5))}
    for storage in ("float32", "float64", "float16"):
        for what, (a, b) in shapes.items():
            x, y = (asarray(rng.normal(size=shape).astype(storage)) for shape in (a, b))
            if what in ("transposed", "heads"):  # views that cuBLAS reads as they lie
                x, y = (z.swapaxes(*((0, 1) if z.ndim == 2 else (1, 2))) for z in (x, y))
            out = x @ y
            out[...] = 0

            def step(x=x, y=y, out=out):
                out[...] = x @ y

            Graph(step)()
            exact = to_numpy(x).astype(float) @ to_numpy(y).astype(float)
            found = abs(to_numpy(out) - exact).max() / abs(exact).max()
            yield at_most(f"{what}, {storage}", found, TOLERANCE[storage])


@part
def captured_steps(machine: Machine) -> Iterator[Check]:
    """a captured training step trains as plain steps do"""
    for name in ("convolutions", "attention"):
        plain = _losses(name, lambda step: step)
        found = _losses(name, Graph)
        yield at_most(f"{name}: relative difference of losses", abs(found / plain - 1).max(), 1e-4)
        yield Check(f"{name}: first and last loss", f"{plain[0]:.4f}, {plain[-1]:.4f}")


def _losses(name: str, prepared: Callable, steps: int = 5) -> np.ndarray:
    """The losses of a small model, whose step `prepared` makes; three steps of warm-up come before them."""
    tn.manual_seed(0)
    rng = np.random.default_rng(0)
    device = tn.zeros(1).device
    if name == "attention":
        x = tn.tensor(rng.integers(0, 20, (4, 6)))
        layers = nn.Embedding(20, 16), nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        model = nn.Sequential(*layers, nn.Flatten(), nn.LayerNorm(96), nn.Linear(96, 3))
    else:
        x = tn.tensor(rng.normal(size=(4, 1, 8, 8)).astype(np.float32))
        layers = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        model = nn.Sequential(*layers, nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(128, 3))
    model.to(device)
    optimizer = tn.optim.AdamW(model.parameters(), 0.01)
    target, cost = tn.tensor(rng.integers(0, 3, 4)), tn.zeros(())

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        cost.copy_(loss.detach())

    run = prepared(step)
    if run is step:
        for _ in range(3):
            step()
    losses = []
    for _ in range(steps):
        run()
        losses.append(cost.item())
    return np.array(losses)


@part
def dropout(machine: Machine) -> Iterator[Check]:
    """masks drawn by a kernel, plain and captured"""
    n, p = 1 << (22 if machine.is_gpu else 10), 0.3
    x, out = tn.ones(n), tn.zeros(n)
    tn.manual_seed(0)
    plain = [F.dropout(x, p).numpy() for _ in range(5)]
    kept = plain[0] != 0
    yield at_most("|share kept - 0.7| in σ", abs(kept.mean() - 0.7) / math.sqrt(p * (1 - p) / n), 5)
    yield at_most("error of 1 / 0.7", abs(plain[0][kept] - 1 / 0.7).max(), 1e-6)
    tn.manual_seed(0)
    graph = Graph(lambda: out.copy_(F.dropout(x, p)))  # after three steps of warm-up
    for k in (3, 4):
        graph()
        yield equal(f"elements that replay {k - 2} has differently", int((out.numpy() != plain[k]).sum()), 0)


# -- fast


@part
def host(machine: Machine) -> Iterator[Check]:
    """µs of the host for a launch"""
    xp = current_backend().namespace
    x, weight = asarray(np.ones((64, 768), np.float32)), asarray(np.ones(768, np.float32))
    op, out = SUBJECTS["layer_norm"], xp.empty_like(x)
    _, saved = op.forward(x, weight, weight)
    calls = {
        "the backend's own add": lambda: xp.add(x, x, out=out),
        "layer_norm forward": lambda: op.forward(x, weight, weight),
        "layer_norm backward": lambda: op.backward(x, *saved),
    }
    times = 500 if machine.is_gpu else 2
    for what, call in calls.items():
        call()
        machine.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            call()
        yield Check(what, f"{(time.perf_counter() - start) / times * 1e6:.1f} µs")
        machine.synchronize()


@part
def speed(machine: Machine) -> Iterator[Check]:
    """the rate of the main kernels, as a fraction of the rate of a copy"""
    bench = dataclasses.replace(prepare(None if machine.is_gpu else 1 << 16), against={})
    yield Check("a copy", f"{bench.clock.copy_rate / 1e9:.0f} GB/s")
    for name in ("layer_norm", "rms_norm", "softmax", "batch_norm", "group_norm", "embedding", "adamw"):
        cases = SUBJECTS[name].cases[1::3] if machine.is_gpu else [small_case(name)]
        for storage, case in itertools.product(machine.storages[::2], cases):
            for row in bench.measure(name, case, np.dtype(storage), 0.0):
                *_, micro, _, fraction = cells(row, bench.clock.copy_rate, ())
                what = f"{name} {row.case.partition(' ')[0]} {storage} {row.direction}"
                yield Check(what, f"{micro} µs, {fraction} of a copy")


# -- all parts


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=("cupy", "emulator"), default="cupy", help="emulator: a dry run")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="also write the checks to this file")
    parser.add_argument("--seconds", type=float, default=120, help="the most that a part may take")
    parser.add_argument("--run", nargs=2, metavar=("PART", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.run:
        name, path = given.run
        run_here(PARTS[name], Machine(given.backend == "cupy"), Path(path))
        return 0
    chosen = [name for name in PARTS if name in (given.only or PARTS)]
    command = sys.executable, __file__, "--backend", given.backend, "--run"
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "backend": given.backend}
    return int(run_all(chosen, command, given.json, facts, given.seconds) > 0)


if __name__ == "__main__":
    sys.exit(main())
