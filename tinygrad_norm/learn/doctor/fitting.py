"""Find the derivation of a forward: the one whose formula gives y."""

from collections.abc import Callable, Iterator

import numpy

from .activationnormmistakes import fit_activation_norm
from .attentionmistakes import fit_attention
from .batchrenormmistakes import fit_batch_renorm
from .catalogue import Derivation
from .crmsmistakes import fit_crms_norm
from .crossentropymistakes import fit_cross_entropy
from .demodulationmistakes import fit_weight_demodulation
from .divisivemistakes import fit_gdn
from .gatedmistakes import fit_gated_rms_norm
from .graphmistakes import fit_graph_norm
from .linearmistakes import fit_linear
from .lstmmistakes import fit_lstm_cell
from .poolfit import fit_pool
from .reversiblemistakes import fit_reversible_denorm
from .roles import roles_of
from .seedmistakes import fit_seed_norm
from .softmaxmistakes import fit_softmax
from .sourcetargetmistakes import fit_source_target
from .spectralmistakes import fit_spectral_norm
from .tablemistakes import fit_conditional, fit_embedding
from .weightnormmistakes import fit_weight_norm
from .whiteningmistakes import fit_whitening

Fit = Callable[[dict[str, numpy.ndarray], numpy.ndarray, dict[str, str]], Iterator[Derivation]]

OPS = (
    "softmax",
    "log_softmax",
    "weight_norm",
    "spectral_norm",
    "attention",
    "linear",
    "cross_entropy",
    "lstm_cell",
    "batch_norm",
    "layer_norm",
    "rms_norm",
    "group_norm",
    "instance_norm",
    "batch_renorm",
    "weight_demodulation",
    "graph_norm",
    "gdn",
    "decorrelated_batch_norm",
    "iter_norm",
    "source_target_batch_norm",
    "crms_norm",
    "activation_norm",
    "gated_rms_norm",
    "reversible_instance_denorm",
    "seed_norm",
    "embedding",
    "conditional_batch_norm",
    "conditional_instance_norm",
)
"""The registered ops that have a catalogue of mistakes."""

FAMILIES: tuple[Fit, ...] = (
    fit_softmax,
    fit_weight_norm,
    fit_attention,
    fit_spectral_norm,
    fit_linear,
    fit_cross_entropy,
    fit_lstm_cell,
    fit_pool,
    fit_batch_renorm,
    fit_weight_demodulation,
    fit_graph_norm,
    fit_gdn,
    fit_whitening,
    fit_source_target,
    fit_crms_norm,
    fit_activation_norm,
    fit_gated_rms_norm,
    fit_reversible_denorm,
    fit_seed_norm,
    fit_embedding,
    fit_conditional,
)


def fits(arguments: dict[str, numpy.ndarray], y: numpy.ndarray) -> list[Derivation]:
    """Return the derivations that give `y` for these arguments; the simplest first."""
    roles = roles_of(arguments)
    with numpy.errstate(all="ignore"):
        return [derivation for fit in FAMILIES for derivation in fit(arguments, y, roles)]
