"""The normalizations of `tinygrad-norm train`, by name, with options: "group", "group:groups=4,eps=0.001"."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import nn
from ..autograd.tensor import Tensor
from ..module import Module
from ..normalization.batch.batchrenorm import RenormSchedule
from ..suggestions import unknown

Norm = Callable[[tuple[int, ...]], Module]
"""Builds a normalization for features of shape (D,) or (C, H, W), without the batch axis."""


class Choice(NamedTuple):
    """A normalization that `train` takes: the op it runs, and the builder of its layer.

    `build` takes the shape, and options as keyword parameters. It raises ValueError if they do not fit.
    """

    op: str
    build: Callable[..., Module]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The options by name."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _batch(shape: tuple[int, ...], *, eps: float = 1e-5, momentum: float = 0.1) -> Module:
    layer = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return layer(shape[0], eps, momentum)


def _sync_batch(shape: tuple[int, ...], *, eps: float = 1e-5, momentum: float = 0.1) -> Module:
    return nn.SyncBatchNorm(shape[0], eps, momentum)


def _renorm(
    shape: tuple[int, ...],
    *,
    rmax: float = 3.0,
    dmax: float = 5.0,
    start: int = 100,
    rmax_end: int = 800,
    dmax_end: int = 500,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Module:
    layer = nn.BatchRenorm1d if len(shape) == 1 else nn.BatchRenorm2d
    schedule = RenormSchedule(start, rmax_end, dmax_end)
    return layer(shape[0], eps, momentum, rmax=rmax, dmax=dmax, schedule=schedule)


def _ghost(shape: tuple[int, ...], *, size: int = 16, eps: float = 1e-5, momentum: float = 0.1) -> Module:
    layer = nn.GhostBatchNorm1d if len(shape) == 1 else nn.GhostBatchNorm2d
    return layer(shape[0], size, eps, momentum)


def _batchgroup(
    shape: tuple[int, ...],
    *,
    groups: int | None = None,
    sample_groups: int = 1,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Module:
    check_positions(shape, "joint batch and group normalization is for channels with several positions")
    groups = max(1, shape[0] // 8) if groups is None else groups  # groups of 8 channels
    return nn.BatchGroupNorm2d(shape[0], groups, sample_groups, eps, momentum)


def _batchchannel(
    shape: tuple[int, ...], *, groups: int | None = None, eps: float = 1e-5, momentum: float = 0.1
) -> Module:
    check_positions(shape, "batch-channel normalization is for channels with several positions")
    groups = max(1, shape[0] // 8) if groups is None else groups  # groups of 8 channels
    return nn.BatchChannelNorm2d(shape[0], groups, eps, momentum)


def _weighed(
    shape: tuple[int, ...], *, inference_weight: float = 0.1, eps: float = 1e-5, momentum: float = 0.1
) -> Module:
    check_positions(shape, "inference example weighing needs several positions per channel")
    return nn.WeighedBatchNorm2d(shape[0], eps, momentum, inference_weight=inference_weight)


def _noisy(
    shape: tuple[int, ...],
    *,
    mean_range: float = 0.5,
    scale_range: float = 1.25,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Module:
    layer = nn.NoisyBatchNorm1d if len(shape) == 1 else nn.NoisyBatchNorm2d
    return layer(shape[0], eps, momentum, mean_range=mean_range, scale_range=scale_range)


def _power(shape: tuple[int, ...], *, warmup: int = 100, eps: float = 1e-5, momentum: float = 0.1) -> Module:
    if len(shape) > 1:
        raise ValueError(
            f"power normalization has its features on the last axis, but channels {shape} are on the first"
        )
    return nn.PowerNorm(shape[0], eps, momentum, warmup)


def _lpbatch(
    shape: tuple[int, ...],
    *,
    p: float = 1.0,
    gaussian: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Module:
    layer = nn.LpBatchNorm1d if len(shape) == 1 else nn.LpBatchNorm2d
    return layer(shape[0], p, eps, momentum, gaussian=gaussian)


def _lp(shape: tuple[int, ...], *, p: float = 1.0, eps: float | None = None) -> Module:
    return nn.LpNorm(shape, p, eps)


def _layer(shape: tuple[int, ...], *, eps: float = 1e-5) -> Module:
    return nn.LayerNorm(shape, eps)


def _rms(shape: tuple[int, ...], *, eps: float | None = None) -> Module:
    return nn.RMSNorm(shape, eps)


def _scale(shape: tuple[int, ...], *, eps: float = 1e-5) -> Module:
    if len(shape) != 1:
        raise ValueError("ScaleNorm is for vectors of features, not for images (C, H, W)")
    return nn.ScaleNorm(shape[0], eps)


def _group(shape: tuple[int, ...], *, groups: int | None = None, eps: float = 1e-5) -> Module:
    groups = max(1, shape[0] // 8) if groups is None else groups  # groups of 8 channels
    return nn.GroupNorm(groups, shape[0], eps)


def _instance(shape: tuple[int, ...], *, eps: float = 1e-5) -> Module:
    check_positions(shape, "instance normalization needs several positions per channel")
    return nn.InstanceNorm2d(shape[0], eps, affine=True)


def _lrn(
    shape: tuple[int, ...], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Module:
    check_positions(shape, "local response normalization is for channels with positions")
    return nn.LocalResponseNorm(size, alpha, beta, k)


def _dyt(shape: tuple[int, ...], *, alpha: float = 0.5) -> Module:
    return nn.DynamicTanh(shape, alpha)


def _grn(shape: tuple[int, ...], *, eps: float = 1e-6) -> Module:
    check_positions(shape, "global response normalization needs several positions per channel")
    return nn.GlobalResponseNorm(shape[0], eps)


def _frn(shape: tuple[int, ...], *, eps: float = 1e-5) -> Module:
    check_positions(shape, "filter response normalization needs several positions per channel")
    return nn.FilterResponseNorm2d(shape[0], eps)


def _subtractive(shape: tuple[int, ...], *, kernel_size: int = 5, sigma: float | None = None) -> Module:
    check_positions(shape, "subtractive normalization is for windows of positions")
    return nn.SubtractiveNorm2d(shape[0], kernel_size, sigma)


def _divisive(
    shape: tuple[int, ...],
    *,
    kernel_size: int = 5,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Module:
    check_positions(shape, "divisive normalization is for windows of positions")
    return nn.DivisiveNorm2d(shape[0], kernel_size, sigma, eps, mean_floor)


def _contrast(
    shape: tuple[int, ...],
    *,
    kernel_size: int = 5,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Module:
    check_positions(shape, "local contrast normalization is for windows of positions")
    return nn.LocalContrastNorm2d(shape[0], kernel_size, sigma, eps, mean_floor)


NORMS: dict[str, Choice] = {
    "batch": Choice("batch_norm", _batch),
    "sync-batch": Choice("sync_batch_norm", _sync_batch),
    "renorm": Choice("batch_renorm", _renorm),
    "ghost": Choice("ghost_batch_norm", _ghost),
    "batchgroup": Choice("batch_group_norm", _batchgroup),
    "batchchannel": Choice("batch_channel_norm", _batchchannel),
    "weighed": Choice("weighed_batch_norm", _weighed),
    "lpbatch": Choice("lp_batch_norm", _lpbatch),
    "noisy": Choice("noisy_batch_norm", _noisy),
    "power": Choice("power_norm", _power),
    "layer": Choice("layer_norm", _layer),
    "rms": Choice("rms_norm", _rms),
    "group": Choice("group_norm", _group),
    "instance": Choice("instance_norm", _instance),
    "scale": Choice("scale_norm", _scale),
    "grn": Choice("global_response_norm", _grn),
    "frn": Choice("filter_response_norm", _frn),
    "subtractive": Choice("subtractive_norm", _subtractive),
    "divisive": Choice("divisive_norm", _divisive),
    "contrast": Choice("local_contrast_norm", _contrast),
    "lrn": Choice("local_response_norm", _lrn),
    "lp": Choice("lp_norm", _lp),
    "dyt": Choice("dynamic_tanh", _dyt),
    "none": Choice("", lambda shape: nn.Identity()),
}
"""The normalizations that `tinygrad-norm train` takes, by name."""


def check_positions(shape: tuple[int, ...], needs: str) -> None:
    """Raise ValueError with what a normalization `needs`, unless the features are images (C, H, W)."""
    if len(shape) == 1:
        raise ValueError(
            f"{needs}, but the features of this model have none (steps of sequences, and pixels of the "
            "convnext, are normalized one by one); --model cnn and resnet have them"
        )


def find_norm(text: str) -> Norm:
    """Return the normalization that `text` names: "group", or with options "group:groups=4,eps=0.001".

    Raises:
        ValueError: if the name or an option is unknown, or the value of an option is of another type. The
            result raises ValueError if the normalization does not fit a shape; it says which do.
    """
    name, _, given = text.partition(":")
    if name not in NORMS:
        raise ValueError(unknown("norm", name, NORMS))
    build, known = NORMS[name].build, NORMS[name].options
    options: dict[str, Any] = {}
    for option in filter(None, given.split(",")):
        key, _, value = option.partition("=")
        if key not in known:
            raise ValueError(_unknown_option(name, key))
        options[key] = _parse(f"{name}:{key}", value, known[key].annotation)

    def make(shape: tuple[int, ...]) -> Module:
        try:
            return build(shape, **options)
        except ValueError as error:
            if fits(name, shape):  # the options do not
                raise
            fitting = ", ".join(other for other in NORMS if fits(other, shape))
            raise ValueError(f"{error}. Norms that fit: {fitting}") from None

    return make


def norm_name(text: str) -> str:
    """Return the name in `text`, without options."""
    return text.partition(":")[0]


def folder_name(text: str) -> str:
    """Return `text` as a part of a folder's name."""
    return text.replace(":", "-").replace(",", "-")


