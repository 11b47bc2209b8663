"""The table of ops: every promised name is a function and a method, and methods call like PyTorch's."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Tensor

PROMISED = """
sum mean var std max min prod amax argmax amin argmin cumsum logsumexp norm reshape view flatten
unflatten permute transpose movedim squeeze unsqueeze expand broadcast_to repeat tile flip roll cat
stack split chunk unbind where masked_fill gather index_select take_along_dim tril triu maximum
minimum clamp exp log log1p expm1 sqrt rsqrt reciprocal square abs sign sin cos tanh sigmoid erf pow
matmul bmm mm einsum outer var_mean
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", PROMISED)
def test_every_name_is_a_function_and_a_method(name):
    assert callable(getattr(tn, name))
    assert callable(getattr(Tensor, name))
    assert getattr(tn, name).__doc__
    assert getattr(Tensor, name).__doc__


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names_are_those_of_pytorch(name, torch):
    assert hasattr(torch, name) or hasattr(torch.Tensor, name)


x = np.arange(6.0).reshape(2, 3) + 1

METHODS = {
    "reshape": lambda t: (t.reshape(3, 2), t.reshape((3, 2)), t.reshape(-1)),
    "view": lambda t: (t.view(3, 2), t.view((3, 2)), t.view(-1)),
    "permute": lambda t: (t.permute(1, 0), t.permute((1, 0))),
    "expand": lambda t: (t.expand(2, 2, 3), t.expand((2, 2, 3)), t.expand(-1, 3)),
    "repeat": lambda t: (t.repeat(2, 1), t.repeat((2, 1))),
    "tile": lambda t: (t.tile(2, 1), t.tile((2,))),
    "flip": lambda t: (t.flip(0, 1), t.flip((0,)), t.flip(1)),
    "flatten": lambda t: (t.flatten(), t.flatten(1), t.flatten(start_dim=0, end_dim=1)),
    "transpose": lambda t: (t.transpose(0, 1), t.swapaxes(-1, 0), t.T, t.mT),
    "squeeze": lambda t: (t.unsqueeze(0).squeeze(), t.unsqueeze(-1).squeeze(-1), t.squeeze(0)),
    "movedim": lambda t: (t.movedim(0, 1), t.moveaxis((0, 1), (1, 0))),
    "unflatten": lambda t: (t.unflatten(1, (3, 1)), t.unflatten(-1, (-1, 3))),
    "reductions": lambda t: (
        t.sum(),
        t.sum(0),
        t.sum((0, 1)),
        t.sum(dim=1, keepdim=True),
        t.mean(-1),
        t.prod(1),
    ),
    "var": lambda t: (
        t.var(),
        t.var(0),
        t.var(1, False),
        t.var(dim=1, correction=0, keepdim=True),
        t.var(False),
        t.std(0, True),
    ),
    "max": lambda t: (
        t.max(),
        *t.max(1),
        t.max(t * 0 + 3),
        *t.min(0, keepdim=True),
        t.amax((0, 1)),
        t.amin(1),
    ),
    "arg": lambda t: (t.argmax(), t.argmax(1), t.argmin(0, keepdim=True), t.argmax(keepdim=True)),
    "norm": lambda t: (
        t.norm(),
        t.norm(1),
        t.norm(2, 1),
        t.norm(p=3, dim=0, keepdim=True),
        t.norm(float("inf")),
    ),
    "cumsum": lambda t: (t.cumsum(0), t.cumsum(dim=1), t.logsumexp(1), t.logsumexp((0, 1), True)),
    "arithmetic": lambda t: (
        t.add(1),
        t.sub(t, alpha=2),
        t.mul(2),
        t.div(4),
        t.neg(),
        t.pow(2),
        t.add(t, alpha=0.5),
    ),
    "matmul": lambda t: (
        t @ t.T,
        t.matmul(t.T),
        t.mm(t.T),
        t[0].outer(t[1]),
        t[None].bmm(t.T[None]),
        t[0] @ t[1],
    ),
    "operators": lambda t: (t + 1, 1 + t, t - 1, 1 - t, t * 2, 2 * t, t / 2, 2 / t, t**2, 2**t, -t, abs(-t)),
    "comparisons": lambda t: (t == 2, t != t, t < 3, t <= 3, t >= 2, t.eq(1), t.lt(t + 1)),
    "logic": lambda t: (
        (t > 1) & (t < 3),
        (t > 1) | (t < 3),
        (t > 1) ^ (t < 3),
        ~(t > 1),
        (t > 1).all(),
        (t > 9).any(0),
        (t > 1).all(1),
        (t > 1).logical_not(),
        (t > 1).logical_and(t > 2),
        t.isnan(),
        t.isfinite(),
        t.isinf(),
    ),
    "where": lambda t: (
        t.where(t > 2, -t),
        t.masked_fill(t > 2, 0.5),
        t.clamp(2, 4),
        t.clamp(max=3),
        t.clamp(min=t - 1),
    ),
    "parts": lambda t: (
        *t.split(1),
        *t.split([1, 2], 1),
        *t.chunk(2, dim=1),
        *t.unbind(),
        *t.unbind(1),
        t.roll(1),
    ),
    "triangles": lambda t: (
        t.tril(),
        t.triu(1),
        t.tril(diagonal=-1),
        t.contiguous(),
        t.T.contiguous(),
        t.clone(),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_called_as_in_pytorch(name, torch):
    ours, theirs = METHODS[name](tn.tensor(x)), METHODS[name](torch.tensor(x))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == tuple(b.shape)
        assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14)


def test_var_mean_is_var_and_mean(torch):
    for options in ({}, {"dim": 1}, {"dim": 0, "correction": 0, "keepdim": True}):
        for a, b in zip(
            tn.var_mean(tn.tensor(x), **options), torch.var_mean(torch.tensor(x), **options), strict=True
        ):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14)


