"""Every normalization that this project promises, by name: is it registered, derived, tested, shown?

A row is complete if its ops have a derivation with its five parts, cases, error cases and a CUDA kernel (its
own, or the one of another that is named), and if an example uses it; a normalization also has sizes for
benchmarks. What is not an op is a public function or class with an example.
"""

import ast
import itertools
import operator
import pathlib
import re
import sys
from typing import NamedTuple

import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import KERNELS
from tinygrad_norm.learn.ladder import kernels_of
from tinygrad_norm.registry import REGISTRY

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples", ROOT / "tinygrad_norm" / "experiments"  # whose parts examples import
PARTS = [r"\by(_t)? = ", "arXiv:", "Backward", r"\bd[xq] = ", "Insight: "]


class Row(NamedTuple):
    """One system: its registered ops or its public names, and what an example of it must use.

    `kernels` are names without "_forward" and "_backward"; each op calls one of them. Each entry of `uses` is
    a name, or several with "|" between them, of which one is enough.
    """

    name: str
    uses: tuple[str, ...]
    ops: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    public: tuple[str, ...] = ()


def op(name, ops, kernels, *uses):
    return Row(name, uses, tuple(ops.split()), tuple(kernels.split()))


def public(name, *names, uses=()):
    return Row(name, uses or tuple(full.rpartition(".")[2] for full in names), public=names)


