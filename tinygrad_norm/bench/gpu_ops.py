"""The ops timed on a GPU: every pair of array functions with handwritten kernels, and the optimizers.

Timing array functions, not Tensors, leaves out the tape and the checks, which do not run on the GPU, and
allows dtypes that a Tensor does not support (bfloat16). Each has PyTorch's function as its baseline.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ..backends import Array, namespace
from ..backends.cuda.signature import accumulator
from ..backends.random import Draw
from ..nn.activation.gated import GELUFunction
from ..nn.activation.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)
from ..nn.dropout import random_dropout
from ..nn.embedding import embedding_backward, embedding_forward
from ..nn.loss.crossentropy import cross_entropy_backward, cross_entropy_forward
from ..normalization.batch.batchnorm import batch_norm_backward, batch_norm_forward
from ..normalization.batch.fixednorm import batch_norm_eval_backward, batch_norm_eval_forward
from ..normalization.batch.lpbatchnorm import lp_batch_norm_backward, lp_batch_norm_forward
from ..normalization.sample.addnorm import add_layer_norm_backward, add_layer_norm_forward
from ..normalization.sample.addrmsnorm import add_rms_norm_backward, add_rms_norm_forward
from ..normalization.sample.groupnorm import group_norm_backward, group_norm_forward
from ..normalization.sample.instancenorm import instance_norm_backward, instance_norm_forward
from ..normalization.sample.layernorm import layer_norm_backward, layer_norm_forward
from ..normalization.sample.localresponsenorm import (
    local_response_norm_backward,
    local_response_norm_forward,
)
from ..normalization.sample.lpnorm import lp_norm_backward, lp_norm_forward
from ..normalization.sample.rmsnorm import rms_norm_backward, rms_norm_forward
from ..normalization.vector.normalize import normalize_backward, normalize_forward
from ..optim.adam import adam_step
from ..optim.sgd import sgd_step
from ..registry import Case, Input, integers, positive
from .gpu_data import Data, Shape

EPS = 1e-5
GROUPS = 32
LR, BETAS, MOMENTUM, WEIGHT_DECAY = 1e-3, (0.9, 0.999), 0.9, 1e-2

Call = Callable[[], Any]
Calls = Mapping[str, Sequence[Call]]
"""By direction, the calls to time: one for each buffer in the rotation."""


@dataclass(frozen=True)
class Memory:
    """What limits the number of passes: bytes of shared memory per block, and of the GPU's L2 cache."""

    shared: int
    cache: int


@dataclass(frozen=True)
class Op:
    """One op at large sizes; the first input of a case is x.

    forward   maps the inputs to (ys, saved)
    backward  maps (*dys, *saved) to the gradients
    torch     maps `torch.nn.functional` and the same inputs to y, or ys
    passes    maps the shape of x, its itemsize and the memory to the minimum number of arrays of that size
              that forward and backward read and write; weights, statistics and targets are small
    """

    cases: tuple[Case, ...]
    forward: Callable[..., tuple[Sequence[Array], Sequence[Any]]]
    backward: Callable[..., Any]
    torch: Callable[..., Any]
    passes: Callable[[Shape, int, Memory], tuple[int, int]] = lambda shape, itemsize, memory: (2, 3)

    def floors(self, case: Case, dtype: numpy.dtype, memory: Memory) -> dict[str, int]:
        """Return the minimum of bytes that each direction must read and write."""
        shape: Any = case.inputs[0]
        forward, backward = self.passes(shape, dtype.itemsize, memory)
        whole = math.prod(shape) * dtype.itemsize
        return {"forward": forward * whole, "backward": backward * whole}

    def calls(self, data: Data) -> Calls:
        """Return our calls, on the current backend."""
        forwards: list[Call] = []
        backwards: list[Call] = []
        for i, inputs in enumerate(data.inputs):
            forward = functools.partial(self.forward, *inputs)
            ys, saved = forward()
            forwards.append(forward)
            backwards.append(functools.partial(self.backward, *data.dys(i, *(y.shape for y in ys)), *saved))
        return {"forward": forwards, "backward": backwards}


