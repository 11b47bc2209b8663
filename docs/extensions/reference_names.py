"""What the reference describes: the modules by theme, and where each name of them is described."""

import inspect
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from public_names import Name, Section, sections

import tinygrad_norm

PACKAGE = "tinygrad_norm"
MODULES = {
    "Tensors": ["", "autograd"],
    "Layers": ["nn", "nn.functional", "nn.init"],
    "Tools for layers": ["nn.utils", "nn.utils.parametrizations", "nn.utils.parametrize"],
    "Training": ["optim", "optim.lr_scheduler", "optim.swa_utils", "data", "training", "distributed", "onnx"],
    "Learning and checking": ["gradient_check", "learn", "experiments", "explore", "registry"],
}
DESCRIBES_FIRST = ["nn.functional", "nn"]


def full_name(module: str) -> str:
    """Return the name of a module of the package, which is "" for the package itself."""
    return f"{PACKAGE}.{module}" if module else PACKAGE


@dataclass
class Reference:
    """All names, and for each object the full name under which it is described."""

    modules: dict[str, list[Section]]
    described: dict[int, str]
    targets: dict[str, str]

    @classmethod
    def read(cls) -> "Reference":
        """Read the names of all modules."""
        listed = [module for modules in MODULES.values() for module in modules]
        order = DESCRIBES_FIRST + [module for module in listed if module not in DESCRIBES_FIRST]
        modules = {module: sections(full_name(module)) for module in order}
        names = [name for found in modules.values() for section in found for name in section.names]
        described: dict[int, str] = {}
        targets: dict[str, str] = {}
        for name in names:
            if callable(name.value):
                described.setdefault(id(name.value), name.full)
            main = described.get(id(name.value), name.full)
            short = name.full.removeprefix(f"{PACKAGE}.")
            for alias in (name.name, short, f"tn.{short}", name.full):
                targets.setdefault(alias, main)
        return cls(modules, described, targets)

    def resolve(self, name: str) -> str | None:
        """Return the full name of what a name in a docstring means, or None if it is no public name.

        A plain word in small letters may mean anything, such as a parameter: it has none.
        """
        return None if re.fullmatch("[a-z]+", name) else self.targets.get(name)

    def resolving(self, value: Any) -> Callable[[str], str | None]:
        """Return `resolve` for the docstring of a function or a class: its own parameters are not names."""
        try:
            own = inspect.signature(value).parameters.keys()
        except (TypeError, ValueError):
            return self.resolve
        return lambda name: None if name in own else self.resolve(name)

    def function(self, name: str, method: Any) -> str | None:
        """Return the full name of the function that a method is, which may only pass its arguments on."""
        main = self.targets.get(f"tn.{name}")
        same = callable(method) and main and operator.attrgetter(main.partition(".")[2])(tinygrad_norm)
        return main if same and same.__doc__ == method.__doc__ else self.described.get(id(method))

    def main(self, name: Name) -> str:
        """Return the full name under which an object is described."""
        return self.described.get(id(name.value), name.full)
