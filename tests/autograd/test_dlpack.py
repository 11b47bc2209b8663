"""DLPack: memory shared with NumPy, PyTorch, JAX and CuPy, in both directions, and what is no such memory."""

import gc
import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd.memory import watched

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint16", "bool"]
NEW_NUMPY = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
needs_new_numpy = pytest.mark.skipif(not NEW_NUMPY, reason="NumPy 2.0 makes what it imports read-only")

VIEWS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "part": lambda x: x[1:, ::2],
    "0-d": lambda x: x[:1, :1].reshape(()),
    "empty": lambda x: x[:0],
}


def values(dtype="float32"):
    return (np.arange(12).reshape(3, 4) % 5 - (0 if dtype.startswith("u") else 2)).astype(dtype)


class Exporter:
    """An array of another library, which says where it is."""

    def __init__(self, array, device=(1, 0), **attributes):
        self.array, self.device = array, device
        vars(self).update(attributes)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options if NEW_NUMPY else {})

    def __dlpack_device__(self):
        return self.device


# -- in and out, sharing memory


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_numpy_and_back(view, dtype):
    a = view(values(dtype))
    x = tn.from_dlpack(np.asarray(a))
    assert (x.dtype, x.shape, x.device, x.requires_grad, x.creator) == (a.dtype, a.shape, "cpu", False, None)
    np.testing.assert_array_equal(x.numpy(), a)
    assert a.size == 0 or np.shares_memory(x.array, a)
    y = view(tn.tensor(values(dtype)))
    b = np.from_dlpack(y)
    assert (b.dtype, b.shape) == (a.dtype, a.shape)
    np.testing.assert_array_equal(b, a)
    assert a.size == 0 or np.shares_memory(b, y.array)
    assert y.__dlpack_device__() == (1, 0)


@needs_new_numpy
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_pytorch_and_back(view, dtype, torch):
    theirs = view(torch.tensor(values(dtype)))
    x = tn.from_dlpack(theirs)
    assert (x.dtype, x.shape) == (dtype, tuple(theirs.shape))
    np.testing.assert_array_equal(x.numpy(), theirs.numpy())
    theirs.fill_(1)
    np.testing.assert_array_equal(x.numpy(), theirs.numpy())
    x.zero_()
    assert not theirs.any()
    y = view(tn.tensor(values(dtype)))
    back = torch.from_dlpack(y)
    assert (str(back.dtype), tuple(back.shape)) == (f"torch.{dtype}", y.shape)
    np.testing.assert_array_equal(back.numpy(), y.numpy())
    y.fill_(1)
    assert back.numel() == 0 or back.all()
    back.zero_()
    assert not y.any()


def test_jax_and_back():
    jax = pytest.importorskip("jax")
    theirs = jax.numpy.arange(12.0).reshape(3, 4)
    x = tn.from_dlpack(theirs)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.numpy(), np.asarray(theirs))
    with pytest.raises(RuntimeError, match=r"read-only.*x\.clone\(\)"):
        x.zero_()
    np.testing.assert_array_equal(jax.numpy.from_dlpack(tn.tensor(values())), values())
    with pytest.raises(TypeError, match="from_dlpack cannot take this array of bfloat16"):
        tn.from_dlpack(theirs.astype(jax.numpy.bfloat16))


def test_a_tensor_and_back():
    x = tn.tensor(values())
    y = tn.from_dlpack(x)
    x.zero_()
    assert not y.any()
    with pytest.raises(BufferError, match=r"requires one: use x\.detach\(\)"):
        tn.from_dlpack(tn.tensor(values(), requires_grad=True))


def test_memory_outlives_the_tensor_it_came_from():
    b = np.from_dlpack(tn.tensor(values()))
    x = tn.from_dlpack(values())
    gc.collect()
    np.testing.assert_array_equal(b, values())
    np.testing.assert_array_equal(x.numpy(), values())


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (2, 0)], ids=["none", "0.8", "1.0", "2.0"])
def test_capsules(version):
    x = tn.tensor(values())
    made = x.__dlpack__(stream=None, max_version=version, dl_device=(1, 0), copy=False)
    y = tn.from_dlpack(made)
    assert np.shares_memory(x.array, y.array)
    with pytest.raises(ValueError, match=r"capsule was used before.*call __dlpack__\(\) again"):
        tn.from_dlpack(made)


def test_a_capsule_of_pytorch(torch):
    theirs = torch.tensor(values())
    x = tn.from_dlpack(torch.utils.dlpack.to_dlpack(theirs))
    theirs.zero_()
    assert not x.any()


# -- copies


