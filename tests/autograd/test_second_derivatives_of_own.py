"""Second derivatives of Functions of one's own: they need nothing, or an error says what."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.backends import namespace


class Cube(Function):
    """y = x³ · dx = 3·x²·dy"""

    def forward(self, x):
        self.saved = (x,)
        return x**3

    def backward(self, dy):
        (x,) = self.saved
        return 3 * x * x * dy


class CubeInPlace(Cube):
    def backward(self, dy):
        (x,) = self.saved
        dx = namespace(dy).empty(dy.shape, dy.dtype)
        part = dx[1:]
        dx[...] = x
        dx *= 3 * x
        namespace(dy).multiply(part, dy[1:], out=part)  # a view: dx has it too
        dx[:1] *= dy[:1]
        return dx


class CubeIntoDy(Cube):
    def backward(self, dy):
        (x,) = self.saved
        dy *= 3 * x
        dy *= x
        return dy


class WrongSlope(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * x * abs(x) * dy  # right where x > 0


class ThroughANumber(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * float(x[0]) * x * dy


class ThroughAnArray(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * np.array(x) * x * dy


class IntoAPlainArray(Cube):
    def backward(self, dy):
        (x,) = self.saved
        dx = np.empty(dy.shape)
        dx[...] = 3 * x * x * dy
        return dx


class ByTheCubeRoot(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * np.cbrt(x) * dy


@pytest.mark.parametrize("function", [Cube, CubeInPlace, CubeIntoDy])
def test_a_function_of_ones_own_has_second_derivatives(function):
    x = tn.tensor([0.5, 1.5, -2.0], dtype=tn.float64, requires_grad=True)
    (dx,) = tn.grad(function.apply(x).sum(), x, create_graph=True)
    (second,) = tn.grad(dx.sum(), x, create_graph=True)
    (third,) = tn.grad(second.sum(), x)
    assert np.allclose(second.numpy(), 6 * x.numpy(), rtol=1e-12)
    assert np.allclose(third.numpy(), 6, rtol=1e-12)


class IntoAnElement(Cube):
    def backward(self, dy):
        (x,) = self.saved
        dx = np.zeros(dy.shape)
        for i in range(len(dx)):
            dx[i] = 3 * x[i] * x[i] * dy[i]
        return dx


class AddedToAPlainArray(Cube):
    def backward(self, dy):
        (x,) = self.saved
        dx = np.zeros(dy.shape)
        dx += 3 * x * x * dy
        return dx


class ByAMethod(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * np.frombuffer(x.tobytes()) * x * dy


class SumFrom(Cube):
    def backward(self, dy):
        (x,) = self.saved
        return 3 * np.add.reduce(x, initial=1.0) * x * dy


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (IntoAnElement, "np.zeros_like"),
        (AddedToAPlainArray, "writes into a plain array.*np.zeros_like"),
        (ByAMethod, "tobytes"),
        (SumFrom, "numpy.add.reduce with initial"),
        (ThroughANumber, "converts an array to a plain one, or to a number"),
        (ThroughAnArray, "converts an array to a plain one, or to a number"),
        (IntoAPlainArray, "converts an array to a plain one, or to a number"),
        (ByTheCubeRoot, "cbrt"),
    ],
)
def test_a_body_that_would_lose_the_gradient_raises(function, message):
    x = tn.tensor([0.5, 1.5], dtype=tn.float64, requires_grad=True)
    (dx,) = tn.grad(function.apply(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f"{function.__name__}.*{message}"):
        dx.sum().backward()


class OfAnotherShape(Cube):
    def backward(self, dy):
        return dy[:1]


def test_a_gradient_of_another_shape_raises_with_create_graph_too():
    x = tn.tensor([0.5, 1.5], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"returned a gradient of shape \(1,\) for input 0"):
        tn.grad(OfAnotherShape.apply(x).sum(), x, create_graph=True)


def test_a_wrong_first_derivative_has_a_second_one_of_its_own():
    x = tn.tensor([0.5, -1.5], dtype=tn.float64, requires_grad=True)
    assert tn.gradgradcheck(WrongSlope.apply, x)
    with pytest.raises(tn.autograd.GradcheckError):
        tn.gradcheck(WrongSlope.apply, x)
