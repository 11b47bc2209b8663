"""Writing a Function: a mistake in it raises, with a message that says what to do."""

import numpy as np
import pytest
from gradients import leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function, GradcheckError
from tinygrad_norm.gradient_check import gradcheck


def sum_returning(returned):
    """A sum of its inputs whose backward returns `returned(dy)`."""

    class Sum(Function):
        def forward(self, *xs):
            return np.asarray(sum(xs))

        def backward(self, dy):
            return returned(dy)

    return Sum.apply


WRONG = [
    (1, lambda dy: (dy, dy), "2 gradients for 1 input:"),
    (2, lambda dy: dy, "1 gradient for 2 inputs: return one per input"),
    (2, lambda dy: (), "0 gradients for 2 inputs"),
    (1, lambda dy: dy.sum(0), "shape"),
    (2, lambda dy: [dy, dy], "Sum.backward returned a list for 2 inputs: return a tuple"),
    (1, lambda dy: [dy], "Sum.backward returned a list for its input 0: return an array .* or a tuple"),
    (1, lambda dy: 1.0, r"returned a float for its input 0: return an array of the input's shape, \(2, 3\)"),
    (1, lambda dy: Tensor(dy), "Sum.backward returned a Tensor for input 0: work on raw arrays"),
    (2, lambda dy: (dy, Tensor(dy)), "Sum.backward returned a Tensor for input 1: work on raw arrays"),
    (1, lambda dy: None, "Sum.backward returned None: did you forget to return the gradient"),
    (2, lambda dy: None, "Sum.backward returned None: did you forget to return the gradient"),
]


@pytest.mark.parametrize(("inputs", "returned", "message"), WRONG)
def test_a_wrong_backward_raises(inputs, returned, message):
    xs = [leaf(2, 3) for _ in range(inputs)]
    with pytest.raises(RuntimeError, match=message):
        sum_returning(returned)(*xs).sum().backward()
    with pytest.raises(RuntimeError, match=message):  # inside the graph
        sum_returning(returned)(*[x * 2.0 for x in xs]).sum().backward()


@pytest.mark.parametrize(("inputs", "returned", "message"), WRONG)
def test_gradcheck_reports_a_wrong_backward_in_the_same_words(inputs, returned, message):
    with pytest.raises(GradcheckError, match=message):
        gradcheck(sum_returning(returned), [leaf(2, 3) for _ in range(inputs)])


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 3), r"\(0,\)"), ((2, 1), r"\(0, 2\)"), ((1,), r"\(0, 1, 2\)"), ((4, 1, 3), r"\(1,\)")],
)
def test_the_axes_that_a_backward_forgot_to_sum_are_named(shape, axes):
    class Broadcast(Function):
        def forward(self, x):
            return x + np.zeros((4, 2, 3))

        def backward(self, dy):
            return dy

    with pytest.raises(RuntimeError, match=f"sum its gradient over the broadcast axes, here {axes}"):
        Broadcast.apply(leaf(*shape)).sum().backward()


def test_the_input_named_is_the_one_at_fault_where_one_tensor_is_given_twice():
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match="for input 1"):
        sum_returning(lambda dy: (dy, dy[0]))(x, x).sum().backward()


def test_a_tuple_may_hold_no_gradient_at_all():
    x = leaf(3)
    sum_returning(lambda dy: (None,))(x).sum().backward()
    assert x.grad is None


def test_an_attribute_error_in_a_backward_stays_what_it_is():
    def returned(dy):
        return (dy.nothing, None.shape)

    with pytest.raises(AttributeError, match="nothing"):
        sum_returning(returned)(leaf(2), leaf(2)).sum().backward()
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        sum_returning(lambda dy: None.shape)(leaf(2)).sum().backward()


def test_a_function_in_pytorchs_form_raises_and_shows_ours():
    with pytest.raises(TypeError, match=r"is a static method.*the instance is the context"):

        class Static(Function):
            @staticmethod
            def forward(ctx, x):
                return x

    with pytest.raises(TypeError, match=r"Forward.forward takes a ctx.*the instance is the context"):

        class Forward(Function):
            def forward(self, ctx, x):
                return x

    with pytest.raises(TypeError, match=r"Backward.backward takes a ctx.*the instance is the context"):

        class Backward(Function):
            def backward(self, ctx, dy):
                return dy

    class Named(Function):  # by whatever names, ctx among them, as long as it is ours
        def forward(ctx, x):
            return x

        def backward(self):
            ctx = self.saved
            return ctx * 2


@pytest.mark.parametrize(
    ("used", "instead"),
    [
        (lambda ctx: ctx.save_for_backward(1), r"self\.saved = \(x,\)"),
        (lambda ctx: ctx.saved_tensors, r"\(x,\) = self\.saved"),
        (lambda ctx: ctx.needs_input_grad[0], r"self\.needs\[i\]"),
        (lambda ctx: ctx.mark_non_differentiable(1), r"constants = \(1,\)"),
    ],
)
def test_an_attribute_of_pytorchs_ctx_raises_and_shows_ours(used, instead):
    class Context(Function):
        def forward(self, x):
            used(self)
            return x

    with pytest.raises(AttributeError, match=f"Context has no ctx.*{instead}"):
        Context.apply(leaf(2))
    assert not hasattr(Context(), "saved_tensors")

    def backward(self, dy):
        used(self)
        return dy

    Context.forward, Context.backward = lambda self, x: x * 2, backward
    with pytest.raises(GradcheckError, match=f"Context has no ctx.*{instead}") as raised:
        gradcheck(Context.apply, leaf(2))
    assert "did not set" not in str(raised.value)


def test_an_instance_is_no_function():
    class Mul(Function):
        def forward(self, x, y):
            return x * y

    with pytest.raises(TypeError, match=r"call Mul\.apply\(x, \.\.\.\)"):
        Mul()(tn.ones(2), tn.ones(2))
