"""The choices of `--scale-init`: what the residual branches of a model are multiplied by, and their start."""

from collections.abc import Callable, Sequence

from .. import nn
from ..module import Module
from ..suggestions import unknown

SCALES = ("none", "layerscale", "rezero", "skipinit")
"""The scales of transformers, resnets and convnexts: `layerscale` starts at 1e-5, `rezero` at 0, `skipinit`
at 1/√blocks."""

OF_RESNETS = (*SCALES, "fixup")


def scale_maker(name: str, blocks: int, *, images: bool = False) -> Callable[[int], Module] | None:
    """Return what makes a scale of D features or, for `images`, channels; None if there is none.

    `blocks` is the number of residual branches in the model.
    """
    makers: dict[str, Callable[[int], Module]] = {
        "layerscale": nn.LayerScale2d if images else nn.LayerScale,
        "rezero": lambda features: nn.ReZero(),
        "skipinit": lambda features: nn.SkipInit(blocks),
    }
    return makers.get(name)


def check_scale_init(name: str | None, model: str, norm: str, placement: str | None) -> None:
    """Raise ValueError if there is no such scale for this model with this norm."""
    choices = OF_RESNETS if model == "resnet" else SCALES
    if name == "fixup" and name not in choices:
        raise ValueError(f"fixup is for branches of convolutions: use the model 'resnet', not {model!r}")
    if name is not None and name not in choices:
        raise ValueError(unknown("scale_init", name, choices))
    if name == "fixup" and norm != "none":
        raise ValueError(f"fixup is for networks without norms: use norm 'none', got {norm!r}")
    if name not in (None, "none") and placement in ("peri", "output"):
        raise ValueError(
            f"with placement {placement!r} a norm follows the scale of a branch and undoes it: leave out "
            f"{name!r}"
        )


def fixup_blocks_(blocks: Sequence[nn.ResidualBlock], classifier: nn.Linear) -> None:
    """Turn residual blocks without norms into Fixup's: its scalars, and its initial values."""
    for block in blocks:
        block.norm1, block.norm2 = nn.ScalarBias(), nn.ScalarBias()
        block.conv1 = nn.Sequential(nn.ScalarBias(), block.conv1)
        block.conv2 = nn.Sequential(nn.ScalarBias(), block.conv2)
        block.scale = nn.Sequential(nn.ScalarMultiplier(), nn.ScalarBias())
    nn.utils.fixup_([nn.ModuleList([block.conv1, block.conv2]) for block in blocks], classifier)
