"""PyTorch's names that this package lacks, and what to use instead.

`answer` gives the modules and classes an AttributeError that names the replacement. `hasattr` is still
False, and what exists costs nothing more. docs/pytorch.md shows the same table; a test compares them.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

NOTHING = "–"


class Row(NamedTuple):
    """PyTorch's names, separated by blanks, and the replacement of them all, as Markdown."""

    names: str
    instead: str
    methods: bool = False  # names without a dot are methods of Tensor too


ROWS = (
    Row(
        "utils.data.TensorDataset utils.data.DataLoader",
        "`data.TensorDataset`, `data.DataLoader`; also for a tuple of arrays, or a list of samples",
    ),
    Row(
        "device cuda.is_available",
        '`tn.use_backend("cupy")` before the model is made; it raises an error if there is no GPU',
    ),
    Row("compile jit autocast", NOTHING),
    # Tensors
    Row("bfloat16", "`tn.float16`; only the CUDA kernels support bfloat16, see docs/gpu.md", methods=True),
    # Modules
    Row("nn.Module.bfloat16", "`.float()`, `.double()`, `.half()`, `.to(dtype)`"),
    Row("nn.Module.compile", NOTHING),
    # Layers
    Row(
        "nn.utils.weight_norm nn.utils.spectral_norm",
        "those of `nn.utils.parametrizations`; in old weights, rename `weight_g` to "
        "`parametrizations.weight.original0` and `weight_v` to `parametrizations.weight.original1`",
    ),
    # Optimizers
    Row("optim.SparseAdam optim.Adafactor", "`optim.Adam`, `optim.AdamW`, `optim.SGD`"),
)


class Absent:
    """An attribute that a class lacks: reading it raises an AttributeError with the replacement."""

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        what = f"type object {owner.__name__!r}" if instance is None else f"{owner.__name__!r} object"
        raise _error(what, self.name, self.instead)

    def __repr__(self) -> str:
        return f"not here; instead: {self.instead}"


def answer(package: str) -> None:
    """Make the modules and classes of `package` answer for the names that they lack."""
    found: dict[ModuleType | type, dict[str, str]] = {}
    for name, instead in _by_name():
        owner: Any = sys.modules[package]
        parts = name.split(".")
        while len(parts) > 1 and hasattr(owner, parts[0]):
            owner = getattr(owner, parts.pop(0))
        found.setdefault(owner, {}).setdefault(parts[0], instead)
    for owner, names in found.items():
        if isinstance(owner, ModuleType):
            _answer_of_module(owner, names)
        else:
            for name, instead in names.items():
                setattr(owner, name, Absent(name, instead))
            owner.__dir__ = _dir_without_absent(owner.__dir__)


def _by_name() -> Iterator[tuple[str, str]]:
    for row in ROWS:
        for name in row.names.split():
            yield name, row.instead
            if row.methods and "." not in name:
                yield f"Tensor.{name}", row.instead


def _answer_of_module(module: ModuleType, names: dict[str, str]) -> None:
    otherwise: Callable[[str], Any] | None = vars(module).get("__getattr__")

    def getattr_(name: str) -> Any:
        if name in names:
            raise _error(f"module {module.__name__!r}", name, names[name])
        if otherwise:
            return otherwise(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)

    vars(module)["__getattr__"] = getattr_


def _error(what: str, name: str, instead: str) -> AttributeError:
    instead = "nothing replaces it" if instead == NOTHING else f"instead: {instead}"
    return AttributeError(f"{what} has no attribute {name!r}; {instead}", name=name)


def _dir_without_absent(before: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
    def __dir__(self: Any) -> list[str]:
        return [name for name in before(self) if type(inspect.getattr_static(self, name, None)) is not Absent]

    return __dir__
