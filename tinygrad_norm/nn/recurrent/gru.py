"""GRU: a recurrent network whose gates decide how much of the state to use and how much to replace.

    p_t = x_t @ w_ihᵀ + b_ih    q_t = h_{t-1} @ w_hhᵀ + b_hh      (T, N, 3H), three gates concatenated

    r = σ(p_r + q_r)    z = σ(p_z + q_z)    n = tanh(p_n + r·q_n)    reset gate, update gate, new state

    h_t = (1 - z)·n + z·h_{t-1} = n + z·(h_{t-1} - n)      y_t = h_t

Cho et al. 2014, arXiv:1406.1078. The reset gate is applied after the product with w_hh, as in cuDNN and
PyTorch, so that one product is enough for all three gates.

Backward, for one step, from dh = dL/dh_t (unrolled.py derives how it adds up); a is the argument of a
gate. h_{t-1} reaches the loss on several paths; by the chain rule their contributions add up:

    through n        da_n = dh·(1 - z)·(1 - n²)      dp_n = da_n      dq_n = da_n·r
    through n to r   da_r = da_n·q_n·r·(1 - r)       dp_r = dq_r = da_r
    through z        da_z = dh·(h_{t-1} - n)·z·(1 - z)      dp_z = dq_z = da_z
    through q        dh_{t-1} = dq @ w_hh
    past the gates   dh_{t-1} += dh·z

All of dp and dq are dh times factors that are known from the forward pass. These are computed for all steps
at once, in four blocks:

    n·r | r | z | n      times dh: dq is the first three blocks (in the order n, r, z), dp the last three

so that the loop needs one multiplication for all gates and one product.

Insight: z has the role of the LSTM's forget gate, and dh·z is its straight path back. But the shares that
are kept and written sum to 1, so an h that starts in [-1, 1] stays there, and needs neither a memory cell
nor an output gate.
"""

from collections.abc import Sequence
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones, sigmoid, tanh
from ...ops.checks import Shape
from ...registry import Case, ErrorCase, register
from ..linear import linear_composed
from .gru_steps import (
    gru_backward_by_kernels,
    gru_backward_by_steps,
    gru_forward_by_kernels,
    gru_forward_by_steps,
)
from .recurrent_module import Recurrent, RecurrentCell, States
from .unrolled import (
    Lengths,
    check_layer,
    check_step,
    check_tensors,
    composed_layer,
    freeze,
    gate_scale,
    input_and_weight_gradients,
    input_product,
    last_state,
    mask_padding,
    padding_mask,
    recurrent_weights,
    scale_rows,
    sum_biases,
    time_order,
    torch_layer,
    trajectory,
    zeros_for_none,
)


