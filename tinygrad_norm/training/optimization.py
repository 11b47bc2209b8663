"""The optimizer and the learning rate schedule of a run."""

from .. import optim
from ..module import Module
from ..optim import lr_scheduler
from .config import Config

WARM_UP = 0.05
"""The fraction of the steps over which the learning rate of a transformer rises."""


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """Return the optimizer of `config` for the parameters of `model`."""
    groups = (
        optim.split_decay(model, weight_decay=0.01) if config.optimizer == "adamw" else model.parameters()
    )
    if config.optimizer == "sgd":
        return optim.SGD(groups, config.lr, momentum=0.9)
    return (optim.Adam if config.optimizer == "adam" else optim.AdamW)(groups, config.lr)


def make_schedule(config: Config, optimizer: optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """Return a cosine decay from the full learning rate to 0 over `steps`, in transformers after a warm-up.

    Post-LN needs the warm-up: at the start its gradients are largest near the output (Xiong et al. 2020,
    arXiv:2002.04745).
    """
    rising = 0 if config.norm_first is None else int(WARM_UP * steps)
    falling = lr_scheduler.CosineAnnealingLR(optimizer, steps - rising)
    if not rising:
        return falling
    warm_up = lr_scheduler.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return lr_scheduler.SequentialLR(optimizer, [warm_up, falling], [rising])
