"""The CUDA kernels, run on the CPU: correct for every registered case, row length and order.

An error is the difference from the same computation in float64, relative to the largest value, or to 1.
"""

import re
import shutil

import numpy as np
import pytest
from kernel_runs import CASES, OPS, TOLERANCE, error, row_case, run, worst_error
from kernels import ITEMSIZE, KERNELS, SOURCES

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_device, to_numpy
from tinygrad_norm.backends.cuda.launch import CudaSource, inverse
from tinygrad_norm.backends.cuda.signature import parameters_of
from tinygrad_norm.backends.cuda.teams import teams_for
from tinygrad_norm.normalization.sample import layernorm
from tinygrad_norm.normalization.sample.layernorm import layer_norm_backward, layer_norm_forward
from tinygrad_norm.registry import REGISTRY, Case

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")

SLOW = pytest.mark.slow


# -- every registered case, plain and checked, in three orders


@pytest.mark.parametrize(("op", "case"), CASES)
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_registered_cases(op, case, checked):
    for seed in range(3):
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(op, case, np.float32) <= TOLERANCE["float32"]


@pytest.mark.parametrize(("op", "case"), CASES)
@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
def test_registered_cases_in_double(op, case, checked):
    for seed in range(3):
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(op, case, np.float64) <= TOLERANCE["float64"]


# -- rows of every length: all shapes of teams

LENGTHS = (1, 2, 31, 32, 33, 1023, 4096, 65537, 1_000_000)


def row_cases():
    for name in OPS:
        for D in LENGTHS:
            if name == "instance_norm" and D == 1:
                continue  # raises: one position has no variance
            quick = (name == "layer_norm" and D < 1_000_000) or D in (33, 4096)
            for checked in (False, True):
                marks = [] if quick and (not checked or D == 4096) else [SLOW]
                mode = "checked" if checked else "plain"
                yield pytest.param(name, D, checked, id=f"{name}-{D}-{mode}", marks=marks)


@pytest.mark.parametrize(("name", "D", "checked"), list(row_cases()))
def test_rows_of_every_length(name, D, checked):
    for seed in range(3) if D < 1_000_000 else [2]:
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(REGISTRY[name], row_case(name, D), np.float32) <= TOLERANCE["float32"]


def test_many_rows_for_few_blocks():
    """Persistent blocks go through many rows, and their sums of columns add up."""
    case = Case(((500, 36), (36,), (36,)), {"normalized_shape": (36,)})
    with emulator.record() as launches:
        assert worst_error(REGISTRY["layer_norm"], case, np.float32) <= TOLERANCE["float32"]
    backward = next(launch for launch in launches if launch.name.startswith("layer_norm_backward"))
    assert backward.grid[0] * 64 < 500


@pytest.mark.parametrize("shape", [(40, 5), (7, 3, 9), (2, 3, 300), (33, 2, 3), (300, 3, 31)])
def test_batch_normalization_in_strips_of_every_kind(shape):
    """Of the last, a channel has 310 strips, more than the 256 whose moments are kept in registers."""
    case = Case((shape, None, None, (shape[1],), (shape[1],)), {"training": True})
    assert worst_error(REGISTRY["batch_norm"], case, np.float32) <= TOLERANCE["float32"]


def test_batch_normalization_of_rows_in_several_pieces():
    case = Case(((1, 2, 20000), None, None, (2,), (2,)), {"training": True})
    assert worst_error(REGISTRY["batch_norm"], case, np.float32) <= TOLERANCE["float32"]


