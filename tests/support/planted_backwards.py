"""Functions with a right backward, and the same with a mistake in it."""

from dataclasses import dataclass

import numpy as np

from tinygrad_norm.autograd import Function
from tinygrad_norm.ops.broadcast import unbroadcast


class LayerNorm(Function):
    """y = w·x̂ + b over the last axis, every part of its backward can be replaced"""

    eps = 1e-5

    def forward(self, x, weight, bias):
        centered = x - x.mean(-1, keepdims=True)
        rstd = 1 / np.sqrt((centered * centered).mean(-1, keepdims=True) + self.eps)
        x_hat = centered * rstd
        self.saved = x, x_hat, rstd, weight
        return weight * x_hat + bias

    def backward(self, dy):
        _, x_hat, rstd, weight = self.saved
        return self.dx(weight * dy, x_hat, rstd), self.dweight(dy, x_hat), self.dbias(dy)

    def dx(self, g, x_hat, rstd):
        return rstd * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))

    def dweight(self, dy, x_hat):
        return (dy * x_hat).sum(0)

    def dbias(self, dy):
        return dy.sum(0)


class MeanPathDropped(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return rstd * (g - x_hat * (g * x_hat).mean(-1, keepdims=True))


class VariancePathDropped(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return rstd * (g - g.mean(-1, keepdims=True))


class Zeros(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return 0 * g


class SignFlipped(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return -super().dx(g, x_hat, rstd)


class VariancePathAdded(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return rstd * (g - g.mean(-1, keepdims=True) + x_hat * (g * x_hat).mean(-1, keepdims=True))


class OneLessInTheMean(LayerNorm):
    def dx(self, g, x_hat, rstd):
        D = g.shape[-1]
        return rstd * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).sum(-1, keepdims=True) / (D - 1))


class RstdForgotten(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return super().dx(g, x_hat, 1.0)


class WeightForgotten(LayerNorm):
    def backward(self, dy):
        _, x_hat, rstd, _ = self.saved
        return self.dx(dy, x_hat, rstd), self.dweight(dy, x_hat), self.dbias(dy)


class WeightOutside(LayerNorm):
    def backward(self, dy):
        _, x_hat, rstd, weight = self.saved
        return weight * self.dx(dy, x_hat, rstd), self.dweight(dy, x_hat), self.dbias(dy)


class EpsForgotten(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return super().dx(g, x_hat, 1 / np.sqrt(1 / rstd**2 - self.eps))


class WeightSummedOverFeatures(LayerNorm):
    def dweight(self, dy, x_hat):
        return (dy * x_hat).sum(1)


class WeightFromRawInput(LayerNorm):
    def dweight(self, dy, x_hat):
        return (dy * self.saved[0]).sum(0)


class BiasAveraged(LayerNorm):
    def dbias(self, dy):
        return dy.mean(0)


class MatMul(Function):
    """y = a @ b · da = dy @ bᵀ, db = aᵀ @ dy"""

    def forward(self, a, b):
        self.saved = a, b
        return a @ b

    def backward(self, dy):
        a, b = self.saved
        return dy @ b.T, a.T @ dy


class TransposedProduct(MatMul):
    def backward(self, dy):
        a, b = self.saved
        return dy @ b.T, dy.T @ a


class UntransposedFactor(MatMul):
    def backward(self, dy):
        a, b = self.saved
        return dy @ b, a.T @ dy


class SwappedGradients(MatMul):
    def backward(self, dy):
        da, db = super().backward(dy)
        return db, da


class Mul(Function):
    """y = a·b · da = dy·b, db = dy·a, summed over the broadcast axes"""

    def forward(self, a, b):
        self.saved = a, b
        return a * b

    def backward(self, dy):
        a, b = self.saved
        return dy * b, unbroadcast(dy * a, b.shape)


class BroadcastForgotten(Mul):
    def backward(self, dy):
        a, b = self.saved
        return dy * b, dy * a


class FirstRowInsteadOfSum(Mul):
    def backward(self, dy):
        a, b = self.saved
        return dy * b, (dy * a)[0]


class Square(Function):
    """y = x² · dx = 2·dy·x"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 2 * dy * self.saved[0]


class FactorForgotten(Square):
    def backward(self, dy):
        return dy * self.saved[0]


class OneElementSlightlyOff(Square):
    def backward(self, dy):
        dx = super().backward(dy)
        dx[1, 2] *= 1 + 1e-6
        return dx


class RightForYSumOnly(Square):
    def backward(self, dy):
        return 2 * dy.mean() * self.saved[0]


class SquareOfDy(Square):
    def backward(self, dy):
        return 2 * dy * dy * self.saved[0]


class SumOfSquares(Function):
    """y = Σ x² · dx = 2·dy·x"""

    def forward(self, x):
        self.saved = (x,)
        return (x * x).sum()

    def backward(self, dy):
        return 2 * dy * self.saved[0]


class DyIgnored(SumOfSquares):
    def backward(self, dy):
        return 2 * self.saved[0]


class Slice(Function):
    """y = x[1:4] · dx = dy at 1:4, zero elsewhere"""

    start = 1

    def forward(self, x):
        self.saved = (x.shape,)
        return x[1:4]

    def backward(self, dy):
        dx = np.zeros(self.saved[0], dy.dtype)
        dx[self.start : self.start + 3] = dy
        return dx


class OffByOne(Slice):
    start = 0


class MeanAndMax(Function):
    """y = mean(x), z = x[argmax] · dx = dy/n, and dz at the maximum"""

    def forward(self, x):
        self.saved = (x,)
        return x.mean(), x.max()

    def backward(self, dy, dz):
        (x,) = self.saved
        return dy / x.size + dz * (x == x.max())


class SecondOutputIgnored(MeanAndMax):
    def backward(self, dy, dz):
        (x,) = self.saved
        return dy / x.size + 0 * x


@dataclass(frozen=True)
class Planted:
    """A mistake, the right function, and words that the message must contain."""

    mistake: type[Function]
    right: type[Function]
    shapes: tuple[tuple[int, ...], ...]
    input: int
    words: str = ""
    output: int = 0


LAYER = (4, 4), (4,), (4,)  # as many rows as features: a sum over the wrong axis has the right shape
SQUARE = (3, 3), (3, 3)

PLANTED = [
    Planted(MeanPathDropped, LayerNorm, LAYER, 0, "the path through the mean is missing"),
    Planted(VariancePathDropped, LayerNorm, LAYER, 0, "the path through the variance is missing"),
    Planted(Zeros, LayerNorm, LAYER, 0, "the analytic gradient is 0 everywhere"),
    Planted(SignFlipped, LayerNorm, LAYER, 0, "the sign is flipped"),
    Planted(VariancePathAdded, LayerNorm, LAYER, 0, "the path through the variance has the wrong sign"),
    Planted(OneLessInTheMean, LayerNorm, LAYER, 0, "(n/(n - 1) for n = 4)"),
    Planted(RstdForgotten, LayerNorm, LAYER, 0, "the standard deviation of x along axis 1"),
    Planted(WeightForgotten, LayerNorm, LAYER, 0, "it is 1 / input 1: is a multiplication by it missing"),
    Planted(WeightOutside, LayerNorm, LAYER, 0, "multiply dy by input 1 first, inside all sums and means"),
    Planted(EpsForgotten, LayerNorm, LAYER, 0, "depends on its index along axis 0 alone"),
    Planted(WeightSummedOverFeatures, LayerNorm, LAYER, 1, "the right numbers in the wrong places"),
    Planted(WeightFromRawInput, LayerNorm, LAYER, 1),
    Planted(BiasAveraged, LayerNorm, LAYER, 2, "the analytic gradient is 0.25 × the numeric one"),
    Planted(TransposedProduct, MatMul, SQUARE, 1, "is the transpose of the numeric one"),
    Planted(UntransposedFactor, MatMul, SQUARE, 0, "the analytic Jacobian is the transpose"),
    Planted(SwappedGradients, MatMul, SQUARE, 1, "the gradients of input 0 and input 1 are swapped"),
    Planted(BroadcastForgotten, Mul, ((3, 4), (4,)), 1, "gradient of shape (3, 4)"),
    Planted(FirstRowInsteadOfSum, Mul, ((3, 4), (4,)), 1, "right at index 0 of the output's axis 0"),
    Planted(FactorForgotten, Square, ((3, 4),), 0, "the analytic gradient is 0.5 × the numeric one"),
    Planted(OneElementSlightlyOff, Square, ((3, 4),), 0, "1 of 144 (1 of the 12 that are not 0), all at"),
    Planted(RightForYSumOnly, Square, ((3, 4),), 0, "the same for every output entry"),
    Planted(SquareOfDy, Square, ((3, 4),), 0, "grows with the square of dy"),
    Planted(DyIgnored, SumOfSquares, ((3, 4),), 0, "the same whatever dy is"),
    Planted(OffByOne, Slice, ((6,),), 0, "the right numbers in the wrong places"),
    Planted(SecondOutputIgnored, MeanAndMax, ((5,),), 0, "0 everywhere", output=1),
]
