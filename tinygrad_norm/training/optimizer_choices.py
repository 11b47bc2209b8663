"""The optimizers of `tinygrad-norm train`, and what each of them needs besides a learning rate."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .. import optim
from ..module import Module


class Choice(NamedTuple):
    """An optimizer: how it is made from (groups, lr), and its defaults.

    weight_decay   if the config does not say it
    lr             if the config says the optimizer and no learning rate; None is the model's
    """

    make: Callable[..., optim.Optimizer]
    weight_decay: float = 0.0
    lr: float | None = None


CHOICES: dict[str, Choice] = {
    "sgd": Choice(partial(optim.SGD, momentum=0.9)),
    "adam": Choice(optim.Adam),
    "adamw": Choice(optim.AdamW, 0.01),
    "muon": Choice(optim.MuonWithAuxAdam, 0.01),
    "lars": Choice(partial(optim.LARS, momentum=0.9, trust_coeff=1.0), 1e-4),
    "lamb": Choice(optim.LAMB, 0.01),
    "adamax": Choice(optim.Adamax),
    "nadam": Choice(optim.NAdam),
    "radam": Choice(optim.RAdam),
    "rmsprop": Choice(optim.RMSprop),
    "adagrad": Choice(optim.Adagrad, lr=0.03),
    "adadelta": Choice(optim.Adadelta, lr=1.0),
}
"""With a trust_coeff of 1, lr is the length of a step of LARS as a fraction of the weight's, as in LAMB."""

_BY_LENGTH = "lars", "lamb"


def default_decay(optimizer: str) -> float:
    """Return the weight decay of this optimizer if the config does not say it."""
    return CHOICES[optimizer].weight_decay if optimizer in CHOICES else 0.0


def make(name: str, model: Module, lr: float, weight_decay: float) -> optim.Optimizer:
    """Return the optimizer for the parameters of `model`.

    Weight decay leaves out biases and the weights of normalizations (`optim.split_decay`). So do the lengths
    of the steps of LARS and LAMB, which are the same fractions at any weight decay.
    """
    choice = CHOICES[name]
    groups: Any
    if name == "muon":
        groups = optim.split_muon(model, weight_decay)
    elif choice.weight_decay or weight_decay:
        groups = optim.split_decay(model, weight_decay)
        if name in _BY_LENGTH:
            groups[0]["always_adapt"] = True
    else:
        groups = model.parameters()
    return choice.make(groups, lr)
