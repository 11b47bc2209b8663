"""Every kernel and the instances of it that launches ask for."""

from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_norm.backends.cuda.launch import CudaSource
from tinygrad_norm.backends.cuda.signature import STORAGE, name_expression
from tinygrad_norm.backends.cuda.teams import (
    BACKWARD_SHAPES,
    FORWARD_SHAPES,
    PACK,
    SUM_SHAPES,
    VECTOR_SHAPES,
    Shapes,
)
from tinygrad_norm.nn import dropout, embedding
from tinygrad_norm.nn.activation import (
    exponentials,
    gated,
    piecewise,
    rectifiers,
    sigmoids,
    sinkhorn,
    softcap,
    softmax,
)
from tinygrad_norm.nn.attention import attention_weights
from tinygrad_norm.nn.loss import crossentropy
from tinygrad_norm.nn.pooling import maxpool
from tinygrad_norm.nn.recurrent import gru_steps, lstm_steps
from tinygrad_norm.normalization.batch import batchnorm, lpbatchnorm, powernorm, rootmeansquares
from tinygrad_norm.normalization.core import magnitudes, running_stats, segments, strips
from tinygrad_norm.normalization.sample import (
    addnorm,
    divisivenorm,
    gatedrmsnorm,
    gdn,
    groupnorm,
    instancenorm,
    layernorm,
    localresponsenorm,
    lpnorm,
    pcen,
    rmsnorm,
    subtractivenorm,
)
from tinygrad_norm.normalization.vector.normalize import _kernels as _normalize
from tinygrad_norm.normalization.weight import spectralnorm, weightdemodulation, weightnorm
from tinygrad_norm.normalization.whitening import symmetricmatrix
from tinygrad_norm.ops import elementwise, error_function
from tinygrad_norm.optim import adam, sgd

ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
SUMS = Shapes((*VECTOR_SHAPES.pairs, *SUM_SHAPES.pairs), most_packs=VECTOR_SHAPES.most_packs)
STRIPS = strips.STRIP_SHAPES[:-1]
COLUMNS = (strips._COLUMNS.team, strips._COLUMNS.kept)


