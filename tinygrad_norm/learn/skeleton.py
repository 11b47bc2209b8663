"""A normalization to start from: a complete small one, under another name."""

import keyword
import re
from pathlib import Path

from ..registry import REGISTRY

TEMPLATE = Path(__file__).parent / "templates" / "centernorm.py"


def normalization_skeleton(name: str, in_package: bool = False) -> tuple[str, str]:
    """Return the name of the file that registers the normalization `name`, and its text.

    Args:
        name: of the function, as in my_norm; its layer is then MyNorm, its file mynorm.py.
        in_package: it imports relatively, from a folder of `tinygrad_norm/normalization`.

    Raises:
        ValueError: if `name` is not a lower-case Python name, or an op has it already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is not a name for a function: use lower-case words, as in my_norm")
    if name in REGISTRY:
        raise ValueError(f"an op named {name!r} is already registered: choose another name")
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("center_norm", name).replace("CenterNorm", layer_name(name))
    if in_package:
        text = text.replace("from tinygrad_norm.", "from ...")
    return f"{name.replace('_', '')}.py", text


def layer_name(name: str) -> str:
    """Return the name of the layer of a function: MyNorm for my_norm."""
    return "".join(word.capitalize() for word in name.split("_"))