def test_joining_and_einsum_as_methods():
    a = tn.tensor(x)
    assert a.cat(a, a, dim=1).shape == (2, 9)
    assert a.stack(a, dim=-1).shape == (2, 3, 2)
    np.testing.assert_array_equal(a.einsum("ij,kj->ik", a).numpy(), x @ x.T)


def test_index_functions_as_methods():
    a, i = tn.tensor(x), tn.tensor([[2, 0], [1, 1]])
    np.testing.assert_array_equal(a.gather(1, i).numpy(), [[3, 1], [5, 5]])
    np.testing.assert_array_equal(a.take_along_dim(i, 1).numpy(), [[3, 1], [5, 5]])
    np.testing.assert_array_equal(a.index_select(1, tn.tensor([2, 2])).numpy(), [[3, 3], [6, 6]])


def test_reflected_operators_take_numpy_arrays():
    a = tn.tensor(x, requires_grad=True)
    for y in (x + a, x * a, x - a, x / a, x @ a.T, np.float64(2) * a, x == a, x < a):
        assert isinstance(y, Tensor)
    assert (x - a).abs().sum().item() == 0


def test_tensors_are_hashed_by_identity_though_equality_is_elementwise():
    a, b = tn.tensor([1.0, 2.0]), tn.tensor([1.0, 2.0])
    assert (a == b).all()
    assert len({a, b, a}) == 2
    assert (a == None) is False  # noqa: E711
    assert (a != "text") is True


def test_max_returns_a_named_pair():
    result = tn.tensor(x).max(1)
    assert result.values is result[0]
    assert result.indices is result[1]
    assert result.indices.dtype == tn.int64
    assert not result.indices.requires_grad


def test_T_reverses_all_axes_and_mT_the_last_two():
    a = tn.zeros(2, 3, 4)
    assert a.T.shape == (4, 3, 2)
    assert a.mT.shape == (2, 4, 3)
    assert tn.zeros(3).T.shape == (3,)
    assert tn.zeros(()).T.shape == ()
    with pytest.raises(ValueError, match="needs a matrix"):
        _ = tn.zeros(3).mT


def test_iterating_gives_views_of_the_rows():
    a = tn.tensor(x, requires_grad=True)
    first, second = a
    assert np.shares_memory(second.array, a.array)
    (first * 2 + second * 3).sum().backward()
    assert a.grad.tolist() == [[2, 2, 2], [3, 3, 3]]
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(tn.tensor(1.0))


def test_contiguous_is_the_tensor_itself_where_it_can_be():
    a = tn.tensor(x)
    assert a.contiguous() is a
    b = a.T.contiguous()
    assert b.array.flags.c_contiguous
    assert not np.shares_memory(b.array, a.array)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ~tn.ones(2), TypeError, "for bools and integers"),
        (lambda: tn.ones(2) & tn.ones(2), TypeError, "for bools and integers"),
        (lambda: tn.ones(2) * [1, 2], TypeError, "unsupported operand list"),
        (lambda: tn.exp([1.0]), TypeError, "wrap it with tn.tensor"),
        (lambda: tn.ones(2) @ 3, ValueError, "at least one axis"),
        (lambda: tn.ones(2, 3).reshape(4), ValueError, "6 elements"),
        (lambda: tn.ones(2, 3).reshape("4"), TypeError, "must be an int or a sequence"),
        (lambda: tn.ones(2).sum(1.5), TypeError, "dim must be an int"),
        (lambda: tn.ones(2).sum(1), IndexError, "dim 1 is out of range"),
        (lambda: tn.ones(2, 2).max((0, 1)), TypeError, "dim must be an int"),
        (lambda: tn.ones(2).astype("complex64"), TypeError, "real numbers"),
    ],
)
def test_bad_input_raises(call, error, words):
    with pytest.raises(error, match=words):
        call()