@dataclass(frozen=True)
class Kernel:
    """One kernel: where it is, and the numbers of its template after VEC, which not all have."""

    name: str
    source: CudaSource
    shapes: Shapes | tuple[tuple[int, ...], ...] | Callable[[int], tuple[int, ...]]
    vectors: bool = True  # whether its template has VEC
    loads: bool = True  # whether it loads VEC values at once
    halves: bool = True  # whether it is launched for half types

    def numbers(self, storage):
        """Every list of template arguments after the storage type."""
        if not self.halves and ITEMSIZE[storage] == 2:
            return []
        if not self.vectors:
            return [()]
        packs = (PACK // ITEMSIZE[storage], 1)
        chosen = [(vector, *shape) for vector in packs for shape in self._shapes(vector, ITEMSIZE[storage])]
        return [*chosen, (1, *COLUMNS)] if self.shapes is STRIPS else chosen

    def _shapes(self, vector, itemsize):
        if callable(self.shapes):
            return [(team,) for team in self.shapes(itemsize)]
        if not isinstance(self.shapes, Shapes):
            return self.shapes
        return dict.fromkeys(self.shapes.in_packs(vector, itemsize))  # some shapes coincide

    def instances(self, storage):
        """The name expressions of all instances."""
        return [name_expression(self.name, storage, numbers) for numbers in self.numbers(storage)]


def _both(*names):
    return tuple(f"{name}_{direction}" for name in names for direction in ("forward", "backward"))


CURVES = {  # kernels over all elements
    error_function._kernels: (*_both("erf"), "erfc_forward"),
    elementwise._kernels: ("logistic", "sigmoid_backward", "tanh_backward", "sqrt_backward"),
    gated._kernels: _both("silu", "gelu", "gelu_tanh", "mish"),
    exponentials._kernels: _both("exponential_unit"),
    sigmoids._kernels: _both("softplus", "logsigmoid", "softsign"),
    piecewise._kernels: _both("hardtanh", "hardsigmoid", "hardswish"),
    softcap._kernels: _both("softcap"),
    rectifiers._kernels: ("relu_backward", *_both("leaky_relu", "threshold")),
}
KERNELS = [
    Kernel("layer_norm_forward", layernorm._kernels, VECTOR_SHAPES),
    Kernel("layer_norm_backward", layernorm._kernels, SUMS),
    Kernel("column_sums", layernorm._kernels, (), vectors=False),
    Kernel("rms_norm_forward", rmsnorm._kernels, VECTOR_SHAPES),
    Kernel("rms_norm_backward", rmsnorm._kernels, SUMS),
    Kernel("gated_rms_norm_forward", gatedrmsnorm._kernels, VECTOR_SHAPES),
    Kernel("gated_rms_norm_backward", gatedrmsnorm._kernels, SUMS),
    Kernel("normalize_forward", _normalize, FORWARD_SHAPES),
    Kernel("normalize_backward", _normalize, BACKWARD_SHAPES),
    Kernel("normalize_power_forward", _normalize, FORWARD_SHAPES),
    Kernel("normalize_power_backward", _normalize, BACKWARD_SHAPES),
    Kernel("weight_norm_forward", weightnorm._kernels, FORWARD_SHAPES),
    Kernel("weight_norm_backward", weightnorm._kernels, BACKWARD_SHAPES),
    Kernel("weight_demodulation_forward", weightdemodulation._kernels, FORWARD_SHAPES),
    Kernel("weight_demodulation_backward", weightdemodulation._kernels, BACKWARD_SHAPES),
    Kernel("lp_norm_forward", lpnorm._kernels, VECTOR_SHAPES),
    Kernel("lp_norm_backward", lpnorm._kernels, SUMS),
    Kernel("largest_of_rows", magnitudes._kernels, FORWARD_SHAPES, loads=False),
    Kernel("symmetric_eigen", symmetricmatrix._kernels, (), vectors=False, halves=False),
    Kernel("root_of_largest", spectralnorm._kernels, (), vectors=False, halves=False),
    Kernel("spectral_norm_forward", spectralnorm._kernels, ((),)),
    Kernel("products_of_rows", spectralnorm._kernels, BACKWARD_SHAPES, loads=False),
    Kernel("spectral_norm_backward", spectralnorm._kernels, FORWARD_SHAPES),
    Kernel("add_layer_norm_forward", addnorm._kernels, VECTOR_SHAPES),
    Kernel("add_layer_norm_backward", addnorm._kernels, SUMS),
    Kernel("add_rms_norm_forward", addnorm._kernels, VECTOR_SHAPES),
    Kernel("add_rms_norm_backward", addnorm._kernels, SUMS),
    Kernel("instance_norm_forward", instancenorm._kernels, FORWARD_SHAPES),
    Kernel("instance_norm_backward", instancenorm._kernels, BACKWARD_SHAPES),
    Kernel("group_norm_forward", groupnorm._kernels, FORWARD_SHAPES),
    Kernel("group_norm_backward", groupnorm._kernels, groupnorm._backward_teams),
    Kernel("gdn_forward", gdn._kernels, (), vectors=False),
    Kernel("gdn_shares", gdn._kernels, (), vectors=False),
    Kernel("gdn_backward", gdn._kernels, (), vectors=False),
    Kernel("local_response_norm_forward", localresponsenorm._kernels, (), vectors=False),
    Kernel("local_response_norm_backward", localresponsenorm._kernels, (), vectors=False),
    Kernel("strip_moments", batchnorm._kernels.source, STRIPS),
    Kernel("batch_norm_moments", batchnorm._kernels.source, (), vectors=False),
    Kernel("fixed_norm_forward", batchnorm._kernels.source, STRIPS),
    Kernel("strip_sums", batchnorm._kernels.source, STRIPS),
    Kernel("batch_norm_backward", batchnorm._kernels.source, STRIPS),
    Kernel("squares_of_columns", rootmeansquares._kernels, (), vectors=False),
    Kernel("power_norm_backward", powernorm._kernels, (), vectors=False),
    Kernel("strip_shifts", lpbatchnorm._kernels.source, STRIPS),
    Kernel("strip_deviations", lpbatchnorm._kernels.source, STRIPS),
    Kernel("channel_deviations", lpbatchnorm._kernels.source, (), vectors=False),
    Kernel("lp_batch_norm_forward", lpbatchnorm._kernels.source, STRIPS),
    Kernel("strip_slopes", lpbatchnorm._kernels.source, STRIPS),
    Kernel("lp_batch_norm_backward", lpbatchnorm._kernels.source, STRIPS),
    Kernel("segment_moments", segments._kernels, (), vectors=False),
    Kernel("segment_sums", segments._kernels, (), vectors=False),
    Kernel("segment_rows", segments._kernels, (), vectors=False),
    Kernel("moving_average_forward", pcen._kernels, (), vectors=False),
    Kernel("moving_average_backward", pcen._kernels, (), vectors=False),
    Kernel("move_statistics", running_stats._kernels, (), vectors=False),
    Kernel("softmax_forward", softmax._kernels, FORWARD_SHAPES),
    Kernel("softmax_backward", softmax._kernels, BACKWARD_SHAPES),
    Kernel("log_softmax_forward", softmax._kernels, FORWARD_SHAPES),
    Kernel("log_softmax_backward", softmax._kernels, BACKWARD_SHAPES),
    Kernel("sinkhorn_forward", sinkhorn._kernels, (), vectors=False, halves=False),
    Kernel("sinkhorn_backward", sinkhorn._kernels, (), vectors=False, halves=False),
    Kernel("cross_entropy_forward", crossentropy._kernels, FORWARD_SHAPES),
    Kernel("cross_entropy_backward", crossentropy._kernels, FORWARD_SHAPES),
    Kernel("count_digits", embedding._kernels, (), vectors=False),
    Kernel("sum_counts", embedding._kernels, (), vectors=False),
    Kernel("sort_by_digit", embedding._kernels, (), vectors=False),
    Kernel("embedding_forward", embedding._kernels, ((8,), (32,))),
    Kernel("embedding_backward", embedding._kernels, ((8,), (32,))),
    Kernel("embedding_backward_pieces", embedding._kernels, ((8,), (32,)), loads=False),
    Kernel("adam_step", adam._kernels, ((),)),
    Kernel("adam_rates", adam._kernels, (), vectors=False),
    Kernel("sgd_step", sgd._kernels, ((),)),
    Kernel("largest_magnitudes", attention_weights._kernels, ((),), loads=False, halves=False),
    Kernel("power_of_two_above", attention_weights._kernels, (), vectors=False, halves=False),
    Kernel("attention_weights", attention_weights._kernels, FORWARD_SHAPES, halves=False),
    Kernel("attention_gradient", attention_weights._kernels, BACKWARD_SHAPES, halves=False),
    Kernel("softcap_gradient", attention_weights._kernels, ((),), halves=False),
    Kernel("channel_sums", subtractivenorm._kernels, (), vectors=False),
    Kernel("window_sums", subtractivenorm._kernels, (), vectors=False, halves=False),
    Kernel("less_windows", subtractivenorm._kernels, (), vectors=False),
    Kernel("channel_norms", divisivenorm._kernels, (), vectors=False),
    Kernel("window_norms", divisivenorm._kernels, (), vectors=False, halves=False),
    Kernel("divide_by_deviations", divisivenorm._kernels, (), vectors=False),
    Kernel("divisor_gradients", divisivenorm._kernels, (), vectors=False),
    Kernel("divided_gradients", divisivenorm._kernels, (), vectors=False),
    Kernel("max_pool_forward", maxpool._kernels, (), vectors=False),
    Kernel("lstm_step", lstm_steps._kernels, (), vectors=False, halves=False),
    Kernel("lstm_step_backward", lstm_steps._kernels, (), vectors=False, halves=False),
    Kernel("gru_step", gru_steps._kernels, (), vectors=False, halves=False),
    Kernel("gru_step_backward", gru_steps._kernels, (), vectors=False, halves=False),
    Kernel("random_dropout", dropout._kernels, ((),)),
    *(Kernel(name, source, ((),)) for source, names in CURVES.items() for name in names),
]
SOURCES = list(dict.fromkeys(kernel.source for kernel in KERNELS))
STORAGES = list(STORAGE)
