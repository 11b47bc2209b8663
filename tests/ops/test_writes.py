"""What a write in place accepts, which shapes fit, and what it leaves to the backwards that need less."""

import numpy as np
import pytest

import tinygrad_norm as tn


def test_expand_to_as_many_elements_can_be_written_to(torch):
    for m in (tn, torch):
        x = m.zeros(2, 3)
        x.expand(1, 2, 3).add_(1)
        x.expand(2, -1)[0] = 5
        assert x.tolist() == [[5, 5, 5], [1, 1, 1]]


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.copy_(x.clone()),
        lambda x: x.__setitem__((slice(None), 0), 1),
        lambda x: x.__iadd__(1),
    ],
    ids=["add_", "copy_", "setitem", "iadd"],
)
def test_a_write_to_elements_that_share_memory_raises(write, torch):
    with pytest.raises(RuntimeError, match=r"expanded tensor.*write to x.clone\(\)"):
        write(tn.zeros(3).expand(2, 3))
    with pytest.raises(RuntimeError, match="single memory location"):
        write(torch.zeros(3).expand(2, 3))


def test_axes_of_size_one_in_front_of_a_value_do_not_matter_to_setitem(torch):
    for m in (tn, torch):
        x = m.zeros(2, 2)
        x[0, 1] = m.ones(1, 1)
        x[x > 0.5] = m.ones(1) * 3
        x[1] = m.ones(1, 1, 2) * 2
        assert x.tolist() == [[0, 3], [2, 2]]


@pytest.mark.parametrize("write", ["x.copy_(y)", "x += y", "x.add_(y)"])
def test_values_with_more_axes_raise(write, torch):
    for m in (tn, torch):
        with pytest.raises((RuntimeError, ValueError), match=r"fit|broadcast"):
            exec(write, {"x": m.zeros(3), "y": m.ones(1, 3)})


# -- what is kept for backward: nothing that only the gradient of a constant would need

CALLS = {
    "x * c": lambda x, c: x * c,
    "c * x": lambda x, c: c * x,
    "x / c": lambda x, c: x / c,
    "x * 2": lambda x, c: x * 2,
    "x ** 2": lambda x, c: x**2,
    "fmod(x, c)": lambda x, c: tn.fmod(x, c),
    "remainder(x, c)": lambda x, c: tn.remainder(x, c),
    "x @ c": lambda x, c: x @ c,
    "c @ x": lambda x, c: c @ x[None],
    "batches": lambda x, c: x[None, None] @ c[None],
    "einsum": lambda x, c: tn.einsum("i,ji->j", x, c.T[:1].repeat(3, 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_no_backward_needs_may_be_written_to(name):
    x, c = tn.tensor(np.array([2.5, -3.5]), requires_grad=True), tn.tensor(np.array([[1.5], [2.0]]))
    y = CALLS[name](x, c)
    expected = tn.grad(y.sum(), x)[0].tolist()
    y = CALLS[name](x, c)
    with tn.no_grad():
        y.zero_()
        if name != "x ** 2":
            x.zero_()
        if "mod" in name or "rem" in name:
            c.zero_()
    y.sum().backward()
    assert x.grad.tolist() == expected