@dataclass(frozen=True)
class Optimizer:
    """One update of a flat buffer of parameters; the only input of a case is the parameters.

    There is only one buffer: it is too large for any cache, and compiling an optimizer in PyTorch takes
    seconds.

    step     updates in place, given param, grad, moments, and scratch in the dtype of the moments
    torch    maps `torch.optim`, the parameters in a list, and options to PyTorch's optimizer
    moments  number of arrays that the optimizer keeps
    """

    step: Callable[..., None]
    torch: Callable[..., Any]
    moments: int
    cases: tuple[Case, ...] = tuple(Case(((1 << power,),)) for power in (24, 27))

    def floors(self, case: Case, dtype: numpy.dtype, memory: Memory) -> dict[str, int]:
        """Return the bytes of a step: param and moments read and written, grad read."""
        (shape,) = case.inputs
        wide = numpy.dtype(accumulator(dtype.name)).itemsize
        return {"step": math.prod(shape) * (3 * dtype.itemsize + 2 * self.moments * wide)}  # type: ignore[arg-type]

    def calls(self, data: Data) -> Calls:
        """Return our call, on the current backend."""
        param = data.inputs[0][0].copy()
        zeros, wide = namespace(param).zeros, accumulator(data.dtype.name)
        moments = [zeros(param.shape, wide) for _ in range(self.moments)]
        work = zeros((2, 1), wide)
        return {"step": [functools.partial(self.step, param, *data.dys(0, param.shape), *moments, work)]}


# -- ours


def _layer_norm(x: Array, weight: Array, bias: Array) -> Any:
    y, *statistics = layer_norm_forward(x, weight, bias, EPS)
    return (y,), (x, weight, *statistics)


def _rms_norm(x: Array, weight: Array) -> Any:
    y, rstd = rms_norm_forward(x, weight, EPS)
    return (y,), (x, weight, rstd)


def _lp_norm(x: Array, weight: Array) -> Any:
    y, size = lp_norm_forward(x, weight, 3.0, EPS)
    return (y,), (x, weight, size, 3.0, EPS)


def _add_layer_norm(x: Array, z: Array, weight: Array, bias: Array) -> Any:
    y, s, *statistics = add_layer_norm_forward(x, z, weight, bias, EPS)
    return (y, s), (s, weight, *statistics)


def _add_rms_norm(x: Array, z: Array, weight: Array) -> Any:
    y, s, rstd = add_rms_norm_forward(x, z, weight, EPS)
    return (y, s), (s, weight, rstd)


def _by_channel(x: Array, *vectors: Array) -> list[Array]:
    return [x.reshape(*x.shape[:2], -1), *(vector.reshape(1, -1, 1) for vector in vectors)]


def _batch_norm(*given: Array) -> Any:
    x, weight, bias = _by_channel(*given)
    y, mean, _, rstd = batch_norm_forward(x, weight, bias, EPS)
    return (y,), (x, weight, mean, rstd)


def _batch_norm_eval(*given: Array) -> Any:
    x, weight, bias, mean, var = _by_channel(*given)
    y, rstd = batch_norm_eval_forward(x, weight, bias, mean, var, EPS)
    return (y,), (x, weight, mean, rstd)


def _l1_batch_norm(*given: Array) -> Any:
    x, weight, bias = _by_channel(*given)
    y, *statistics = lp_batch_norm_forward(x, weight, bias, 1.0, 1.0, EPS)
    return (y,), (x, weight, *statistics, 1.0, 1.0)


def _torch_l1_batch_norm(F: Any, x: Any, w: Any, b: Any) -> Any:
    axes = (0, *range(2, x.ndim))
    z = x - x.mean(axes, keepdim=True)
    d, (w, b) = z.abs().mean(axes, keepdim=True), (v.view(-1, *(1,) * (x.ndim - 2)) for v in (w, b))
    return w * z / (d * d + EPS) ** 0.5 + b


def _instance_norm(*given: Array) -> Any:
    x, weight, bias = _by_channel(*given)
    y, mean, _, rstd = instance_norm_forward(x, weight, bias, EPS)
    return (y,), (x, weight, mean, rstd)