ROWS = [
    # data scaling and vector norms
    public("min-max to [0,1], [−1,1], [a,b]", "data.MinMaxScaler"),
    public("standardization", "data.StandardScaler"),
    public("image scaling", "data.ImageScaler"),
    public("contrast normalization (input)", "data.GlobalContrastScaler", "data.LocalContrastScaler"),
    op("L1, L2, Lp vector normalization", "normalize", "normalize", "normalize"),
    op("power (Lp) norm layer", "lp_norm", "lp_norm", "LpNorm"),
    # the batch family
    op("BatchNorm1d/2d/3d", "batch_norm", "batch_norm", "BatchNorm1d|BatchNorm2d|BatchNorm3d"),
    public("population statistics", "nn.utils.update_bn"),
    op("Batch Renormalization", "batch_renorm", "batch_norm", "BatchRenorm1d|BatchRenorm2d|BatchRenorm3d"),
    op(
        "frame-wise and sequence-wise BatchNorm for RNNs", "sequence_batch_norm", "batch_norm", "BatchNormRNN"
    ),
    op("masked BatchNorm", "sequence_batch_norm", "batch_norm", "SequenceBatchNorm"),
    op("BN-LSTM, recurrent batch normalization", "batch_norm_lstm", "batch_norm", "BatchNormLSTM"),
    op("Ghost BatchNorm", "ghost_batch_norm", "batch_norm", "GhostBatchNorm1d|GhostBatchNorm2d"),
    op(
        "BatchNorm + GroupNorm",
        "batch_group_norm batch_channel_norm",
        "group_norm",
        "BatchGroupNorm2d",
        "BatchChannelNorm2d",
    ),
    op(
        "inference example weighing",
        "weighed_batch_norm",
        "batch_norm",
        "WeighedBatchNorm1d|WeighedBatchNorm2d",
    ),
    op("L1 / L2 / L∞ BatchNorm", "lp_batch_norm", "lp_batch_norm", "LpBatchNorm1d|LpBatchNorm2d"),
    op("noisy BatchNorm", "noisy_batch_norm", "batch_norm", "NoisyBatchNorm1d|NoisyBatchNorm2d"),
    op("PowerNorm", "power_norm", "power_norm", "PowerNorm"),
    public("weight decay on γ and β", "optim.split_decay", uses=("split_decay", "norm_decay")),
    public(
        "BatchNorm folding",
        "nn.utils.fuse_conv_bn_eval",
        "nn.utils.fuse_linear_bn_eval",
        uses=("fuse_conv_bn_eval|fuse_linear_bn_eval",),
    ),
    # the per-sample family
    op("LayerNorm", "layer_norm", "layer_norm", "LayerNorm"),
    op("LayerNorm per time step in RNNs", "layer_norm_lstm", "layer_norm", "LayerNormLSTM"),
    op("RMSNorm", "rms_norm", "rms_norm", "RMSNorm"),
    op("GroupNorm", "group_norm", "group_norm", "GroupNorm"),
    op("InstanceNorm1d/2d/3d", "instance_norm", "instance_norm", "InstanceNorm1d|InstanceNorm2d"),
    op("AdaIN", "adaptive_instance_norm", "batch_norm", "AdaIN|adaptive_instance_norm"),
    op("adaLN, adaLN-Zero", "adaptive_layer_norm", "layer_norm", "AdaLayerNorm", "AdaLayerNormZero|DiTBlock"),
    op("AdaGroupNorm", "adaptive_group_norm", "group_norm", "AdaGroupNorm"),
    op("LocalResponseNorm", "local_response_norm", "local_response_norm", "LocalResponseNorm"),
    op(
        "local contrast / divisive normalization",
        "local_contrast_norm subtractive_norm divisive_norm",
        "subtractive_norm divisive_norm",
        "LocalContrastNorm2d",
        "DivisiveNorm2d",
    ),
    op(
        "Global Response Normalization",
        "global_response_norm",
        "normalize",
        "GlobalResponseNorm|ConvNeXtV2Block",
    ),
    op("Dynamic Tanh", "dynamic_tanh", "dynamic_tanh", "DynamicTanh"),
    op("Filter Response Normalization", "filter_response_norm", "rms_norm", "FilterResponseNorm2d"),
    # on weights
    op("WeightNorm", "weight_norm", "weight_norm", "weight_norm"),
    op("SpectralNorm", "spectral_norm", "spectral_norm", "spectral_norm"),
    op(
        "cosine normalization",
        "cosine_linear cosine_conv2d",
        "weight_norm",
        "CosineLinear",
        "CosineConv2d",
    ),
    op(
        "weight standardization, scaled",
        "weight_standardization scaled_weight_standardization",
        "instance_norm",
        "WSConv2d",
        "ScaledWSConv2d",
    ),
    # in transformers and whole networks
    op("post-LN, pre-LN", "transformer_encoder_layer", "layer_norm", "norm_first"),
    public("sandwich, DeepNorm", "nn.TransformerEncoderLayer", uses=("placement=peri", "placement=deep")),
    op("ScaleNorm", "scale_norm", "scale_norm", "ScaleNorm|norm=scale"),
    op("FixNorm", "scale_norm", "scale_norm", "FixNorm"),
    op("QKNorm", "qk_norm_attention", "normalize", "QKNormAttention|qk_norm=l2"),
    public("nGPT", "nn.NGPTBlock", uses=("NGPTBlock|model=ngpt",)),
    public("Normalizer-Free ResNet", "nn.NFBlock", "nn.utils.adaptive_clip_grad_"),
    # on gradients
    public("gradient clipping by norm", "nn.utils.clip_grad_norm_"),
    public("gradient clipping by value", "nn.utils.clip_grad_value_"),
    public("gradient unit normalization", "nn.utils.normalize_grad_"),
    public("adaptive gradient clipping", "nn.utils.adaptive_clip_grad_"),
    public("gradient centralization", "nn.utils.centralize_grad_"),
    public("GradNorm", "optim.GradNorm"),
    # of today's models: RMS norms
    public(
        "zero-centered, weightless and input-scaled RMSNorm",
        "nn.RMSNorm",
        uses=("zero_centered", "input_scaled", "elementwise_affine"),
    ),
    op("gated RMSNorm", "gated_rms_norm", "gated_rms_norm", "GatedRMSNorm"),
    op("grouped RMSNorm", "group_rms_norm", "group_rms_norm", "GroupRMSNorm"),
    # of today's models: attention
    op("soft cap", "scaled_dot_product_attention", "write_attention", "softcap"),
    op(
        "QK-norm over all heads, QK-norm without weight, V-norm",
        "qk_norm_attention",
        "rms_norm",
        "qk_norm=rms",
        "qk_norm=rms-all",
        "qk_norm=rms-weightless",
    ),
    public("QK-Clip", "optim.QKClip"),
    # of today's models: where a norm stands in a block
    op(
        "Peri-LN, output norm, Sub-LN, HybridNorm, Mix-LN, LayerNorm Scaling",
        "transformer_encoder_layer",
        "layer_norm",
        "placement=peri",
        "PLACEMENTS",
    ),
    # of today's models: scales in the place of norms
    public("LayerScale", "nn.LayerScale", "nn.LayerScale2d", uses=("LayerScale",)),
    public("ReZero", "nn.ReZero"),
    public("SkipInit", "nn.SkipInit"),
    public("Fixup", "nn.utils.fixup_", "nn.ScalarMultiplier", "nn.ScalarBias"),
    # of today's models: identities and folding
    op("CRMSNorm", "crms_norm", "rms_norm", "crms_norm|CRMSNorm"),
    public("affines folded, writers centered", "nn.utils.fold_norm", "nn.utils.center_writers"),
    # of today's models: affines from a condition
    public("MixStyle", "nn.MixStyle"),
    op("ConditionalBatchNorm", "conditional_batch_norm", "batch_norm", "ConditionalBatchNorm2d"),
    op("ConditionalInstanceNorm", "conditional_instance_norm", "batch_norm", "ConditionalInstanceNorm2d"),
    public("FiLM", "nn.FiLM"),
    public("SPADE", "nn.SPADE"),
    # of today's models: weights, demodulated or otherwise normalized
    op("EDM2 weights", "magnitude_preserving_weight", "weight_norm", "magnitude_preserving_weight|MPConv2d"),
    public("EDM2's layers", "nn.MPConv2d", "nn.functional.mp_silu", "nn.functional.mp_sum"),
    op("orthogonal weight normalization", "orthogonal_weight_norm", "symmetric", "OrthogonalWeightNorm"),
    op(
        "weight demodulation",
        "weight_demodulation",
        "weight_demodulation",
        "modulated_conv2d|ModulatedConv2d",
    ),
    public("ModulatedConv2d", "nn.ModulatedConv2d", uses=("modulated_conv2d|ModulatedConv2d",)),
    public("σReparam", "nn.utils.parametrizations.sigma_reparam"),
    public("Centered Weight Normalization", "nn.utils.parametrizations.centered_weight_norm"),
    # of today's models: channels at one position
    public("LayerNorm2d", "nn.LayerNorm2d"),
    op("PixelNorm", "pixel_norm", "rms_norm", "PixelNorm"),
    op(
        "positional normalization, moment shortcut",
        "positional_norm",
        "positional_norm",
        "PositionalNorm",
        "MomentShortcut",
    ),
    # of today's models: series
    op("RevIN", "reversible_instance_norm reversible_instance_denorm", "batch_norm batch_norm_eval", "RevIN"),
    # of today's models: flows
    op("ActNorm", "activation_norm", "batch_norm_eval", "ActNorm"),
    # of today's models: whitening
    op(
        "Decorrelated BatchNorm",
        "decorrelated_batch_norm",
        "symmetric",
        "DecorrelatedBatchNorm1d|DecorrelatedBatchNorm2d",
    ),
    op("matrix square-root pooling (MPN-COV)", "matrix_sqrt_pool", "symmetric", "MatrixSqrtPool"),
    op("IterNorm", "iter_norm", "batch_norm_eval", "IterNorm"),
    # of today's models: parts of batch normalization
    op("mean-only BatchNorm", "mean_only_batch_norm", "batch_norm_eval", "MeanOnlyBatchNorm"),
    op("range BatchNorm", "range_batch_norm", "batch_norm_eval", "RangeBatchNorm1d|RangeBatchNorm2d"),
    # of today's models: statistics of the test domain
    op(
        "source-target mix, prediction-time BatchNorm",
        "source_target_batch_norm",
        "batch_norm",
        "SourceTargetBatchNorm",
    ),
    op("TENT", "softmax_entropy", "softmax log_softmax", "tent_", "tent_step"),
    public("AdaBN", "nn.utils.ada_bn_"),
    public("FrozenBatchNorm", "nn.FrozenBatchNorm2d"),
    public("domain-specific and auxiliary BatchNorm", "nn.DomainBatchNorm2d"),
    # of today's models: updates
    public("Muon", "optim.Muon", "optim.MuonWithAuxAdam", "optim.split_muon", uses=("Muon",)),
    public("LARS", "optim.LARS"),
    public("LAMB", "optim.LAMB"),
    # of today's models: a backward from the output
    op("InPlaceABN", "inplace_abn", "batch_norm", "InPlaceABN"),
    op("memory-efficient LayerNorm", "memory_efficient_layer_norm", "layer_norm", "memory_efficient"),
    op("memory-efficient RMSNorm", "memory_efficient_rms_norm", "rms_norm", "memory_efficient"),
    # of today's models: divisive
    op("GDN, IGDN, GDN1", "gdn", "gdn", "GDN", "IGDN"),
    # of today's models: graphs
    op("GraphNorm, PairNorm", "graph_norm pair_norm", "segment", "GraphNorm", "PairNorm"),
    # of today's models: doubly stochastic matrices
    op("Sinkhorn", "sinkhorn", "sinkhorn", "sinkhorn"),
    public("hyper-connections, mHC", "nn.HyperConnection"),
    # of today's models: mixtures of norms
    op("MABN", "moving_average_batch_norm", "batch_norm_eval", "MABN2d"),
    op("OnlineNorm", "online_norm", "batch_norm_eval", "OnlineNorm2d"),
    op("SeeDNorm", "seed_norm", "rms_norm", "SeeDNorm"),
    op("pRMSNorm", "partial_rms_norm", "rms_norm", "pRMSNorm"),
    op("AdaNorm", "standard_score", "layer_norm", "AdaNorm"),
    op("Switchable Norm", "switchable_norm", "instance_norm", "SwitchableNorm2d"),
    op("Batch-Instance Norm", "batch_instance_norm", "batch_norm instance_norm", "BatchInstanceNorm2d"),
    # of today's models: functions in the place of norms
    op("EvoNorm-S0", "evo_norm_s0", "group_norm", "EvoNorm2dS0"),
    op("EvoNorm-B0", "evo_norm_b0", "batch_norm", "EvoNorm2dB0"),
    op("Derf", "dynamic_erf", "dynamic_erf", "Derf"),
    op("DyISRU", "dynamic_isru", "dynamic_isru", "DyISRU"),
    # of today's models: losses and targets
    public("PopArt", "nn.PopArt"),
    op("LogitNorm", "logit_norm", "normalize", "LogitNorm|logit_norm"),
    op("softmax with a sink", "softmax_with_sink", "softmax", "softmax_with_sink"),
    public("z-loss", "nn.functional.z_loss"),
    public("GRPO and Dr. GRPO advantages", "nn.functional.group_advantages"),
    # of today's models: audio
    op("PCEN", "pcen", "moving_average", "PCEN"),
]


