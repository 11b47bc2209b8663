"""The loop over time steps that all recurrent networks share, and its backward pass.

    p   = x @ w_ihᵀ + b_ih           (T, N, K)   K = gates·H, all steps at once, outside the loop
    q_t = h_{t-1} @ w_hhᵀ + b_hh     (N, K)      inside the loop: a step needs the state before it
    h_t = cell(p_t, q_t)             (N, H)      defined in the file of each cell
    y_t = h_t

Backward through time, from dy = dL/dy and the gradient of the last state. h_t reaches the loss through y_t
and through step t + 1. By the chain rule, dL/dh_t is the sum of the contributions of all paths, so it is
complete once step t + 1 is done:

    through y_t       dy_t
    through q_{t+1}   dq_{t+1} @ w_hh
    through the cell  the path in step t + 1 that passes no weight (in a GRU: dh_{t+1}·z_{t+1})

The file of each cell derives dp_t and dq_t from dh_t. The rest is linear and is computed after the loop, with
one product of T·N rows for each gradient:

    dx = dp @ w_ih   dw_ih = dpᵀ @ x   db_ih = Σ dp   dw_hh = Σt dq_tᵀ @ h_{t-1}   db_hh = Σ dq

Sequences of different lengths can share a batch. One of length L < T keeps its state after its end:

    h_t = h_{t-1}   y_t = 0   and so   dh_{t-1} = dh_t   dp_t = dq_t = 0   dx_t = 0   for t >= L

exactly, so the last state is the one after its own last step. In reverse, from T - 1 down to 0, the same rule
keeps the initial state until step L - 1, the end of the sequence: nothing needs to be moved.

Insight: of two forward and four backward products only h @ w_hhᵀ and dq @ w_hh lie on the path from
one step to the next. All others are as parallel as those of a linear layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, host_can_read, namespace
from ...backends.cpu.sums import column_sums
from ...backends.cuda.capture import upload
from ...backends.cuda.deferred import check_later
from ...ops import stack, where
from ...ops.checks import Shape, check_input, check_same_dtype
from ...registry import Input, uniform

Lengths = Sequence[int] | numpy.ndarray | Tensor
"""The number of steps of each sequence of a batch, (N,)."""

FEW_PAIRS = 1_000_000
"""Pairs of numbers up to which OpenBLAS multiplies arrays as they are, with AVX-512."""

Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Maps x_t and the states before a step to the states after it; the hidden state comes first."""


# -- the loop


def time_order(T: int, reverse: bool) -> range:
    """Return the steps in the order in which they run."""
    return range(T - 1, -1, -1) if reverse else range(T)


def trajectory(start: Array | None, size: int, x: Array, reverse: bool) -> tuple[Array, Array]:
    """Return the states before and after every step, (T, N, size) each; the first one is `start`, or 0.

    Both are views of one buffer of T + 1 states, so the state after a step is the state before the next one.
    """
    T, N, _ = x.shape
    states = namespace(x).empty((T + 1, N, size), x.dtype)
    states[-1 if reverse else 0] = 0 if start is None else start
    return (states[1:], states[:-1]) if reverse else (states[:-1], states[1:])


def last_state(after: Array, reverse: bool) -> Array:
    """Return a copy of the state after the last step."""
    return after[0 if reverse else -1].copy()


def composed_layer(
    step: Step, input: Tensor, states: tuple[Tensor, ...], lengths: Lengths | None, reverse: bool
) -> tuple[Tensor, ...]:
    """Run `step` over the time axis of input (T, N, D); return y and the last states."""
    padding = padding_mask(lengths, input)
    ys: dict[int, Tensor] = {}
    for t in time_order(len(input), reverse):
        after = step(input[t], states)
        ys[t] = after[0]
        if padding is not None:
            over = Tensor(padding[t])
            ys[t] = ys[t].masked_fill(over, 0.0)
            after = tuple([where(over, old, new) for old, new in zip(states, after, strict=True)])
        states = after
    return stack([ys[t] for t in range(len(input))]), *states


def zeros_for_none(states: Sequence[Tensor | None], sizes: Sequence[int], x: Tensor) -> tuple[Tensor, ...]:
    """Return the initial states for x (..., N, D), with zeros (N, size) for those that are None."""
    xp, N = namespace(x.array), x.shape[-2]
    return tuple(
        [
            Tensor(xp.zeros((N, size), x.dtype)) if state is None else state
            for state, size in zip(states, sizes, strict=True)
        ]
    )


# -- the products outside the loop, and the gates