@pytest.mark.parametrize("d", [1, 2, 3, 49, 784, 2**20 + 7, 2**25 - 1])
def test_kernels_divide_by_an_inverse(d):
    """As `quotient` in moments.cuh does: the upper 64 bits of 4·a·⌈2⁶²/d⌉."""
    for a in (0, 1, d - 1, d, 7 * d - 1, 7 * d, 2**36 // d * d - 1, 2**36 // d * d, 2**36):
        assert 4 * a * inverse(d) >> 64 == a // d


POOLS = [(2, 2), (2, 260), (12, 260), (3, 7), (70, 3), (600, 4), (1, 5000), (2, 30_000)]


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize(("channels", "S"), POOLS)
def test_group_normalization_by_teams_of_every_size(channels, S, checked):
    """Of 32 to 1024 threads, with 1 to all of them for a channel; the last pool exceeds shared memory."""
    case = Case(((2, 2 * channels, S), (2 * channels,), (2 * channels,)), {"num_groups": 2})
    for seed in range(1 + 2 * checked):
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(REGISTRY["group_norm"], case, np.float32) <= TOLERANCE["float32"]


@pytest.mark.parametrize("checked", [False, pytest.param(True, marks=SLOW)], ids=["plain", "checked"])
@pytest.mark.parametrize("S", [5000, 12_544, 20_000, 40_000])
def test_instance_normalization_of_pools_larger_than_registers(S, checked):
    case = Case(((1, 2, S), None, None, (2,), (2,)))
    for seed in range(1 + 2 * checked):
        with emulator.schedule(seed=seed, checked=checked):
            assert worst_error(REGISTRY["instance_norm"], case, np.float32) <= TOLERANCE["float32"]


# -- arguments that kernels do not take directly


def test_strided_input_is_made_contiguous():
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    with tn.use_backend("emulator"):
        y, *_ = layer_norm_forward(emulator.asarray(x).T, None, None, 1e-5)
    assert error(y, layer_norm_forward(x.T.astype(float), None, None, 1e-5)[0]) <= 1e-6


def test_rows_that_begin_off_a_multiple_of_16_bytes():
    x = np.random.default_rng(0).normal(size=2 * 64 + 1).astype(np.float32)
    with tn.use_backend("emulator"), emulator.schedule(checked=True), emulator.record() as launches:
        y, *_ = layer_norm_forward(emulator.asarray(x)[1:].reshape(2, 64), None, None, 1e-5)
    assert error(y, layer_norm_forward(x[1:].reshape(2, 64).astype(float), None, None, 1e-5)[0]) <= 1e-6
    assert launches[0].name == "layer_norm_forward<float, 1, 16, 4>"


@pytest.fixture
def column_sums():
    """Launch column_sums of (2, 3) with one thing changed."""

    def launch(**changes):
        with tn.use_backend("emulator"):
            x, sums = emulator.zeros((2, 3), np.float32), emulator.empty(3, np.float32)
            given = {"x": x, "sums": sums, "P": 2, "D": 3, "blocks": 1, "threads": 1024, "storage": x.dtype}
            given |= changes
            blocks, threads, storage = (given.pop(name) for name in ("blocks", "threads", "storage"))
            args = tuple(given.values())
            layernorm._kernels.launch("column_sums", storage, (), blocks, threads, args)
            return sums

    return launch


def test_a_launch_with_the_right_arguments(column_sums):
    assert column_sums().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"P": 2.0}, TypeError, r"column_sums: argument P: received 2\.0, expected a number for int64"),
        ({"P": True}, TypeError, "argument P: received True"),
        ({"x": np.zeros((2, 3), np.float32), "sums": None}, TypeError, "kernels run on CuPy's arrays"),
        (
            {"sums": np.zeros(3, np.float32)},
            TypeError,
            r"sums: received a numpy.ndarray of float32 and shape \(3,\), expected an array of float32, "
            "or None, on the device of the others",
        ),
        (
            {"P": np.zeros(1000)},
            TypeError,
            r"argument P: received a numpy.ndarray of float64 and shape \(1000,\)",
        ),
        (
            {"sums": emulator.zeros(3)},
            TypeError,
            "received an array of float64, expected an array of float32",
        ),
        ({"x": emulator.zeros((3, 2), np.float32).T}, ValueError, r"strides \(4, 8\).*ascontiguousarray"),
        ({"storage": np.int32}, TypeError, "no kernel stores int32"),
        ({"storage": "long"}, TypeError, "no kernel stores int64"),
        ({"storage": "banana"}, TypeError, "no kernel stores 'banana'; there are float16, bfloat16"),
        ({"storage": None}, TypeError, "no kernel stores None"),
        ({"threads": 2000}, ValueError, "received 2000 threads a block, possible are 1 to 1024"),
        ({"blocks": 2**31}, ValueError, "received 2147483648 blocks, possible are 1 to 2147483647"),
        ({"threads": 256.7}, TypeError, r"received 256\.7 threads a block, expected an integer"),
        ({"blocks": True}, TypeError, "received True blocks, expected an integer"),
        ({"x": None, "sums": None}, TypeError, "column_sums: received no array, expected one at least"),
        ({"x": None, "sums": np.float32(1)}, TypeError, "received no array"),
        ({"P": 2**70}, ValueError, f"argument P: received {2**70}, which int64 cannot hold"),
        ({"P": np.uint64(2**63)}, ValueError, f"argument P: received {2**63}, which int64 cannot hold"),
        ({"more": 1}, TypeError, r"received 5 arguments, expected 4: \(partials, sums, P, D\)"),
    ],
)
def test_a_launch_is_checked(column_sums, changes, kind, message):
    with pytest.raises(kind, match=message):
        column_sums(**changes)


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (1e39, r"layer_norm_forward: argument eps: received 1e\+39, which float32 cannot hold"),
        (10**400, "argument eps: received an integer of 1329 bits, which float32 cannot hold"),
    ],
    ids=["float32", "float64"],
)
def test_a_number_that_the_kernels_type_cannot_hold(eps, message):
    with tn.use_backend("emulator"), pytest.raises(ValueError, match=message):
        layer_norm_forward(emulator.zeros((2, 4), np.float32), None, None, eps)


