"""Generate the README's tables of systems from the registry, so that they always match the code.

    python -m tinygrad_norm.learn.systems README.md

rewrites the tables between the two marker lines of the file: one per family of normalizations, one of the
layers that normalizations are used with, and one of systems that are not one op.
"""

import inspect
import operator
import pkgutil
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import tinygrad_norm as tn

from .. import normalization
from ..files import replacing
from ..proof.record import recorded
from ..registry import REGISTRY, Op
from .ladder import RUNGS, rungs_of

BEGIN = "<!-- systems: made by python -m tinygrad_norm.learn.systems README.md -->"
END = "<!-- end of systems -->"


OTHERS = {
    "Scaling of data": (
        "data.MinMaxScaler data.StandardScaler data.ImageScaler data.GlobalContrastScaler "
        "data.LocalContrastScaler"
    ),
    "Population statistics": "nn.utils.update_bn",
    "BatchNorm on the data of another domain": (
        "nn.FrozenBatchNorm2d nn.DomainBatchNorm2d nn.utils.ada_bn_ nn.utils.tent_ nn.utils.tent_step"
    ),
    "PopArt": "nn.PopArt",
    "LayerNorm of the channels of images": "nn.LayerNorm2d",
    "Moment shortcut": "nn.MomentShortcut",
    "Matrix square-root pooling": "nn.MatrixSqrtPool",
    "BatchNorm of the inputs of an RNN": "nn.BatchNormRNN",
    "Weight decay of weight and bias of normalizations": "optim.split_decay",
    "Folding of BatchNorm": "nn.utils.fuse_conv_bn_eval nn.utils.fuse_linear_bn_eval",
    "Folding of LayerNorm": "nn.utils.fold_norm nn.utils.center_writers",
    "adaLN-Zero": "nn.AdaLayerNormZero nn.DiTBlock",
    "FiLM": "nn.FiLM",
    "MixStyle": "nn.MixStyle",
    "SPADE": "nn.SPADE",
    "Modulated convolution": "nn.ModulatedConv2d",
    "Hyper-connections of streams, mHC": "nn.HyperConnection",
    "EDM2's layers": "nn.MPConv2d nn.functional.mp_silu nn.functional.mp_sum",
    "ConvNeXt V2": "nn.ConvNeXtV2Block",
    "DeepNorm": "nn.DeepNorm",
    "nGPT, whole": "nn.NGPT",
    "Normalizer-Free ResNet": "nn.NFBlock",
    "LayerScale": "nn.LayerScale nn.LayerScale2d",
    "ReZero": "nn.ReZero",
    "SkipInit": "nn.SkipInit",
    "Fixup": "nn.utils.fixup_ nn.ScalarMultiplier nn.ScalarBias",
    "WeightNorm's initialization by data": "nn.utils.data_dependent_init_",
    "Spectral projection": "nn.utils.SpectralProjection",
    "σReparam": "nn.utils.parametrizations.sigma_reparam",
    "Centered weight normalization": "nn.utils.parametrizations.centered_weight_norm",
    "Gradient clipping by norm": "nn.utils.clip_grad_norm_",
    "Gradient clipping by value": "nn.utils.clip_grad_value_",
    "Unit norm of gradients": "nn.utils.normalize_grad_",
    "Adaptive gradient clipping": "nn.utils.adaptive_clip_grad_",
    "Gradient centralization": "nn.utils.centralize_grad_",
    "Muon": "optim.Muon optim.MuonWithAuxAdam optim.split_muon",
    "LARS": "optim.LARS",
    "LAMB": "optim.LAMB",
    "GradNorm": "optim.GradNorm",
    "z-loss": "nn.functional.z_loss",
    "Group advantages (GRPO, Dr. GRPO)": "nn.functional.group_advantages",
    "QK-Clip": "optim.QKClip",
    "Soft cap of logits": "nn.functional.softcap",
}
"""Systems that are not one op, each with its public names."""


def systems_tables() -> str:
    """Return the normalizations, by family, the blocks and the other systems as Markdown tables."""
    titles = {**families(), "block": "Layers that normalizations are used with"}
    tables = []
    for family, title in titles.items():
        ops = sorted((op for op in REGISTRY.values() if op.family == family), key=_name)
        if ops:
            tables.append(f"**{title}**\n\n{_table(ops)}")
    tables.append(f"**Around them: data, statistics, networks, gradients**\n\n{_table_of_others()}")
    return "\n\n".join(tables)


def _table_of_others() -> str:
    lines = [_row(("system", "in the package", "paper")), _row(("---",) * 3)]
    for system, names in OTHERS.items():
        docstring = inspect.getdoc(operator.attrgetter(names.split()[0])(tn)) or ""
        paper = re.search(r"Source: (.*arXiv:\S+\d)", docstring)
        cell = ", ".join(f"`{name}`" for name in names.split())
        lines.append(_row((system, cell, paper[1] if paper else "–")))
    return "\n".join(lines)


def families() -> dict[str, str]:
    """Return the families of normalizations, each with the first sentence of its package's docstring."""
    packages = [module.name for module in pkgutil.iter_modules(normalization.__path__) if module.ispkg]
    docs = {name: import_module(f"{normalization.__name__}.{name}").__doc__ or name for name in packages}
    return {name: doc.splitlines()[0].removesuffix(".") for name, doc in docs.items()}


def _table(ops: list[Op]) -> str:
    has_pool = any(op.pool for op in ops)
    pool = ("shares one statistic",) if has_pool else ()
    header = ("system", *pool, *RUNGS, "gradient", "paper")
    lines = [_row(header), _row("---" for _ in header)]
    for op in ops:
        ways = ("✓" if rung in rungs_of(op.name) else "–" for rung in RUNGS)
        pool = (op.pool or "–",) if has_pool else ()
        lines.append(_row((_name(op), *pool, *ways, str(recorded()[op.name]), op.paper or "–")))
    return "\n".join(lines)


def _name(op: Op) -> str:
    return op.title or f"`{op.name}`"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replace_tables(text: str) -> str:
    """Return `text` with new tables between the markers.

    Raises:
        ValueError: if a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text needs the marker lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{systems_tables()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = replace_tables(path.read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
