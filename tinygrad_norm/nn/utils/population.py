"""Population statistics: a second pass over the training data, with frozen weights, for the running ones.

The running statistics of batch normalization are averages over batches that saw other weights. After
training they can be replaced by the mean and the variance of the whole data:

    n = Σ n_k     mean = Σ n_k·m_k / n     var = Σ (n_k·v_k + n_k·(m_k - mean)²) / (n - 1)

from the mean m_k, the biased variance v_k and the number n_k of values of each batch k: the second term is
the variance between batches. (Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 2.)

Layer by layer this is exact: a layer is measured after those before it have their final statistics, so its
input is the one that evaluation gives it. All layers at once take one pass, but then a layer sees what the
layers before it make of each batch with that batch's own statistics.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import asarray, to_numpy
from ...module import Module
from ...normalization import (
    FrozenBatchNorm2d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LpBatchNorm1d,
    LpBatchNorm2d,
    RangeBatchNorm1d,
    RangeBatchNorm2d,
    SequenceBatchNorm,
)
from ...normalization.batch.batchnorm import batch_norm_forward
from ...normalization.batch.fixednorm import as_channels
from ...normalization.core.running_stats import RunningNorm

_OTHER_STATISTICS = LpBatchNorm1d | LpBatchNorm2d | RangeBatchNorm1d | RangeBatchNorm2d | SequenceBatchNorm
"""Layers whose running_var is no variance, or is not over all but the second axis."""

_KEPT = FrozenBatchNorm2d | InstanceNorm1d | InstanceNorm2d | InstanceNorm3d
"""Layers that keep their statistics, as with PyTorch's update_bn."""


@no_grad()
def update_bn(
    loader: Iterable[Any], model: Module, device: Any = None, *, layer_by_layer: bool = False
) -> None:
    """Replace the running statistics of the batch normalizations in `model` by those of the data.

    Nothing else of the model changes. `num_batches_tracked` becomes the number of batches. FrozenBatchNorm2d
    and InstanceNorm keep their statistics.

    Args:
        loader: yields batches, inputs or (inputs, ...); it is gone through once, or once per layer.
        model: takes the inputs of a batch.
        device: to which the inputs are moved first; None leaves them where they are.
        layer_by_layer: measure one layer after the other, in the order in which they run, on what evaluation
            feeds them: exact. Otherwise all of them in one pass, in training mode.

    Raises:
        TypeError: if the loader is a tensor, or, layer by layer, can be gone through only once.
        ValueError: if the model has no running statistics of channels, or others than mean and variance of
            the channels, as IterNorm has, which would stay as they are; if the loader has no batches, or a
            layer saw less than two values.
    """
    if isinstance(loader, Tensor):
        raise TypeError("the loader must yield batches, got one Tensor: pass [x], or its parts, x.split(64)")
    if layer_by_layer and isinstance(loader, Iterator):
        raise TypeError(
            f"the loader is gone through once per layer, and a {type(loader).__name__} can be only once: "
            "pass list(loader), or a DataLoader"
        )
    layers = [
        m
        for m in model.modules()
        if isinstance(m, RunningNorm)
        and m.over_the_batch
        and m.track_running_stats
        and not isinstance(m, _OTHER_STATISTICS)
    ]
    check_all_are_set(model, layers, "update_bn replaces a mean and a variance per channel")
    if not layers:
        raise ValueError("update_bn needs a model with batch normalizations that track running statistics")
    modes = [(module, module.training) for module in model.modules()]

    def run(watched: list[RunningNorm], batches: Iterable[Any]) -> dict[RunningNorm, list[_Moments]]:
        empty = True
        with _inputs_measured(watched) as seen:
            for batch in batches:
                inputs = batch[0] if isinstance(batch, list | tuple) else batch
                model(inputs if device is None else inputs.to(device))
                empty = False
        if empty:
            raise ValueError("the loader has no batches: there is nothing to measure")
        return seen

    try:
        model.eval()
        if layer_by_layer:
            order = [layer for layer, moments in run(layers, _first(loader)).items() if moments]
            for layer in order:
                _store(layer, run([layer], loader)[layer])
        else:
            model.train()
            for layer, moments in run(layers, loader).items():
                if moments:
                    _store(layer, moments)
    finally:
        for module, training in modes:
            module.training = training


def check_all_are_set(model: Module, layers: Iterable[Module], what: str) -> None:
    """Raise ValueError if another layer than these has running statistics, which would stay as they are."""
    known = {id(layer) for layer in layers}
    for name, layer in model.named_modules():
        if id(layer) in known or isinstance(layer, _KEPT):
            continue
        buffers = [buffer for buffer, value in layer._buffers.items() if value is not None]
        for buffer in buffers:
            if buffer.startswith(("running_mean", "running_var", "running_wm", "running_rms")):
                raise ValueError(
                    f"{what}, and would leave {buffer} of {name or 'the model'} ({type(layer).__name__}) as "
                    "it is: pass batches through the model in training mode instead, under no_grad"
                )


_Moments = tuple[int, numpy.ndarray, numpy.ndarray]
"""Of the input of a layer: values per channel, mean and biased variance of each channel."""


def _first(loader: Iterable[Any]) -> Iterator[Any]:
    for batch in loader:
        yield batch
        return


@contextmanager
def _inputs_measured(layers: list[RunningNorm]) -> Iterator[dict[RunningNorm, list[_Moments]]]:
    """Yield the moments of every input that the layers get inside, in the order of their first calls."""
    seen: dict[RunningNorm, list[_Moments]] = {}

    def measuring(layer: RunningNorm) -> Any:
        forward = layer.forward

        def measured(input: Tensor, *args: Any, **options: Any) -> Tensor:
            (pools,) = as_channels(input.array)
            if pools.size:
                _, mean, var, _ = batch_norm_forward(pools, None, None, layer.eps)
                m, v = (to_numpy(s).reshape(-1).astype(numpy.float64) for s in (mean, var))
                seen.setdefault(layer, []).append((pools.shape[0] * pools.shape[2], m, v))
            return forward(input, *args, **options)

        return measured

    try:
        for layer in layers:
            layer.forward = measuring(layer)  # type: ignore[method-assign]
        yield seen
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _store(layer: RunningNorm, moments: list[_Moments]) -> None:
    """Put the mean and the unbiased variance of all batches together into the buffers of a layer."""
    counts = numpy.array([n for n, _, _ in moments], numpy.float64)[:, None]
    n, means, variances = (
        counts.sum(),
        *(numpy.array(values) for values in list(zip(*moments, strict=True))[1:]),
    )
    if n < 2:
        raise ValueError(
            f"update_bn needs at least two values per channel, {type(layer).__name__} saw {int(n)}"
        )
    mean = (counts * means).sum(0) / n
    var = (counts * (variances + (means - mean) ** 2)).sum(0) / (n - 1)
    for name, values in (("running_mean", mean), ("running_var", var)):
        buffer = getattr(layer, name)
        buffer.copy_(Tensor(asarray(values.astype(buffer.dtype))))
    layer.num_batches_tracked.fill_(len(moments))
