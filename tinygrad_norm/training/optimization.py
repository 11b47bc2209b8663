"""The optimizer, the clipping of gradients and the learning rate schedule of a run."""

from collections.abc import Callable

from .. import nn, optim
from ..module import Module
from ..nn import NGPT
from ..optim import lr_scheduler
from . import optimizer_choices
from .config import Config

Decay = Callable[[optim.Optimizer, int], lr_scheduler.LRScheduler]
"""Builds a schedule that starts at the full learning rate and lasts for a number of steps."""

SCHEDULES: dict[str, Decay] = {
    "cosine": lr_scheduler.CosineAnnealingLR,
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, -(-steps // 3)),
    "constant": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 1.0, steps),
}
"""The builders of `config.SCHEDULES`: "step" divides the rate by 10 after each third of the steps."""


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """Return the optimizer of `config` for the parameters of `model`.

    After each step, the weights of an nGPT are normalized.
    """
    optimizer = optimizer_choices.make(config.optimizer, model, config.lr, config.weight_decay)
    if isinstance(model, NGPT):
        optimizer.register_step_post_hook(lambda *_: model.normalize_weights_())
    return optimizer


def make_clipping(config: Config, model: Module) -> Callable[[], object]:
    """Return what clips the gradients of `model`, in place, as `config` says.

    Adaptive clipping leaves out the last linear layer, as in Brock et al. 2021, arXiv:2102.06171: its
    gradients may be large beside its weights, which start small, without harm to other layers.
    """
    limit, utils = config.clip_grad, nn.utils
    parameters = list(model.parameters())
    if not limit:
        return lambda: None
    if config.clip_mode == "norm":
        return lambda: utils.clip_grad_norm_(parameters, limit)
    if config.clip_mode == "value":
        return lambda: utils.clip_grad_value_(parameters, limit)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    left_out = {id(parameter) for layer in linear[-1:] for parameter in layer.parameters()}
    clipped = [parameter for parameter in parameters if id(parameter) not in left_out]
    return lambda: utils.adaptive_clip_grad_(clipped, limit)


def make_schedule(config: Config, optimizer: optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """Return the schedule of `config` over `steps`: a linear warm-up, if there is one, and then the decay.

    Insight: the first steps of Adam are about lr in every weight, whatever the gradient, and of one sign in
    the weights of an output. So an output of n inputs may move by n·lr: the wider a layer, the more it needs
    small first steps. Post-LN needs them too, as its gradients are largest near the output (Xiong et al.
    2020, arXiv:2002.04745).
    """
    rising = int(config.warmup * steps)
    falling = SCHEDULES[config.schedule](optimizer, steps - rising)
    if not rising:
        return falling
    warm_up = lr_scheduler.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return lr_scheduler.SequentialLR(optimizer, [warm_up, falling], [rising])