def test_copies():
    a = values()
    x, y = tn.from_dlpack(a, copy=True), tn.tensor(a)
    b = tn.from_dlpack(y.__dlpack__(copy=True))
    a[...] = 0
    y.zero_()
    np.testing.assert_array_equal(x.numpy(), values())
    np.testing.assert_array_equal(b.numpy(), values())
    assert x.array.flags.writeable
    x.zero_()
    assert tn.from_dlpack(a, copy=False).array.ctypes.data == a.ctypes.data


def test_read_only_arrays():
    a = values()
    a.flags.writeable = False
    if NEW_NUMPY:
        x = tn.from_dlpack(a)
        with pytest.raises(RuntimeError, match="read-only"):
            x.zero_()
    expanded = tn.ones(1, 3).expand(2, 3)
    with pytest.raises(BufferError, match=r"read-only.*x\.clone\(\)"):
        expanded.__dlpack__()
    assert tn.from_dlpack(expanded.__dlpack__(copy=True)).tolist() == [[1] * 3] * 2
    if NEW_NUMPY:
        assert not np.from_dlpack(expanded).flags.writeable


def test_what_another_library_expanded_cannot_be_written_to(torch):
    x = tn.from_dlpack(torch.ones(1, 3).expand(2, 3))
    with pytest.raises(RuntimeError, match="elements share memory"):
        x.add_(1)


# -- gradients


def test_a_tensor_that_requires_a_gradient_is_not_exported():
    x = tn.tensor(values(), requires_grad=True)
    for y in (x, x * 2, tn.nn.Linear(2, 3).weight):
        with pytest.raises(BufferError, match=r"carries no gradient.*use x\.detach\(\)"):
            y.__dlpack__()
        with tn.no_grad(), pytest.raises(BufferError, match="carries no gradient"):
            y.__dlpack__()
        assert y.__dlpack_device__() == (1, 0)
        np.testing.assert_array_equal(np.from_dlpack(y.detach()), y.numpy())


def test_pytorchs_own_refusal_is_passed_on(torch):
    with pytest.raises(BufferError, match="require gradient"):
        tn.from_dlpack(torch.ones(2, requires_grad=True))


@pytest.mark.parametrize("export", [np.from_dlpack, "torch"], ids=["numpy", "torch"])
@needs_new_numpy
def test_a_write_through_exported_memory_is_noticed(export, request):
    export = request.getfixturevalue("torch").from_dlpack if export == "torch" else export
    x = tn.tensor(values("float64"), requires_grad=True)
    shared = export(x.detach())
    y = (x * x).sum()
    shared[0, 0] = 100.0
    with pytest.raises(RuntimeError, match=r"input 0 of Mul .* changed in place"):
        y.backward()
    y = (x * x).sum()  # a later call sees the new numbers
    y.backward()
    np.testing.assert_array_equal(x.grad.array, 2 * x.array)
    assert x[0, 0].item() == 100


def test_a_write_by_the_exporter_is_noticed():
    a = values("float64")
    x = tn.from_dlpack(a)
    w = tn.ones(3, 4, dtype=tn.float64, requires_grad=True)
    y = (w * x).sum()
    a[0, 0] = 100
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    (w * x).sum().backward()
    np.testing.assert_array_equal(w.grad.array, a)


def test_a_write_by_the_exporter_to_a_leaf_and_its_views_is_noticed():
    a = values("float64")
    x = tn.from_dlpack(a).requires_grad_()
    y = (x[1:].exp() * x[1:]).sum()
    a[2, 0] += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    y = x.exp().sum()
    y.backward()
    np.testing.assert_allclose(x.grad.array, np.exp(a))


def test_memory_is_watched_only_while_it_is_used():
    before = set(watched)
    x = tn.from_dlpack(values())
    view = x[1:]
    assert len(watched - before) == 1
    del x
    assert len(watched - before) == 1
    del view
    gc.collect()
    assert watched <= before
    y = tn.tensor(values())
    b = np.from_dlpack(y)
    assert len(watched - before) == 1
    del b
    assert watched <= before


def test_an_optimizer_that_moves_shared_memory_says_so():
    parameter = tn.from_dlpack(values()).requires_grad_()
    with pytest.warns(UserWarning, match="moves its parameters"):
        tn.optim.SGD([parameter], lr=0.1)


# -- what cannot be shared


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (3, TypeError, r"such as PyTorch's, got int: use tn\.tensor"),
        ([1.0], TypeError, "got list"),
        (values("complex64"), TypeError, "real numbers or bools, got values of dtype complex64"),
        (np.arange(3).astype(">f4"), BufferError, "native byte order"),
        (Exporter(values(), (8, 0)), ValueError, r"DLPack device \(8, 0\) is not on the CPU or a CUDA GPU"),
        (
            Exporter(values(), (2, 0)),
            ValueError,
            r"on 'cuda', but new tensors are on 'cpu': pass device='cpu'",
        ),
    ],
    ids=["number", "list", "complex", "byte order", "metal", "cuda"],
)
def test_what_from_dlpack_does_not_take(source, error, words):
    with pytest.raises(error, match=words):
        tn.from_dlpack(source)


