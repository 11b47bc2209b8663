"""What a PyTorch user types out of habit: new tensors, dtypes, in-place methods, grad modes."""

import numpy as np
import pytest

import tinygrad_norm as tn

ALIASES = [
    "half",
    "float",
    "double",
    "int",
    "long",
    "bool",
    "float16",
    "float32",
    "float64",
    "int32",
    "int64",
]


@pytest.mark.parametrize("name", ALIASES)
def test_a_dtype_has_its_short_name(name, torch):
    assert str(getattr(torch, name)) == f"torch.{getattr(tn, name)}"
    x = tn.zeros(2, dtype=getattr(tn, name))
    assert str(torch.zeros(2, dtype=getattr(torch, name)).dtype) == f"torch.{x.dtype}"


# -- from arrays


def test_from_numpy_shares_the_memory(torch):
    a = np.arange(6.0).reshape(2, 3)[:, ::2]
    x, y = tn.from_numpy(a), torch.from_numpy(a)
    a[0, 0] = 7
    x[1, 1] = 8
    assert x.tolist() == y.tolist() == a.tolist()
    assert str(y.dtype) == f"torch.{x.dtype}"
    assert not x.requires_grad


@pytest.mark.parametrize("data", [[1.0], 2, None, tn.ones(2), np.float64(1), np.array(["a"]), np.array([1j])])
def test_from_numpy_takes_arrays_of_numbers(data):
    with pytest.raises(TypeError, match=r"from_numpy takes a NumPy array|a tensor holds real numbers"):
        tn.from_numpy(data)


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64"])
@pytest.mark.parametrize("data", [[1.0, 2], 3, np.arange(3.0), np.arange(3)], ids=repr)
def test_as_tensor_copies_where_it_must(data, dtype, torch):
    x = tn.as_tensor(data, dtype=None if dtype is None else getattr(tn, dtype))
    y = torch.as_tensor(data, dtype=None if dtype is None else getattr(torch, dtype))
    assert (f"torch.{x.dtype}", x.tolist()) == (str(y.dtype), y.tolist())
    if isinstance(data, np.ndarray):
        assert np.shares_memory(x.numpy(), data) == np.shares_memory(y.numpy(), data)


def test_as_tensor_keeps_a_tensor_and_its_graph():
    x = tn.ones(2, requires_grad=True)
    assert tn.as_tensor(x) is x
    assert tn.as_tensor(x, dtype=tn.float32) is x
    tn.as_tensor(x * 2, tn.double).sum().backward()
    assert x.grad.tolist() == [2, 2]


# -- random integers


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((10, (3, 4)), {}),
        ((5, 10, (20,)), {}),
        ((-3, 2, [2, 3]), {}),
        ((10,), {"size": (3,)}),
        ((2, 10), {"size": (3,)}),
        ((), {"low": 3, "high": 5, "size": (2, 2)}),
        ((), {"high": 5, "size": (0, 2)}),
        ((0, 10, ()), {}),
        ((0, 2, (4,)), {"dtype": "float32"}),
    ],
)
def test_randint_is_pytorchs(arguments, options, torch):
    def called(library):
        return library.randint(
            *arguments, **{k: getattr(library, v) if k == "dtype" else v for k, v in options.items()}
        )

    x, y = called(tn), called(torch)
    assert (f"torch.{x.dtype}", x.shape) == (str(y.dtype), tuple(y.shape))


def test_randint_reaches_both_ends_and_nothing_else():
    assert set(tn.randint(-2, 3, (500,)).tolist()) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("n", [0, 1, 20])
def test_randperm_is_a_permutation(n, torch):
    x, y = tn.randperm(n), torch.randperm(n)
    assert sorted(x.tolist()) == list(range(n))
    assert (f"torch.{x.dtype}", x.shape) == (str(y.dtype), tuple(y.shape))
    assert tn.randperm(n, dtype=tn.float32, requires_grad=True).requires_grad


def test_random_integers_come_from_the_one_generator():
    def drawn():
        tn.manual_seed(3)
        return [x.tolist() for x in (tn.randint(100, (5,)), tn.randperm(9), tn.rand(2))]

    assert drawn() == drawn()
    tn.manual_seed(3)
    tn.rand(1)
    assert tn.randperm(9).tolist() != drawn()[1]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tn.randint(3), TypeError, "randint takes a size"),
        (lambda: tn.randint(0, 2.5, (2,)), TypeError, "high must be an int, got 2.5"),
        (lambda: tn.randint(3, 3, (2,)), ValueError, "low below high, got low=3 and high=3"),
        (lambda: tn.randint(0, 3, (2, -1)), ValueError, "negative"),
        (lambda: tn.randint(3, (2,), requires_grad=True), RuntimeError, "only floating-point"),
        (lambda: tn.randperm(-1), ValueError, "n must be at least 0"),
        (lambda: tn.randperm(2.0), TypeError, "n must be an int"),
        (lambda: tn.set_grad_enabled(1), TypeError, "takes True or False, got 1"),
    ],
)
def test_bad_calls_raise(call, error, match):
    with pytest.raises(error, match=match):
        call()