def test_more_shared_memory_than_there_is():
    with tn.use_backend("emulator"):
        x = emulator.zeros((2, 3), np.float32)
        with pytest.raises(
            ValueError, match="1000000 bytes of shared memory a block, possible are 0 to 232448"
        ):
            layernorm._kernels.launch("column_sums", x.dtype, (), 1, 256, (x, x, 2, 3), 10**6)


def test_empty_input_never_reaches_a_kernel():
    with tn.use_backend("emulator"), emulator.record() as launches:
        y, mean, _ = layer_norm_forward(emulator.zeros((0, 4), np.float32), None, None, 1e-5)
    assert y.shape == (0, 4)
    assert mean.shape == (0, 1)
    assert not launches


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_every_kernel_declares_types_that_launches_know(kernel):
    names = [parameter.name for parameter in parameters_of(kernel.source.code, kernel.name, "float16")]
    assert len(set(names)) == len(names)


def test_a_parameter_of_an_unknown_type_raises():
    with pytest.raises(ValueError, match="parameter n is of type int, expected one of"):
        parameters_of("__global__ void f(int n) {}", "f", "float32")
    with pytest.raises(ValueError, match="no kernel g in this text"):
        parameters_of("__global__ void f(long long n) {}", "g", "float32")
    assert parameters_of("__global__ void f() {}", "f", "float32") == ()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.path.stem)
def test_indices_have_64_bits(source):
    """Arrays can have more than 2³¹ elements: only thread indices and what registers hold have 32 bits."""
    code = re.sub(r"//.*|template <[^>]*>|constexpr int", "", source.code)
    assert set(re.findall(r"\bint (\w+)(?= [=:]|[,;])", code)) <= {
        *("lane", "warp", "team", "other", "distance"),
        *("k", "v", "u"),
        *("digit", "before", "earlier", "count"),  # within the tile of a block that sorts
        *("begin", "place", "at", "q"),  # within a plane that a launch has checked
        *(f"{name}{axis}" for name in "bdefq" for axis in (1, 2, 3)),
        *("length", "first", "within"),  # of a strip, which registers hold
        "group",  # of lanes, within a team
    }
    small = "(?!lanes|group)"  # the groups of a row have blocks of their own, fewer than 2³¹
    assert not re.search(rf"\b(unsigned|size_t|short) {small}\w+ =", code.replace("constexpr unsigned", ""))
    for wide, factor in re.findall(r"(\(long long\))?(?:blockIdx|gridDim)\.x \* (\w+)", code):
        assert wide or factor in ("D", "d", "size")  # which are long long


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.path.stem)
def test_every_text_names_its_parts_and_includes_none(source):
    assert [line for line in source.code.splitlines() if line.startswith("#line")] == [
        f'#line 1 "{part.name}"' for part in source.parts
    ]
    assert "#include" not in source.code


@pytest.mark.parametrize("itemsize", sorted(set(ITEMSIZE.values())))
@pytest.mark.parametrize("D", [1, 7, 64, 1000, 1024, 8192, 65537, 1_000_000])
def test_teams_hold_the_row(D, itemsize):
    chosen = teams_for(D, itemsize, aligned=True)
    assert D % chosen.vector == 0
    assert chosen.vector in (1, 16 // itemsize)
    assert not chosen.kept or chosen.team * chosen.kept * chosen.vector >= D
    assert teams_for(D, itemsize, aligned=False).vector == 1


# -- a whole optimizer step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
        ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
        ("Adam", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True, "maximize": True}),
        ("AdamW", {"eps": 0.0}),
    ],
)
def test_optimizers_take_the_same_steps(kind, options, dtype):
    def steps():
        rng = np.random.default_rng(0)
        parameters = [
            tn.tensor(rng.normal(size=shape).astype(dtype), requires_grad=True) for shape in ((3, 5), (7,))
        ]
        optimizer = getattr(tn.optim, kind)(parameters, lr=0.1, **options)
        for _ in range(3):
            for p in parameters:
                p.grad = tn.tensor(rng.normal(size=p.shape).astype(dtype))
            optimizer.step()
        return [to_numpy(p.array).copy() for p in parameters]

    expected = steps()
    with tn.use_backend("emulator"), emulator.record() as launches:
        found = steps()
    assert len(launches) == 3
    for a, b in zip(found, expected, strict=True):
        assert error(a, b) <= (1e-6 if dtype is np.float32 else 1e-14)


# -- planted bugs