def _group_norm(x: Array, *vectors: Array) -> Any:
    pools = x.reshape(len(x), GROUPS, x.shape[1] // GROUPS, -1)
    weight, bias = (vector.reshape(1, GROUPS, -1, 1) for vector in vectors)
    y, *statistics = group_norm_forward(pools, weight, bias, EPS)
    return (y,), (pools, weight, *statistics)


def _normalize(x: Array) -> Any:
    y, rnorm = normalize_forward(x, 2.0, 1e-12)
    return (y,), (y, rnorm, 2.0, 1e-12)


def _normalize_by_power(x: Array) -> Any:
    y, rnorm = normalize_forward(x, 3.0, 1e-12)
    return (y,), (y, rnorm, 3.0, 1e-12)


def _softmax(x: Array) -> Any:
    y = softmax_forward(x)
    return (y,), (y,)


def _log_softmax(x: Array) -> Any:
    y = log_softmax_forward(x)
    return (y,), (y,)


def _cross_entropy(x: Array, target: Array) -> Any:
    N, C = x.shape
    index = target + namespace(x).arange(0, N * C, C)
    losses, p = cross_entropy_forward(x, index)
    return (losses,), (p, index)


def _sgd(param: Array, grad: Array, momentum_buffer: Array, work: Array) -> None:
    options = {"dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    sgd_step(param, grad, momentum_buffer, work, first=False, lr=LR, momentum=MOMENTUM, **options)


def _adamw(param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, work: Array) -> None:
    options = {"eps": 1e-8, "weight_decay": WEIGHT_DECAY, "decoupled": True, "maximize": False}
    adam_step(param, grad, exp_avg, exp_avg_sq, None, work, step=2, lr=LR, betas=BETAS, **options)


_curve: Any = GELUFunction.curve_kernels


def _gelu(x: Array) -> Any:
    return (_curve.forward(x),), (x,)


def _local_response_norm(x: Array) -> Any:
    window = 5, 1e-4, 0.75
    x = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    y, *statistics = local_response_norm_forward(x, *window, 1.0)
    return (y,), (x, *statistics, *window)


_DROPPED, _draw = 0.1, Draw(key=0, number=0)


def _dropout(x: Array) -> Any:
    return (random_dropout(x, _draw, _DROPPED),), (_draw, _DROPPED)


def _embedding(weight: Array, index: Array) -> Any:
    return (embedding_forward(weight, index),), (index, len(weight))


# -- floors


def _of_batch(shape: Shape, itemsize: int, memory: Memory) -> tuple[int, int]:
    return 2 if math.prod(shape) * itemsize <= memory.cache else 3, 5


def _of_pools(shape: Shape, itemsize: int, memory: Memory, groups: int = 0) -> tuple[int, int]:
    pool = math.prod(shape) * itemsize // (shape[0] * (groups or shape[1]))
    return 2 if pool <= memory.shared else 3, 3 if 2 * pool <= memory.shared else 5


def _of_windows(shape: Shape, itemsize: int, memory: Memory) -> tuple[int, int]:
    statistics = 2 * max(itemsize, 4) // itemsize
    return 2 + statistics, 3 + statistics


# -- the list

_ROWS = tuple((4096, D) for D in (512, 1024, 2048, 4096, 8192, 16384))
_IMAGES = ((64, 64, 32, 32), (64, 256, 28, 28), (64, 64, 112, 112))


def _rows(vectors: int, arrays: int = 1) -> tuple[Case, ...]:
    return tuple(Case((*[shape] * arrays, *[shape[1:]] * vectors)) for shape in _ROWS)


def _images(*shapes: Shape) -> tuple[Case, ...]:
    return tuple(Case((shape, shape[1:2], shape[1:2])) for shape in (*shapes, *_IMAGES))


def _tokens(V: int, D: int) -> Case:
    """Four indices for every row of the weight, so that almost all rows (98 %) are used."""
    return Case(((V, D), integers(V, 4 * V)))


def _with_statistics(case: Case) -> Case:
    shape: Any = case.inputs[1]
    mean = Input(shape, differentiable=False)
    return Case((*case.inputs, mean, positive(*shape, differentiable=False)))


SUBJECTS: dict[str, Op | Optimizer] = {
    "layer_norm": Op(
        _rows(2),
        _layer_norm,
        layer_norm_backward,
        lambda F, x, w, b: F.layer_norm(x, w.shape, w, b, EPS),
    ),
    "rms_norm": Op(
        _rows(1),
        _rms_norm,
        rms_norm_backward,
        lambda F, x, w: F.rms_norm(x, w.shape, w, EPS),
    ),
    "lp_norm": Op(
        _rows(1),
        _lp_norm,
        lp_norm_backward,
        lambda F, x, w: w * x / ((x.abs() ** 3).mean(-1, keepdim=True) ** (2 / 3) + EPS) ** 0.5,
    ),
    "add_layer_norm": Op(
        _rows(2, arrays=2),
        _add_layer_norm,
        add_layer_norm_backward,
        lambda F, x, z, w, b: (F.layer_norm(s := x + z, w.shape, w, b, EPS), s),
        lambda shape, itemsize, memory: (4, 4),
    ),
    "add_rms_norm": Op(
        _rows(1, arrays=2),
        _add_rms_norm,
        add_rms_norm_backward,
        lambda F, x, z, w: (F.rms_norm(s := x + z, w.shape, w, EPS), s),
        lambda shape, itemsize, memory: (4, 4),
    ),
    "normalize": Op(_rows(0), _normalize, normalize_backward, lambda F, x: F.normalize(x, dim=1)),
    "normalize_p3": Op(
        _rows(0), _normalize_by_power, normalize_backward, lambda F, x: F.normalize(x, 3.0, dim=1)
    ),
    "batch_norm": Op(
        _images((8192, 1024)),
        _batch_norm,
        batch_norm_backward,
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, EPS),
        _of_batch,
    ),
    "batch_norm_eval": Op(
        tuple(map(_with_statistics, _images((8192, 1024)))),
        _batch_norm_eval,
        batch_norm_eval_backward,
        lambda F, x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, False, 0.1, EPS),
    ),
    "l1_batch_norm": Op(
        _images((8192, 1024)),
        _l1_batch_norm,
        lp_batch_norm_backward,
        _torch_l1_batch_norm,
        lambda shape, itemsize, memory: (_of_batch(shape, itemsize, memory)[0] * 2 - 2, 5),
    ),
    "group_norm": Op(
        _images(),
        _group_norm,
        group_norm_backward,
        lambda F, x, w, b: F.group_norm(x, GROUPS, w, b, EPS),
        functools.partial(_of_pools, groups=GROUPS),
    ),
    "instance_norm": Op(
        _images(),
        _instance_norm,
        instance_norm_backward,
        lambda F, x, w, b: F.instance_norm(x, None, None, w, b, True, 0.1, EPS),
        _of_pools,
    ),
    "local_response_norm": Op(
        tuple(Case((shape,)) for shape in _IMAGES),
        _local_response_norm,
        local_response_norm_backward,
        lambda F, x: F.local_response_norm(x, 5),
        _of_windows,
    ),
    "softmax": Op(_rows(0), _softmax, softmax_backward, lambda F, x: F.softmax(x, -1)),
    "log_softmax": Op(_rows(0), _log_softmax, log_softmax_backward, lambda F, x: F.log_softmax(x, -1)),
    "cross_entropy": Op(
        tuple(Case((shape, integers(shape[1], shape[0]))) for shape in _ROWS),
        _cross_entropy,
        cross_entropy_backward,
        lambda F, x, target: F.cross_entropy(x, target, reduction="none"),
        lambda shape, itemsize, memory: (2, 2),
    ),
    "gelu": Op(  # stands for all kernels over elements
        tuple(Case(((4096, D),)) for D in (1024, 8192)),
        _gelu,
        _curve.backward,
        lambda F, x: F.gelu(x),
    ),
    "dropout": Op(
        tuple(Case(((4096, D),)) for D in (1024, 8192)),
        _dropout,
        random_dropout,
        lambda F, x: F.dropout(x, _DROPPED),
        lambda shape, itemsize, memory: (2, 2),
    ),
    "embedding": Op(
        tuple(_tokens(8192, D) for D in (256, 1024, 4096)),
        _embedding,
        embedding_backward,
        lambda F, weight, index: F.embedding(index, weight),
        lambda shape, itemsize, memory: (5, 5),
    ),
    "sgd": Optimizer(
        _sgd,
        lambda optim, params, **how: optim.SGD(params, LR, MOMENTUM, **how),
        moments=1,
    ),
    "adamw": Optimizer(
        _adamw,
        lambda optim, params, **how: optim.AdamW(params, LR, BETAS, weight_decay=WEIGHT_DECAY, **how),
        moments=2,
    ),
}
"""The ops and optimizers to time, by name."""