# -- set_grad_enabled


def test_set_grad_enabled_is_pytorchs(torch):
    def states(library):
        seen = []
        record = lambda: seen.append(library.is_grad_enabled())  # noqa: E731
        library.set_grad_enabled(False)
        record()
        library.set_grad_enabled(True)
        with library.set_grad_enabled(False):
            record()
            with library.set_grad_enabled(True):
                record()
            record()
        record()

        @library.set_grad_enabled(False)
        def decorated(depth):
            record()
            if depth:
                decorated(depth - 1)
            record()

        record()
        decorated(2)
        record()
        with library.no_grad():
            decorated(0)
            record()
        try:
            with library.set_grad_enabled(mode=False):
                raise KeyError
        except KeyError:
            record()
        return seen

    assert states(tn) == states(torch)


# -- in place

CALLS = {
    "add_": lambda x, y: x.add_(y),
    "add_ alpha": lambda x, y: x.add_(y, alpha=-0.5),
    "add_ number": lambda x, y: x.add_(2),
    "sub_": lambda x, y: x.sub_(y, alpha=2),
    "mul_": lambda x, y: x.mul_(y),
    "div_": lambda x, y: x.div_(y),
    "clamp_": lambda x, y: x.clamp_(-0.5, 0.5),
    "clamp_ min": lambda x, y: x.clamp_(min=y),
    "chain": lambda x, y: x.mul_(0.9).add_(y, alpha=0.1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", CALLS)
def test_in_place_is_pytorchs(name, dtype, torch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=4).astype(dtype)
    x, y = tn.tensor(a), torch.tensor(a)
    array = x.array
    assert CALLS[name](x, tn.tensor(b)) is x
    CALLS[name](y, torch.tensor(b))
    assert x.array is array
    assert f"torch.{x.dtype}" == str(y.dtype)
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=4 * np.finfo(dtype).eps)


def test_a_training_step_by_hand():
    w = tn.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    with tn.no_grad():
        w.add_(w.grad, alpha=-0.25)
    assert w.tolist() == [0.5, 1.0]
    assert w.requires_grad
    assert w.is_leaf


@pytest.mark.parametrize(
    "call",
    [
        lambda leaf: leaf.add_(1),
        lambda leaf: (leaf * 2).mul_(3),
        lambda leaf: tn.ones(2).add_(leaf),
        lambda leaf: tn.ones(2).clamp_(min=leaf),
    ],
)
def test_an_in_place_change_that_needs_recording_raises(call):
    with pytest.raises(RuntimeError, match=r"_ cannot be recorded.*tn\.no_grad\(\)"):
        call(tn.ones(2, requires_grad=True))


def test_a_result_that_does_not_fit_raises_as_in_pytorch(torch):
    for library, match in ((tn, "does not fit"), (torch, "can't be cast|doesn't match")):
        for call in (
            lambda t: t.arange(3).add_(0.5),
            lambda t: t.arange(3).div_(2),
            lambda t: t.ones(3).mul_(t.ones(2, 3)),
        ):
            with pytest.raises(RuntimeError, match=match):
                call(library)


def test_a_write_behind_the_tape_is_detected():
    x, w = tn.ones(2), tn.ones(2, requires_grad=True)
    y = (x * w).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


# -- what docs/pytorch.md says is not here


def test_what_stands_in_for_it_works(tmp_path):
    numpy_safetensors = pytest.importorskip("safetensors.numpy")
    module, other = tn.nn.Linear(2, 3), tn.nn.Linear(2, 3)
    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'ctypes'"):
        numpy_safetensors.save(module.state_dict())
    path = tmp_path / "weights.safetensors"
    numpy_safetensors.save_file({name: x.numpy() for name, x in module.state_dict().items()}, path)
    other.load_state_dict(numpy_safetensors.load_file(path))
    assert (other.weight == module.weight).all()

    x = tn.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    order = tn.tensor(x.numpy().argsort(-1))
    (x.take_along_dim(order, -1) * tn.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [[3, 1, 2]]

    loader = tn.data.DataLoader((tn.ones(5, 2), tn.arange(5)), batch_size=4, shuffle=True)
    assert [len(inputs) for inputs, _ in loader] == [4, 1]
    x = tn.ones(2)
    x.data += 1
    assert x.tolist() == [2, 2]
    assert hasattr(tn.optim.lr_scheduler, "LambdaLR")