def _unknown_option(name: str, key: str) -> str:
    known = NORMS[name].options
    if not known:
        return f"norm {name!r} has no options, got {key!r}"
    return unknown(f"option of norm {name!r}:", key, known)


def fits(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether the normalization `name` of NORMS is for features of this shape."""
    try:
        NORMS[name].build(shape)
    except ValueError:
        return False
    return True


def _parse(what: str, text: str, annotation: Any) -> Any:
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    for kind in kinds:
        try:
            return {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (KeyError, ValueError):
            continue
    expected = " or ".join("true or false" if kind is bool else kind.__name__ for kind in kinds)
    raise ValueError(f"the option {what} takes {expected}, got {text!r}")


class Stepwise(Module):
    """Apply a `module` for (N, D) to (N, ..., D), every step of a sequence, or pixel, by itself."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flatten(0, -2)).reshape(x.shape)


_STEP_BY_STEP = (nn.LayerNorm, nn.RMSNorm, nn.LpNorm, nn.ScaleNorm, nn.PowerNorm, nn.DynamicTanh, nn.Identity)


def sequence_norm(norm: Norm, features: int) -> Module:
    """Return `norm` for sequences (N, T, features), or pixels (N, H, W, features), each as a sample.

    Only those of the batch family mix them, and only in training: their statistics are over all N·T steps.

    Raises:
        ValueError: if `norm` needs several positions per channel, as instance normalization does.
    """
    module = norm((features,))
    return module if isinstance(module, _STEP_BY_STEP) else Stepwise(module)