def gru_cell_composed(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> Tensor:
    """One step of a GRU from primitives: autograd finds the gradient."""
    (h,) = zeros_for_none((hx,), weight_hh.shape[1:], input)
    p_r, p_z, p_n = linear_composed(input, weight_ih, bias_ih).chunk(3, -1)
    q_r, q_z, q_n = linear_composed(h, weight_hh, bias_hh).chunk(3, -1)
    r, z = sigmoid(p_r + q_r), sigmoid(p_z + q_z)
    n = tanh(p_n + r * q_n)
    return (1 - z) * n + z * h


def gru_layer_composed(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """GRU over a sequence from primitives, step by step: autograd finds the gradient."""

    def step(x: Tensor, states: States) -> States:
        (h,) = states
        return (gru_cell_composed(x, h, weight_ih, weight_hh, bias_ih, bias_hh),)

    return composed_layer(step, input, zeros_for_none((hx,), weight_hh.shape[1:], input), lengths, reverse)


@kernel
def gru_forward(
    x: Array,
    h0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    padding: Array | None,
    reverse: bool,
) -> tuple[Array, ...]:
    """Return h before and after every step, q_n, and the gates r, z, n concatenated.

    x (T, N, D) is 0 where padding (T, N, 1) is True; h and q_n are (T, N, H), the gates (T, N, 3H).
    """
    xp = namespace(x)
    H = weight_hh.shape[1]
    scale = gate_scale((0.5, 0.5, 1), H, x)
    gates = input_product(x, scale_rows(weight_ih, scale), sum_biases(bias_ih, scale=scale))
    weight = xp.ascontiguousarray(scale_rows(weight_hh, scale).T)
    bias = sum_biases(bias_hh, scale=scale)
    h, h_after = trajectory(h0, H, x, reverse)
    q_n = xp.empty_like(h)
    q, kept = xp.empty_like(gates[0]), xp.empty_like(h[0])
    for t in time_order(len(x), reverse):
        xp.matmul(h[t], weight, out=q)
        if bias is not None:
            q += bias
        q_n[t] = q[:, 2 * H :]
        rz, n = gates[t, :, : 2 * H], gates[t, :, 2 * H :]
        rz += q[:, : 2 * H]
        xp.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        n += xp.multiply(rz[:, :H], q_n[t], out=kept)
        xp.tanh(n, out=n)
        xp.subtract(h[t], n, out=kept)
        kept *= rz[:, H:]
        xp.add(n, kept, out=h_after[t])
        freeze(h_after, h, padding, t)
    return h, h_after, q_n, gates


gru_forward.cpu(gru_forward_by_steps)
gru_forward.cuda(gru_forward_by_kernels)


@kernel
def gru_backward(
    dy: Array,
    dh: Array,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    padding: Array | None,
    reverse: bool,
    h: Array,
    q_n: Array,
    gates: Array,
    needs: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return the gradients of x, h0, both weights and both biases.

    dy (T, N, H) is 0 in the padding; dh (N, H) is the gradient of the last state; h are the states before
    every step. The gradients of x, the weights and the biases are None where `needs` is False.
    """
    xp = namespace(x)
    T, N, H = h.shape
    r, z, n = (gates[:, :, k * H : (k + 1) * H] for k in range(3))
    d = xp.empty((T, N, 4, H), x.dtype)
    xp.multiply(1 - z, 1 - n * n, out=d[:, :, 3])
    xp.multiply(h - n, z * (1 - z), out=d[:, :, 2])
    xp.multiply(d[:, :, 3], r, out=d[:, :, 0])
    xp.multiply(d[:, :, 0], q_n * (1 - r), out=d[:, :, 1])
    if padding is not None:
        d *= ~padding[..., None]
        z = xp.where(padding, 1, z)
    weight_nrz = xp.roll(weight_hh, H, 0)
    dh, straight = dh.copy(), xp.empty_like(dh)
    for t in reversed(time_order(T, reverse)):
        dh += dy[t]
        d[t] *= dh[:, None]
        xp.multiply(dh, z[t], out=straight)
        xp.matmul(d[t, :, :3].reshape(N, 3 * H), weight_nrz, out=dh)
        dh += straight
    d = d.reshape(T * N, 4 * H)
    dx, dweight_ih, dweight_hh, dbias_ih, dbias_hh = input_and_weight_gradients(
        d[:, H:], d[:, : 3 * H], x, h, weight_ih, (needs[0], *needs[2:])
    )
    dweight_hh, dbias_hh = (None if w is None else xp.roll(w, -H, 0) for w in (dweight_hh, dbias_hh))
    return dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh


gru_backward.cpu(gru_backward_by_steps)
gru_backward.cuda(gru_backward_by_kernels)


class GRUFunction(Function):
    """h_t = n + z·(h_{t-1} - n), n = tanh(p_n + r·q_n) · dh_{t-1} = dq @ w_hh + dh·z + dy_{t-1}"""

    def forward(
        self, x: Array, *state_and_weights: Array | None, padding: Array | None, reverse: bool
    ) -> tuple[Array, ...]:
        arrays = [None if array is None else upcast(array) for array in state_and_weights]
        rows = namespace(x).ascontiguousarray(mask_padding(upcast(x), padding))
        h, h_after, q_n, gates = gru_forward(rows, *arrays, padding, reverse)
        _, weight_ih, weight_hh, _, _ = arrays
        # h_after is y, which shares memory with h. It is saved so that an in-place change of y is detected.
        self.saved = rows, weight_ih, weight_hh, padding, reverse, h, q_n, gates, h_after
        return downcast(mask_padding(h_after, padding), x), downcast(last_state(h_after, reverse), x)

    def backward(self, dy: Array, dh: Array) -> Gradients:
        *saved, _ = self.saved
        return gru_backward(mask_padding(upcast(dy), saved[3]), upcast(dh), *saved, self.needs)


def gru_layer(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run one layer of a GRU over a sequence, in one direction.

    Args:
        input: (T, N, D), T >= 1.
        hx: the initial h (N, H), or None for zeros.
        weight_ih: (3H, D), gates in the order r, z, n.
        weight_hh: (3H, H).
        bias_ih: (3H,), or None.
        bias_hh: (3H,), or None.
        lengths: (N,) integers in [0, T]; after its end, a sequence has outputs 0 and keeps its state.
        reverse: whether to run backwards, from the end of each sequence.

    Returns:
        y (T, N, H), and the last h (N, H).

    Raises:
        TypeError: if the input is not a floating-point tensor, or the dtypes differ.
        ValueError: if the shapes do not fit, T is 0, or a length is outside [0, T].

    Source: Cho et al. 2014, arXiv:1406.1078.
    """
    N, H = check_layer("gru_layer", input, weight_ih, 3)
    check_tensors(
        input,
        hx=(hx, (N, H)),
        weight_hh=(weight_hh, (3 * H, H)),
        bias_ih=(bias_ih, (3 * H,)),
        bias_hh=(bias_hh, (3 * H,)),
    )
    padding = padding_mask(lengths, input)
    return GRUFunction.apply(
        input, hx, weight_ih, weight_hh, bias_ih, bias_hh, padding=padding, reverse=reverse
    )


def gru_cell(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> Tensor:
    """Return h after one step of a GRU: gru_layer of one time step, for input (N, D)."""
    check_step(input, "gru_cell")
    return gru_layer(input.unsqueeze(0), hx, weight_ih, weight_hh, bias_ih, bias_hh)[1]


class GRU(Recurrent):
    """GRU over a sequence: stacked layers, each in one direction or in both.

    Takes x (T, N, input_size), with batch_first (N, T, input_size), or (T, input_size) for one sequence;
    hx (layers·directions, N, hidden_size), the initial state, or None for zeros; and lengths (N,), the
    number of steps of each sequence (in any order; 0 is allowed). Returns y, of x's shape with
    directions·hidden_size features, and the last states, of hx's shape. In the padding y and the
    gradients of x are 0, and the values of x are ignored.

    Parameters of layer k: weight_ih_lk (3·hidden_size, features of its input), weight_hh_lk (3·hidden_size,
    hidden_size), bias_ih_lk and bias_hh_lk (3·hidden_size,); those of the reverse direction end in
    _reverse. Source: Cho et al. 2014, arXiv:1406.1078.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Tensor],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        hx = None if states is None else states[0]
        return gru_layer(x, hx, **weights, lengths=lengths, reverse=reverse)


class GRUCell(RecurrentCell):
    """One step of a GRU.

    Takes x (N, input_size), or (input_size,) without a batch, and h before the step, or None for zeros;
    returns h after it, (N, hidden_size) or (hidden_size,). Parameters: weight_ih (3·hidden_size,
    input_size), weight_hh (3·hidden_size, hidden_size), bias_ih and bias_hh (3·hidden_size,).
    """

    gates = 3

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias)

    def run_step(self, x: Tensor, states: States | None) -> States:
        hx = None if states is None else states[0]
        return (gru_cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh),)


_SMALL = recurrent_weights(6, 1, 2)
_FULL = recurrent_weights(6, 3, 2, biases=True)


def _run_ones(
    x: Shape = (3, 2, 3),
    hx: Shape = (2, 2),
    weight_ih: Shape = (6, 3),
    weight_hh: Shape = (6, 2),
    bias_ih: Shape = (6,),
    **options: Any,
) -> tuple[Tensor, Tensor]:
    return gru_layer(ones(x), ones(hx), ones(weight_ih), ones(weight_hh), ones(bias_ih), **options)


def _in_torch(torch: Any, input: Any, hx: Any, *weights: Any, reverse: bool = False) -> Any:
    return torch_layer(torch.gru, input, (hx,), weights, reverse)


register(
    name="gru",
    function=gru_layer,
    composed=gru_layer_composed,
    parameters=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    cases=(
        Case(((2, 2, 3), (2, 2), *_FULL)),
        Case(((3, 2, 1), None, *_SMALL), {"reverse": True}),
        Case(((3, 2, 1), (2, 2), *_SMALL), {"lengths": (2, 0)}),
        Case(((3, 2, 1), (2, 2), *_SMALL), {"lengths": (1, 3), "reverse": True}),
        Case(((1, 2, 1), (2, 2), *_SMALL, None, (6,))),
        Case(((3, 0, 3), (0, 2), *_FULL)),
    ),
    errors=(
        ErrorCase(lambda: _run_ones(x=(3, 2, 4)), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(x=(0, 2, 3)), ValueError, "at least one time step"),
        ErrorCase(lambda: _run_ones(hx=(3, 2)), ValueError, "hx has shape (3, 2), expected (2, 2)"),
        ErrorCase(lambda: _run_ones(weight_ih=(5, 3)), ValueError, "weight_ih (3·H, D)"),
        ErrorCase(lambda: _run_ones(weight_hh=(6, 3)), ValueError, "weight_hh has shape (6, 3)"),
        ErrorCase(lambda: _run_ones(bias_ih=(2,)), ValueError, "bias_ih has shape (2,), expected (6,)"),
        ErrorCase(lambda: _run_ones(lengths=(1, -1)), ValueError, "between 0 and the 3 steps"),
    ),
    kind="block",
    title="GRU",
    paper="Cho et al. 2014, arXiv:1406.1078",
    torch=_in_torch,
    bench=(Case(((32, 32, 128), (32, 128), *recurrent_weights(384, 128, 128, biases=True))),),
)
register(
    name="gru_cell",
    function=gru_cell,
    composed=gru_cell_composed,
    parameters=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    cases=(
        Case(((2, 3), (2, 2), *_FULL)),
        Case(((2, 1), (2, 2), *_SMALL, None, None)),
        Case(((0, 3), (0, 2), *_FULL)),
    ),
    errors=(
        ErrorCase(lambda: gru_cell(ones(3), None, ones(6, 3), ones(6, 2)), ValueError, "takes x (N, D)"),
        ErrorCase(lambda: gru_cell(ones(2, 4), None, ones(6, 3), ones(6, 2)), ValueError, "takes x"),
        ErrorCase(lambda: gru_cell([[1.0]], None, ones(6, 1), ones(6, 2)), TypeError, "takes a Tensor"),  # type: ignore[arg-type]
    ),
    kind="block",
    title="GRUCell",
    paper="Cho et al. 2014, arXiv:1406.1078",
    torch="torch.gru_cell",
)