def input_product(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return p (T, N, K) for x (T, N, D), weight (K, D) and bias (K,)."""
    T, N, D = x.shape
    p = x.reshape(T * N, D) @ weight.T
    if bias is not None:
        p += bias
    return p.reshape(T, N, len(weight))


def input_and_weight_gradients(
    dp: Array, dq: Array, x: Array, before: Array, weight_ih: Array, needs: Sequence[bool]
) -> tuple[Array | None, ...]:
    """Return dx, dweight_ih, dweight_hh, dbias_ih and dbias_hh, or None where `needs` is False.

    dp and dq are (T·N, K), x is (T, N, D), and before (T, N, H) the hidden states before each step.
    """
    rows, states = x.reshape(len(dp), x.shape[2]), before.reshape(len(dq), before.shape[2])
    return (
        (dp @ weight_ih).reshape(x.shape) if needs[0] else None,
        dp.T @ rows if needs[1] else None,
        dq.T @ states if needs[2] else None,
        *bias_gradients(dp, dq, needs[3:]),
    )


def bias_gradients(dp: Array, dq: Array, needs: Sequence[bool]) -> tuple[Array | None, Array | None]:
    """Return dbias_ih and dbias_hh, or None where `needs` is False; dp and dq may be one array."""
    of_input = column_sums(dp) if needs[0] else None
    if of_input is not None and needs[1] and dq is dp:
        return of_input, of_input.copy()
    return of_input, column_sums(dq) if needs[1] else None


def sum_biases(*biases: Array | None, scale: Array | float = 1) -> Array | None:
    """Return the sum of the biases (K,) that are not None, times `scale`; None if there are none."""
    given = [bias for bias in biases if bias is not None]
    return scale * sum(given[1:], start=given[0]) if given else None


def gate_scale(scales: Sequence[float], H: int, x: Array) -> Array:
    """Return the scale of each row of the gates, (gates·H,): 1/2 for a sigmoid, 1 for a tanh.

    As σ(a) = 1/2·tanh(a/2) + 1/2, both are scale·tanh(scale·a) + 1 - scale: one tanh computes all gates.
    The inner scale, a power of two, is multiplied into the weights without rounding.
    """
    return upload(numpy.repeat(numpy.asarray(scales, x.dtype), H), namespace(x))


def scale_rows(weight: Array, scale: Array) -> Array:
    """Return a weight (K, ...) with every row times its gate's scale (K,)."""
    return weight * scale[:, None]


# -- loops for single steps


def step_bias(gates: int, H: int, x: Array, *biases: Array | None) -> Array:
    """Return the sum of the biases (gates·H,) that are not None as (gates, H), zeros if there are none."""
    bias = sum_biases(*biases)
    return namespace(x).zeros((gates, H), x.dtype) if bias is None else bias.reshape(gates, H)


def column_parts(weight: Array, out: Array) -> tuple[Array, Array]:
    """Return views of weight (K, P) and out (N, P) as (parts, K, P/parts) and (parts, N, P/parts).

    The product with the parts is that of the whole arrays, without the copies that OpenBLAS makes of larger
    factors: those take a third of the time of a step. On a GPU, they are the whole arrays.
    """
    if type(weight) is not numpy.ndarray:
        return weight, out
    (K, P), N = weight.shape, len(out)
    fitting = [size for size in (128, 64, 32) if P % size == 0 and N * K * size <= FEW_PAIRS]
    size = fitting[0] if fitting and N <= 64 else P
    return weight.reshape(K, -1, size).swapaxes(0, 1), out.reshape(N, -1, size).swapaxes(0, 1)


# -- padding


def padding_mask(lengths: Lengths | None, x: Tensor) -> Array | None:
    """Return a mask (T, N, 1), True where x (T, N, D) is padding, or None if there is no padding.

    Raises:
        TypeError: if the lengths are not integers.
        ValueError: if there are not N lengths, or a length is outside [0, T].
    """
    if lengths is None:
        return None
    T, N = x.shape[:2]
    array: Any = lengths.array if isinstance(lengths, Tensor) else numpy.asarray(lengths)
    if array.shape != (N,):
        raise ValueError(f"lengths has shape {array.shape}, expected ({N},): one for each sequence")
    if N and array.dtype.kind not in "iu":
        raise TypeError(f"lengths are numbers of time steps and must be integers, got {array.dtype}")
    if not host_can_read(array):
        message = f"lengths must lie between 0 and the {T} steps of x, got {{}}"
        check_later(array, T + 1, message, ValueError)
        return (namespace(array).arange(T)[:, None] >= array)[:, :, None]
    if N and not 0 <= array.min() <= array.max() <= T:
        raise ValueError(f"lengths must lie between 0 and the {T} steps of x, got {array.tolist()}")
    padding = numpy.arange(T)[:, None] >= array
    return upload(padding[:, :, None], namespace(x.array)) if padding.any() else None


def mask_padding(x: Array, padding: Array | None) -> Array:
    """Return x (T, N, D) with zeros where it is padding."""
    return x if padding is None else namespace(x).where(padding, 0, x)


def freeze(after: Array, before: Array, padding: Array | None, t: int) -> None:
    """Restore the state before step t for the sequences that have ended."""
    if padding is not None:
        namespace(after).copyto(after[t], before[t], where=padding[t])


# -- checks


def check_layer(name: str, input: Tensor, weight_ih: Tensor, gates: int) -> tuple[int, int]:
    """Return N and H; raise an error unless x (T, N, D) and weight_ih (gates·H, D) fit."""
    check_input(input, name)
    if weight_ih.ndim != 2 or weight_ih.shape[0] % gates:
        raise ValueError(f"{name} takes a weight_ih ({gates}·H, D), got shape {weight_ih.shape}")
    K, D = weight_ih.shape
    if input.ndim != 3 or input.shape[2] != D:
        raise ValueError(
            f"{name} with a weight_ih of shape {weight_ih.shape} takes x (T, N, {D}), got shape {input.shape}"
        )
    if input.shape[0] == 0:
        raise ValueError(f"{name} needs at least one time step, got x (T, N, D) of shape {input.shape}")
    check_same_dtype(name, input, weight_ih=weight_ih)
    return input.shape[1], K // gates


def check_step(input: Tensor, name: str) -> None:
    """Raise an error unless the input of a cell is a floating-point tensor (N, D)."""
    check_input(input, name)
    if input.ndim != 2:
        raise ValueError(f"{name} takes x (N, D), one time step, got shape {input.shape}")


def check_tensors(input: Tensor, **parts: tuple[Tensor | None, Shape]) -> None:
    """Raise an error unless each named state, weight or bias has the given shape and x's dtype."""
    for name, (part, shape) in parts.items():
        if part is None:
            continue
        if not isinstance(part, Tensor):
            raise TypeError(f"{name} must be a Tensor of shape {shape}, got {type(part).__name__}")
        if part.shape != shape:
            raise ValueError(f"{name} has shape {part.shape}, expected {shape}")
        if part.dtype != input.dtype:
            raise TypeError(f"{name} has dtype {part.dtype}, but x has {input.dtype}: convert one of them")


# -- registration


def recurrent_weights(K: int, D: int, H: int, biases: bool = False) -> tuple[Input, ...]:
    """Return the weights of a case, in the range of a new layer: saturated gates would hide mistakes."""
    shapes = (K, D), (K, H), *([(K,)] * 2 if biases else ())
    return tuple([uniform(-(H**-0.5), H**-0.5, *shape) for shape in shapes])


def torch_layer(
    layer: Callable[..., Any],
    x: Any,
    states: Sequence[Any],
    weights: Sequence[Any],
    reverse: bool = False,
) -> tuple[Any, ...]:
    """Call PyTorch's `layer(input, hx, params, ...)` for one layer and one direction, like ours.

    `weights` are weight_ih, weight_hh, and optionally bias_ih, bias_hh and weight_hr, each of them or None.
    """
    weight_ih, weight_hh, *rest = weights
    bias_ih, bias_hh, weight_hr = rest + [None] * (3 - len(rest))
    sizes = weight_hh.shape[1], (weight_hh if weight_hr is None else weight_hr).shape[1]
    hx = [
        x.new_zeros(1, x.shape[1], size) if s is None else s[None]
        for s, size in zip(states, sizes, strict=False)
    ]
    biased = bias_ih is not None or bias_hh is not None
    biases = [x.new_zeros(len(weight_ih)) if b is None else b for b in (bias_ih, bias_hh)] if biased else []
    params = [weight_ih, weight_hh, *biases, *([] if weight_hr is None else [weight_hr])]
    num_layers, dropout, train, bidirectional, batch_first = 1, 0.0, True, False, False
    options = biased, num_layers, dropout, train, bidirectional, batch_first
    y, *last = layer(x.flip(0) if reverse else x, hx if len(hx) > 1 else hx[0], params, *options)
    return (y.flip(0) if reverse else y, *(s[0] for s in last))