def test_bfloat16_of_pytorch(torch):
    with pytest.raises(TypeError, match=r"array of torch\.bfloat16 .*convert it first"):
        tn.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


def test_an_unknown_device():
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        tn.from_dlpack(values(), device="tpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"dl_device": (2, 0)}, r"device \(1, 0\) cannot be exported to \(2, 0\)"), ({"stream": 1}, "stream")],
    ids=["device", "stream"],
)
def test_arguments_of_the_export(options, words):
    with pytest.raises((BufferError, RuntimeError, ValueError), match=words):  # the stream: NumPy's own
        tn.tensor(values()).__dlpack__(**options)


def test_negative_strides_are_not_exported():
    x = tn.tensor(values())[::-1]
    if x.array.strides[0] > 0:
        pytest.skip("indexing copied")
    with pytest.raises(BufferError, match=r"negative strides.*x\.clone\(\)"):
        x.__dlpack__()
    np.testing.assert_array_equal(np.from_dlpack(x.clone()), values()[::-1])


# -- other backends


@pytest.mark.cuda
def test_cupy_and_back():
    with tn.use_backend("cupy"):
        import cupy

        theirs = cupy.asarray(values())
        x = tn.from_dlpack(theirs)
        assert (x.device, type(x.array)) == ("cuda", cupy.ndarray)
        theirs[...] = 0
        assert not x.any()
        y = tn.tensor(values())
        assert y.__dlpack_device__()[0] == 2
        back = cupy.from_dlpack(y)
        back[...] = 0
        assert not y.any()
        assert tn.from_dlpack(x, copy=True).array.data.ptr != x.array.data.ptr
        with pytest.raises(BufferError, match="carries no gradient"):
            cupy.from_dlpack(tn.ones(2, requires_grad=True))


@pytest.mark.cuda
def test_between_the_cpu_and_the_gpu():
    with tn.use_backend("cupy"):
        with pytest.raises(ValueError, match=r"on 'cpu', but new tensors are on 'cuda': pass device='cuda'"):
            tn.from_dlpack(values())
        with pytest.raises(ValueError, match="from_dlpack got an array on 'cpu'"):
            tn.from_dlpack(values().__dlpack__())
        with pytest.raises(ValueError, match="only as a copy"):
            tn.from_dlpack(values(), device="cuda", copy=False)
        moved = tn.from_dlpack(values(), device="cuda")
        assert moved.device == "cuda"
        np.testing.assert_array_equal(moved.numpy(), values())
        a = values()
        kept = tn.from_dlpack(a, device="cpu")
        a[...] = 0
        assert kept.device == "cpu"
        assert not kept.any()
        gpu = tn.tensor(values())
    with pytest.raises(ValueError, match=r"on 'cuda', but new tensors are on 'cpu'"):
        tn.from_dlpack(gpu)
    with pytest.raises(ValueError, match=r"on 'cuda', but new tensors are on 'cpu'"):
        tn.from_dlpack(gpu.__dlpack__())
    np.testing.assert_array_equal(tn.from_dlpack(gpu, device="cpu").numpy(), values())
    np.testing.assert_array_equal(tn.from_dlpack(gpu.__dlpack__(dl_device=(1, 0))).numpy(), values())
    with pytest.raises(BufferError, match=r"only as a copy: use x\.cpu\(\)"):
        gpu.__dlpack__(dl_device=(1, 0), copy=False)


@pytest.mark.cuda
def test_an_array_on_the_gpu_is_read_where_it_is():
    with tn.use_backend("cupy"):
        import cupy

        for read in (tn.tensor, tn.as_tensor, tn.Tensor):
            x = read(OnlyOnTheGpu(cupy.asarray(values())))
            assert x.device == "cuda"
            np.testing.assert_array_equal(x.numpy(), values())


class OnlyOnTheGpu(Exporter):
    """Like PyTorch's tensors on a GPU: NumPy cannot have them."""

    def __init__(self, array):
        super().__init__(array, (2, 0), dtype=array.dtype)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_the_emulator_shares_no_memory():
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    with tn.use_backend("emulator"):
        x = tn.tensor(values())
        with pytest.raises(BufferError, match=r"emulator.*x\.cpu\(\)"):
            x.__dlpack__()
        with pytest.raises(BufferError, match=r"emulator.*x\.cpu\(\)"):
            x.__dlpack_device__()
        with pytest.raises(ValueError, match="on 'cpu', but new tensors are on 'emulator'"):
            tn.from_dlpack(values())
        assert tn.from_dlpack(values(), device="emulator").device == "emulator"
