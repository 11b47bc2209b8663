"""Adaptation of a trained network to a test domain without labels, by its batch normalizations alone.

    ada_bn_    running statistics of the target domain replace those of training; nothing is learned
    tent_      statistics of each test batch, and weight and bias learn to make the mean entropy
               H = -Σ p·log p of the predictions small, one step per batch

Both leave all other weights as they are. Both trust the test batches: if these are sorted by class, the
statistics are those of one class, and the predictions are wrong.

Li et al. 2016, arXiv:1603.04779; Wang et al. 2021, arXiv:2006.10726.
"""

from collections.abc import Iterable
from typing import Any

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization.batch.batchnorm import _BatchNorm
from ..loss.softmaxentropy import softmax_entropy
from .population import check_all_are_set, update_bn


def ada_bn_(model: Module, loader: Iterable[Any], device: Any = None) -> Module:
    """Give the batch normalizations the running statistics of a target domain; return the model.

    Layer by layer, so that each is measured on what evaluation feeds it: `update_bn` with
    layer_by_layer=True.

    Args:
        model: takes the inputs of a batch.
        loader: yields batches of the target domain, inputs or (inputs, ...); it is gone through once per
            layer: a list or a DataLoader, not a generator.
        device: to which the inputs are moved first; None leaves them where they are.

    Raises:
        TypeError, ValueError: as update_bn.

    Source: Li et al. 2016, arXiv:1603.04779.
    """
    update_bn(loader, model, device, layer_by_layer=True)
    return model


def tent_(model: Module) -> list[Tensor]:
    """Prepare a model for `tent_step`: return the weights and biases of its batch normalizations.

    They alone require a gradient from then on. The running statistics are removed, so that each batch has its
    own in evaluation too; a copy of the state keeps the old ones. The mode of the layers stays as it is: call
    model.eval() to leave dropout out (the authors' code calls model.train()).

    Raises:
        ValueError: if the model has no batch normalization with weight or bias, or another layer with running
            statistics, as InPlaceABN, which would keep those of training.

    Source: Wang et al. 2021, arXiv:2006.10726.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    check_all_are_set(model, layers, "tent_ prepares BatchNorm1d to 3d and SyncBatchNorm")
    learned = [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    if not learned:
        raise ValueError("tent_ needs a model with batch normalizations that have weight or bias")
    model.requires_grad_(False)
    for parameter in learned:
        parameter.requires_grad_(True)
    for layer in layers:
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return learned


def tent_step(model: Module, optimizer: Any, *inputs: Any) -> Tensor:
    """Predict a test batch, then take one step that makes the mean entropy of the predictions smaller.

    The predictions are those from before the step, as the authors' code returns them: a batch gains only from
    the steps on batches before it.

    Args:
        model: prepared by `tent_`; returns logits (N, C).
        optimizer: of the parameters that `tent_` returned.
        inputs: a batch, as the model takes it.

    Returns:
        The logits (N, C), detached.

    Raises:
        TypeError: if model is not a module, or optimizer not an optimizer: the inputs come last.
        ValueError: if other parameters than those of batch normalizations require a gradient or are the
            optimizer's, or if running statistics are left.

    Source: Wang et al. 2021, arXiv:2006.10726.
    """
    _check_prepared(model, optimizer)
    logits: Tensor = model(*inputs)
    optimizer.zero_grad()
    softmax_entropy(logits, 1).mean().backward()
    optimizer.step()
    return logits.detach()


def _check_prepared(model: Module, optimizer: Any) -> None:
    """Raise unless batch normalizations alone learn, have no running statistics, and are the optimizer's."""
    if not isinstance(model, Module) or not hasattr(optimizer, "param_groups"):
        got = f"{type(model).__name__}, {type(optimizer).__name__}"
        raise TypeError(f"tent_step takes a module, an optimizer, and then the inputs, got {got}")
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    of_norms = {id(p) for layer in layers for p in (layer.weight, layer.bias) if p is not None}
    others = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in of_norms]
    advice = "call learned = tent_(model), and give the optimizer learned alone"
    if others:
        raise ValueError(
            f"tent_step trains batch normalizations alone, but {others[0]!r} requires a gradient: {advice}"
        )
    if not of_norms or any(layer.running_mean is not None for layer in layers):
        raise ValueError(f"tent_step takes a model that tent_ has prepared: {advice}")
    steered = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not steered or not steered <= of_norms:
        raise ValueError(
            f"the optimizer of tent_step has {len(steered - of_norms)} tensors of {len(steered)} that are no "
            f"weight or bias of a batch normalization of this model: {advice}"
        )