def used_in_examples():
    """Every name in examples and experiments: of variables, attributes, imports and keyword arguments.

    An option that is a word counts as "option=word": train("mlp", norm="rms"), and {"norm": "rms"}.
    """
    paths = [path for folder in EXAMPLES for path in folder.rglob("*.py")]
    found, trees = set(), [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    for node in itertools.chain.from_iterable(map(ast.walk, trees)):
        found.update(getattr(node, field, None) for field in ("id", "attr", "name", "arg"))
        pairs = [(node.arg, node.value)] if isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Dict):
            pairs = [
                (key.value, value) for key, value in zip(node.keys, node.values, strict=True) if _is_word(key)
            ]
        found.update(f"{option}={value.value}" for option, value in pairs if _is_word(value))
    return found


def _is_word(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


USED = used_in_examples()


def lacks(row):
    """What is missing of a row, as a list of sentences."""
    missing = [f"no example uses {names}" for names in row.uses if not USED & set(names.split("|"))]
    for full in row.public:
        try:
            operator.attrgetter(full)(tn)
        except AttributeError:
            missing.append(f"there is no tinygrad_norm.{full}")
    for name in row.ops:
        if name not in REGISTRY:
            missing.append(f"there is no registered op {name}")
            continue
        registered = REGISTRY[name]
        missing += [f"{name} has no {what}" for what in ("cases", "errors") if not getattr(registered, what)]
        if registered.kind == "normalization" and not registered.bench:
            missing.append(f"{name} has no sizes for benchmarks")
        docstring = sys.modules[registered.function.__module__].__doc__ or ""
        missing += [f"the derivation of {name} has no {p!r}" for p in PARTS if not re.search(p, docstring)]
        called = {kernel for kernel in kernels_of(name) if "cuda" in KERNELS[kernel].versions}
        if not {kernel.rpartition("_")[0] for kernel in called} & set(row.kernels):
            missing.append(f"{name} calls no CUDA kernel of {row.kernels}, only {sorted(called)}")
    return missing


def test_what_a_row_lacks_is_named():
    assert lacks(op("exp", "exp", "exp", "Nowhere|Absent", "LayerNorm")) == [
        "no example uses Nowhere|Absent",
        *(f"the derivation of exp has no {part!r}" for part in PARTS),
        "exp calls no CUDA kernel of ('exp',), only []",
    ]
    assert lacks(op("new", "no_such_norm", "", "Linear")) == ["there is no registered op no_such_norm"]
    assert lacks(public("new", "nn.utils.nothing_", uses=("Linear",))) == [
        "there is no tinygrad_norm.nn.utils.nothing_"
    ]


def test_no_row_is_listed_twice():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_every_system_has_all_its_rungs_and_an_example(row):
    assert not lacks(row)