def planted(tmp_path, part, old, new):
    """The text of layernorm.cu and its shared parts, with one change."""
    source = CudaSource(layernorm.__file__, "../core/moments.cuh", "rowgradients.cuh")
    assert part in [path.name for path in source.parts]
    parts = []
    for path in source.parts:
        text = path.read_text()
        if path.name == part:
            assert text.count(old) == 1
            text = text.replace(old, new)
        parts.append(tmp_path / path.name)
        parts[-1].write_text(text)
    source.parts = tuple(parts)
    return source


@pytest.mark.parametrize(
    ("part", "old", "new", "message"),
    [
        (
            "reduce.cuh",
            "    __syncthreads();\n    value = reduce_lanes<WARPS>",
            "    value = reduce_lanes<WARPS>",
            r"race on __shared__.*of_warp",
        ),
        (
            "reduce.cuh",
            "__shared__ A of_warp[THREADS / 32];",
            "__shared__ A of_warp[THREADS / 32 - 1];",
            "index 15 out of the bounds",
        ),
        ("reduce.cuh", "for (int distance = LANES / 2", "for (int distance = LANES / 4", None),
        ("layernorm.cu", "store(y + n * D + i, out);", "store(y + n * D + i + 1, out);", "misaligned access"),
        ("layernorm.cu", "store(y + n * D + i, out);", "store(y + i, out);", r"race on argument 3 \(y\)"),
        ("teams.cuh", "      __syncthreads();\n#pragma unroll 1", "", "race on dynamic shared memory"),
        (
            "teams.cuh",
            "      __syncthreads();  // `shared` will be used again\n",
            "",
            "race on dynamic shared memory",
        ),
        ("rowgradients.cuh", "shared + (1 + index) * D", "shared + index * D", None),
    ],
    ids=[
        "missing barrier",
        "off by one",
        "wrong width",
        "misaligned store",
        "two blocks, one address",
        "missing barrier between teams",
        "missing barrier between vectors",
        "two vectors in one place",
    ],
)
def test_a_planted_bug_is_caught(monkeypatch, tmp_path, part, old, new, message):
    monkeypatch.setattr(layernorm, "_kernels", planted(tmp_path, part, old, new))
    sizes = {
        "reduce.cuh": (2, 4096),
        "rowgradients.cuh": (2, 8200),
    }  # teams of several warps, sums in shared memory
    N, D = sizes.get(part, (40, 64))  # several teams a block
    x, dy = np.random.default_rng(0).normal(size=(2, N, D)).astype(np.float32)
    weight = np.ones(D, np.float32)

    def normalize():
        on = [emulator.asarray(a) for a in (x, dy, weight)]
        y, mean, rstd = layer_norm_forward(on[0], on[2], on[2], 1e-5)
        return y, *layer_norm_backward(on[1], on[0], on[2], mean, rstd)

    def worst():
        y, mean, rstd = layer_norm_forward(x.astype(float), weight, weight, 1e-5)
        expected = y, *layer_norm_backward(dy.astype(float), x.astype(float), weight, mean, rstd)
        return max(error(a, b) for a, b in zip(normalize(), expected, strict=True))

    with tn.use_backend("emulator"), emulator.schedule(checked=True, seed=1):
        if message is None:
            assert worst() > 1e-3
            return
        with pytest.raises(emulator.KernelError, match=message):
            normalize()


# -- training


def test_a_training_run_gives_the_same_losses():
    def losses():
        tn.manual_seed(0)
        rng = np.random.default_rng(0)
        model = tn.nn.Sequential(
            tn.nn.Linear(6, 16), tn.nn.BatchNorm1d(16), tn.nn.ReLU(), tn.nn.LayerNorm(16), tn.nn.Linear(16, 3)
        )
        optimizer = tn.optim.AdamW(model.parameters(), lr=0.01)
        x, target = rng.normal(size=(20, 6)).astype(np.float32), rng.integers(0, 3, 20)
        found = []
        for _ in range(5):
            loss = tn.nn.functional.cross_entropy(model(tn.tensor(x)), tn.tensor(target))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    expected = losses()
    with tn.use_backend("emulator"):
        assert to_device(np.ones(1), "emulator") is not None
        np.testing.assert_allclose(losses(), expected, rtol=1e-5)
    assert expected[-1] < expected[0]


@pytest.mark.cuda
@pytest.mark.parametrize(("op", "case"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_registered_cases_on_the_gpu(op, case, dtype):
    here = run(op, [(None, False) if one is None else one for one in case.draw()], case.options)
    reference = [to_numpy(x).copy() for x in here]
    with tn.use_backend("cupy"):
        drawn = [(None, False) if one is None else one for one in case.draw()]
        typed = [
            (x.astype(dtype) if x is not None and x.dtype.kind == "f" else x, wanted) for x, wanted in drawn
        ]
        found = run(op, typed, case.options)
    assert max(error(a, b) for a, b in zip(found, reference, strict=True)) <= TOLERANCE[np.dtype(dtype).name]
