"""What CuPy has: its functions, ufuncs and methods with their arguments, recorded from its wheel.

`python tests/support/strict_cupy/signatures.py` writes signatures.txt anew, with the CuPy that is installed.
"""

import ast
import functools
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("signatures.txt")
_TYPED = re.compile(r"\b\w+ (\w+)(?=\s*[,=)])")  # Cython's `Py_ssize_t axis1`


@dataclass(frozen=True)
class Signature:
    """The arguments that a function takes, by name; a method's without `self`."""

    name: str
    positional: tuple[str, ...]  # in their order; those before `required` must be given
    required: int
    only_positional: int
    only_keyword: frozenset[str]
    any_positional: bool
    any_keyword: bool

    def check(self, args, options):
        """Raise TypeError for arguments that CuPy's function does not have.

        Those that are missing are left to NumPy's function, which needs them as well.
        """
        if len(args) > len(self.positional) and not self.any_positional:
            raise TypeError(
                f"CuPy's {self.name} takes {len(self.positional)} positional arguments, got {len(args)}"
            )
        for name in options:
            if name in self.only_keyword or name in self.positional[max(self.only_positional, len(args)) :]:
                continue
            if not self.any_keyword:
                raise TypeError(f"CuPy's {self.name} has no argument {name!r}, or got it twice")


@dataclass(frozen=True)
class UfuncSignature:
    """The loops of a ufunc: ("dd", "d") for each, and what its `at` does, if it has one."""

    name: str
    loops: tuple[tuple[str, str], ...]
    at: str | None


class Signatures:
    """The recorded signatures of functions, ufuncs and methods, and the names of attributes."""

    def __init__(self, text):
        version, *lines = text.splitlines()
        self.version = version.rpartition(" ")[2]
        self.lines = {"function": {}, "ufunc": {}, "method": {}, "attribute": {}}
        for line in lines:
            kind, _, rest = line.partition(" ")
            self.lines[kind][re.match(r"\w+", rest)[0]] = rest

    @functools.cache  # noqa: B019 - there is one object
    def function(self, name):
        return _parsed(self.lines["function"][name])

    @functools.cache  # noqa: B019
    def method(self, name):
        return _parsed(self.lines["method"][name], method=True)

    @functools.cache  # noqa: B019
    def ufunc(self, name):
        _, *loops = self.lines["ufunc"][name].split()
        at = loops.pop().removeprefix("at:") if loops[-1].startswith("at:") else None
        return UfuncSignature(name, tuple(tuple(loop.split("->")) for loop in loops), at)


def _parsed(line, method=False):
    arguments = ast.parse(f"def {line}: ...").body[0].args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)][method:]
    return Signature(
        line.partition("(")[0],
        tuple(names),
        len(names) - len(arguments.defaults),
        max(len(arguments.posonlyargs) - method, 0),
        frozenset(a.arg for a in arguments.kwonlyargs),
        arguments.vararg is not None,
        arguments.kwarg is not None,
    )


@functools.cache
def recorded():
    """Return the signatures of the CuPy that signatures.txt was recorded from."""
    return Signatures(FILE.read_text("utf-8"))


# -- recording


def lines_of(cupy):
    """Return the lines of signatures.txt for an imported CuPy."""
    lines = [f"# CuPy {cupy.__version__}"]
    for name in sorted(dir(cupy)):
        value = getattr(cupy, name)
        if name.startswith("_") or isinstance(value, type) or not callable(value):
            continue
        if isinstance(value, cupy.ufunc):
            at = [f"at:{value._scatter_op}"] if value._scatter_op else []
            lines.append(" ".join(["ufunc", name, *value.types, *at]))
        else:
            lines.append(f"function {name}{_arguments(value)}")
    for name in sorted(dir(cupy.ndarray)):
        value = getattr(cupy.ndarray, name)
        if name.startswith("_") and not name.startswith("__"):
            continue
        if not callable(value):
            lines.append(f"attribute {name}")
        elif name not in dir(object) and not name.startswith("__"):
            lines.append(f"method {name}{_arguments(value)}")
    return lines


def _arguments(function):
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled: the first line of its docstring shows the arguments
        shown = re.search(r"\(.*\)", (function.__doc__ or "").split("\n")[0])
        return _TYPED.sub(r"\1", shown[0]) if shown else "(*args, **kwargs)"
    return str(
        signature.replace(
            parameters=[
                parameter.replace(
                    annotation=parameter.empty,
                    default=parameter.empty if parameter.default is parameter.empty else _plain(parameter),
                )
                for parameter in signature.parameters.values()
            ],
            return_annotation=signature.empty,
        )
    )


def _plain(parameter):
    """A default whose text Python can read."""
    default = parameter.default
    return default if isinstance(default, bool | int | float | str | tuple | None) else None


if __name__ == "__main__":
    import cupy

    FILE.write_text("\n".join(lines_of(cupy)) + "\n", "utf-8")
