"""Figures of an experiment, some of them changed, and the verdict on them."""

import copy

import numpy as np

from tinygrad_norm import experiments


def verdict(name, figures, changes, apart=0.0, tried=None, chosen=None):
    """Return the verdict of an experiment on three seeds with these figures by setting.

    `changes` maps (setting, figure) or (setting, figure, seed) to another value. `apart` is by how much the
    figures of one seed differ from those of the next. Every setting `tried` these values of what is tuned,
    {value: score}, and one was `chosen`.
    """
    found = {setting: {seed: copy.deepcopy(figures[setting]) for seed in range(3)} for setting in figures}
    for by_seed in found.values() if apart else ():
        for seed, of_seed in by_seed.items():
            for figure, value in of_seed.items():
                more = apart * seed * (1 + np.arange(np.size(value)).reshape(np.shape(value)))
                of_seed[figure] = np.asarray(value) + more
    for (setting, figure, *seed), value in changes.items():
        for of_seed in [found[setting][seed[0]]] if seed else found[setting].values():
            of_seed[figure] = value
    tuned = (dict.fromkeys(found, tried), dict.fromkeys(found, chosen)) if tried else ()
    judged = experiments.find(name).verdict(experiments.Results(found, *tuned))
    assert judged.reason
    return judged