X = np.random.default_rng(3).normal(size=(2, 3, 2))
REDUCTIONS = "sum mean var std prod logsumexp max min amax amin argmax argmin all any".split()  # noqa: SIM905
ALONG_ONE_AXIS = ["cumsum", "softmax", "log_softmax", "squeeze", "unsqueeze"]
NUMPY_NAMES = {name: {"axis": 1, "keepdims": True} for name in REDUCTIONS}
NUMPY_NAMES |= {name: {"axis": 1} for name in ALONG_ONE_AXIS}


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_axis_and_keepdims_are_dim_and_keepdim(name, torch):
    options = NUMPY_NAMES[name]
    expected = getattr(torch.tensor(X), name)(**options)
    ours = getattr(tn.tensor(X), name)(**options)
    if name in ("max", "min"):
        ours, expected = ours.values, expected.values
    np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-12)


def test_axis_is_dim_in_functions_too():
    x = tn.tensor(X)
    assert tn.sum(x, axis=(0, 2)).shape == (3,)
    assert tn.cat([x, x], axis=1).shape == (2, 6, 2)
    assert tn.stack([x, x], axis=1).shape == (2, 2, 3, 2)
    assert [part.shape for part in tn.var_mean(x, axis=1, keepdims=True)] == [(2, 1, 2)] * 2


def test_an_argument_has_one_name_at_a_time():
    with pytest.raises(TypeError, match="sum got an argument by both of its names: dim, axis"):
        tn.tensor(X).sum(dim=0, axis=1)
    with pytest.raises(TypeError, match="multiple values"):
        tn.tensor(X).sum(0, axis=1)
    with pytest.raises(TypeError, match="keepdim"):
        tn.tensor(X).cumsum(0, keepdims=True)


inf, nan = float("inf"), float("nan")
CLOSE = [
    ([1.0, 2.0], [1.0, 2.0 + 1e-7], {}),
    ([1.0, 2.0], [1.0, 2.1], {}),
    ([1.0, 2.0], [1.0, 2.1], {"rtol": 0.1}),
    ([1e-9, 0.0], [0.0, 1e-7], {}),
    ([1e-9, 0.0], [0.0, 1e-7], {"atol": 1e-6}),
    ([inf, inf, -inf, 1.0], [inf, -inf, -inf, inf], {}),
    ([nan, 1.0], [nan, nan], {}),
    ([nan, 1.0], [nan, nan], {"equal_nan": True}),
    ([3e38, 3e38], [-3e38, 3e38], {}),
    ([[1.0], [2.0]], [1.0, 2.0], {}),
    ([1, 2], [1, 3], {}),
]


@pytest.mark.parametrize(("a", "b", "options"), CLOSE)
def test_isclose_allclose_and_equal_judge_as_pytorch(a, b, options, torch):
    ours, theirs = (tn.tensor(a), tn.tensor(b)), (torch.tensor(a), torch.tensor(b))
    expected = torch.isclose(*theirs, **options)
    np.testing.assert_array_equal(tn.isclose(*ours, **options).numpy(), expected.numpy())
    assert tn.allclose(*ours, **options) is bool(expected.all())
    assert ours[0].allclose(ours[1], **options) is bool(expected.all())
    assert tn.equal(*ours) is torch.equal(*theirs)


def test_equal_tells_shapes_apart_and_close_tolerances_are_not_negative():
    assert not tn.equal(tn.ones(1, 2), tn.ones(2))
    assert tn.equal(tn.ones(0, 2), tn.ones(0, 2))
    with pytest.raises(ValueError, match="tolerances must not be negative"):
        tn.isclose(tn.ones(2), tn.ones(2), -1.0)


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax", "prelu"])
def test_activations_that_are_methods_in_pytorch_are_methods(name, torch):
    values = {"relu": (), "prelu": (np.array([0.25]),)}.get(name, (1,))
    ours = [tn.tensor(v) if isinstance(v, np.ndarray) else v for v in values]
    theirs = [torch.tensor(v) if isinstance(v, np.ndarray) else v for v in values]
    x, z = tn.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    for y, expected in (
        (getattr(x, name)(*ours), getattr(z, name)(*theirs)),
        (getattr(tn, name)(x, *ours), getattr(torch, name)(z, *theirs)),
    ):
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    y.backward(tn.tensor(X))
    expected.backward(torch.tensor(X))
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=1e-12, atol=1e-14)
