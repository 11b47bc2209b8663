"""Gradient centralization: the gradient of every unit has mean 0.

    W, G (K, ...)   unit k: the D weights W_k of one output and their gradient G_k   m_k = mean(G_k)

    G_k ← G_k - m_k

Vectors (biases, gains), (K,) or (K, 1, 1, 1), are left as they are: a mean of one entry is that entry.

Yong, Huang, Hua, Zhang 2020, arXiv:2004.01461.

Derivation: the step is to keep the sum of a unit's weights, Σ W_k = 1ᵀW_k: among the steps that do, the
nearest to G_k is its projection

    P·G_k = G_k - 1·(1ᵀG_k)/D = G_k - mean(G_k)       P = I - 11ᵀ/D,  P = Pᵀ = P²

P is also the gradient's path through a centred weight: for y = x·(W_k - mean(W_k)), dL/dW_k = P·dL/d(W_k -
mean(W_k)). So for the gradient it does what weight standardization does by its mean, without a forward of its
own; and because P² = P, doing it twice changes nothing.

It belongs before everything else that the optimizer does with a gradient: weight decay, momentum and Adam's
squares then see centred gradients. So call it between `loss.backward()` and `optimizer.step()`, before
clipping, which then measures what is left. (The authors' optimizers add L2 weight decay first, so there it is
centred too.)

Insight: the output of a unit for a constant input x = c·1 is c·ΣW_k, and no step of plain gradient descent
changes that any more: the weights only learn how inputs differ from their mean.
"""

from ...backends.cpu.silence import silent
from ..sample.layernorm import layer_norm_forward
from .units import Tensors, as_units, is_vector, with_gradients


def centralize_grad_(parameters: Tensors) -> None:
    """Subtract from each unit's gradient its mean, in place; vectors and scalars are left as they are.

    A unit is one output: a row of a weight (out, in, ...), a filter of a convolution (out, in, H, W). Call it
    between `loss.backward()` and `optimizer.step()`, before clipping.

    Args:
        parameters: a parameter without a gradient is skipped.

    Raises:
        TypeError: if `parameters` are not tensors.

    Source: Yong, Huang, Hua, Zhang 2020, arXiv:2004.01461.
    """
    for _, grad in with_gradients(parameters):
        if is_vector(grad) or not grad.array.size:
            continue
        with silent():
            rows = as_units(grad.array)
            _, mean, _ = layer_norm_forward(rows, None, None, 1.0)
            grad.copy_((rows - mean).reshape(grad.shape))
