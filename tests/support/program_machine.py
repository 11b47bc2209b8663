"""A program that runs on two sides, line by line: tinygrad_norm and PyTorch.

A line is Python text. Both sides execute the same text: `tn` is tinygrad_norm on one and torch on the other,
`F` their functions of neural networks. The machine compares what a line returns or raises, every gradient
after a backward, and every value at the end. It stops at the first difference, a Finding.

Numbers agree if they differ by at most 1e-9 of the array's largest, or by 1e-11. If they do not, PyTorch
runs the program again, with every result and every gradient multiplied by 1 + 1e-13·noise. If that alone
changes PyTorch's numbers as much, rounding decides what comes out (a kink was met, or everything cancelled):
the program ends there as ill-conditioned, and nothing is said about the package.
"""

import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.autograd.memory import owner
from tinygrad_norm.registry import REGISTRY

TOLERANCE, SMALLEST = 1e-9, 1e-11
NOISE = 1e-13
HEADER = "import numpy\nimport tinygrad_norm as tn\nfrom tinygrad_norm.nn import functional as F\n"


class Finding(Exception):
    """The two sides differ."""


class Ended(Exception):
    """The program ends here: what follows could not be compared."""


@dataclass
class Line:
    """The text of one line, that of PyTorch where it is another, and the names that the line assigns."""

    text: str
    theirs: str
    names: list[str] = field(default_factory=list)


class Machine:
    """One program: its lines so far, and its tensors on both sides."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.ours: dict[str, Any] = {"tn": tn, "F": tn.nn.functional, "numpy": numpy, "inf": numpy.inf}
        self.theirs: dict[str, Any] = {
            "tn": torch,
            "F": torch.nn.functional,
            "numpy": numpy,
            "inf": numpy.inf,
        }
        self.theirs["detached"], self.theirs["view_of"] = _detached, lambda x: x.view_as(x)
        self.registered: list[str] = []
        self.lines: list[Line] = []
        self.names: list[str] = []
        self.values: dict[str, numpy.ndarray] = {}  # PyTorch's, by name; they follow what is written
        self.used: set[str] = set()
        self.of_several: set[str] = set()  # one of several outputs
        self.fused: set[str] = set()  # the outputs of one function, which is several in PyTorch
        self.written: set[int] = set()  # PyTorch's storages
        self.retained: set[str] = set()
        self.hooked: set[str] = set()
        self.copies = False  # whether PyTorch, run again, copies what it saves for backward
        self.backwards = 0
        self.wild: dict[str, bool] = {}

    # -- running

    def assign(self, expression: str, island: bool = False) -> list[str]:
        """Run `name = expression` on both sides and return the new names; none if both raise an error."""
        name = f"x{len(self.names) + 1}"
        island_text = "with tn.no_grad(): " if island else ""
        theirs_expression = f"detached({expression})" if island else expression
        line = Line(
            f"{island_text}{name} = {expression}", f"{island_text}{name} = {theirs_expression}", [name]
        )
        if self._raise_alike(line):
            return []
        ours, theirs = self.ours[name], self.theirs[name]
        if isinstance(theirs, tuple | list):
            line.names = [f"x{len(self.names) + 1 + i}" for i in range(len(theirs))]
            if not theirs:
                return []
            self.of_several.update(line.names)
            target = ", ".join(line.names) + ("," if len(theirs) == 1 else "")
            line.text = f"{island_text}{target} = {expression}"
            line.theirs = f"{island_text}{target} = {theirs_expression}"
            if len(ours) != len(theirs):
                self.differ(f"{len(ours)} outputs, PyTorch has {len(theirs)}", line)
        else:
            ours, theirs = [ours], [theirs]
        if self._is_itself(self.theirs, theirs[0]) and not self._is_itself(self.ours, ours[0]):
            line.theirs = f"{island_text}{name} = view_of({theirs_expression})"
            exec(_compiled(line.theirs), self.theirs)
            theirs = [self.theirs[name]]
        self.lines.append(line)
        for x, y, z in zip(line.names, ours, theirs, strict=True):
            self.bind(x, y, z)
        return line.names

    def _is_itself(self, side: dict[str, Any], x: Any) -> bool:
        """Return whether a result is a tensor that was there: PyTorch's flatten may return x itself."""
        return any(x is side[name] for name in self.names)

    def bind(self, name: str, ours: Any, theirs: Any) -> None:
        """Take in a tensor under a name, new or not, and compare the two sides."""
        self.ours[name], self.theirs[name] = ours, theirs
        if name not in self.values:
            self.names.append(name)
        self.values[name] = theirs.detach().numpy()
        self.wild.pop(name, None)
        self.compare(name)

    def run(self, text: str, theirs: str | None = None) -> bool:
        """Run a line that assigns nothing new; return whether it raised no error."""
        line = Line(text, text if theirs is None else theirs)
        if self._raise_alike(line):
            return False
        self.lines.append(line)
        return True

    def must_raise(self, text: str) -> None:
        """Run a line that tinygrad_norm does not record: it must raise, and PyTorch does not run it."""
        error = self._error(self.ours, text)
        if not isinstance(error, RuntimeError):
            self.differ(f"must raise a RuntimeError, raised {error!r}", Line(text, ""))

    def _raise_alike(self, line: Line) -> bool:
        ours, theirs = self._error(self.ours, line.text), self._error(self.theirs, line.theirs)
        if ours is None and theirs is not None and "that returns multiple views" in str(theirs):
            raise Ended("PyTorch made views")
        if (ours is None) != (theirs is None):
            self.differ(f"raised here: {ours!r}; PyTorch: {theirs!r}", line)
        return ours is not None

    @staticmethod
    def _error(side: dict[str, Any], text: str) -> Exception | None:
        try:
            exec(_compiled(text), side)
        except Exception as error:
            return error
        return None

    def gradient(self, expression: str) -> None:
        """Run `name = expression`, a call of autograd.grad, and judge it as a backward."""
        name = f"x{len(self.names) + 1}"
        text = f"{name} = {expression}"
        ours, theirs = self._error(self.ours, text), self._error(self.theirs, text)
        self.backwards += 1
        if ours is None and "not have been used" in str(theirs) and self.fused:
            raise Ended("one function here, several in PyTorch")
        if (ours is None) != (theirs is None):
            self._judge_refusal(Line(text, text, [name]), ours, theirs)
        elif ours is None:
            self.lines.append(Line(text, text, [name]))
            self.bind(name, self.ours[name], self.theirs[name])

    def backward(self, text: str) -> None:
        """Run a backward. Where one side alone finds a needed value overwritten, see `_judge_refusal`."""
        line = Line(text, text)
        ours, theirs = self._error(self.ours, text), self._error(self.theirs, text)
        self.backwards += 1
        if ours is None and theirs is None:
            self.lines.append(line)
            self.compare_gradients()
        elif ours is None or theirs is None:
            self._judge_refusal(line, ours, theirs)
        else:
            raise Ended("both raised")

    def _judge_refusal(self, line: Line, ours: Exception | None, theirs: Exception | None) -> None:
        """Only one side finds that a value was overwritten.

        PyTorch alone: the gradients here must be those of the values before the write. PyTorch tells them if
        it saves copies. tinygrad_norm alone: a finding if the function is a primitive. PyTorch has further
        functions of several primitives, which save other values. And its kron goes on with the changed ones.
        """
        saved = re.search(r" of (\w+) .*changed in place", str(ours))
        if ours is None and "that returns multiple views" in str(theirs):
            raise Ended("PyTorch made views")
        if theirs is None and saved and saved[1] not in _primitives():
            raise Ended("saved other values than PyTorch")
        if theirs is None and saved and saved[1] == "Mul" and "tn.kron(" in self.text():
            raise Ended("PyTorch noticed no write")
        copying = r"of (Einsum |MatMul \(shape \(\d+, \d+, )"  # PyTorch permutes and broadcasts into copies
        if theirs is None and re.search(copying, str(ours)):
            raise Ended("saved other values than PyTorch")
        if theirs is None or "modified by an inplace operation" not in str(theirs):
            self.differ(f"raised here: {ours!r}; PyTorch: {theirs!r}", line)
        self.lines.append(line)
        self.copies = True
        side = self.replay()
        for name in self.with_gradient():
            self.theirs[name].grad = side[name].grad
        self.compare_gradients()
        for name in line.names:
            self.bind(name, self.ours[name], side[name])
        raise Ended("saved less than PyTorch")

    # -- comparing

    def compare(self, name: str) -> None:
        """Compare a tensor's shape, dtype, whether it requires grad, and its values."""
        ours, theirs = self.ours[name], self.theirs[name]
        mine, value = ours.array, self.values[name]
        if mine.shape != value.shape or mine.dtype != value.dtype:
            self.differ(f"{name}: {mine.dtype}{mine.shape}, PyTorch has {value.dtype}{value.shape}")
        for flag in ("requires_grad", "is_leaf"):
            if getattr(ours, flag) != getattr(theirs, flag):
                self.differ(f"{name}.{flag} is {getattr(ours, flag)}, PyTorch has {getattr(theirs, flag)}")
        self.agree(name, mine, value)

    def compare_gradients(self) -> None:
        """Compare the gradient of every leaf, and of every tensor that retains one."""
        for name in self.with_gradient():
            ours, theirs = self.ours[name].grad, self.theirs[name].grad
            if ours is None or theirs is None:
                if any(dx is not None and numpy.asarray(dx).any() for dx in (ours, theirs)):
                    self.differ(f"{name}.grad: {ours}, PyTorch has {theirs}")
                continue  # None and zeros are the same gradient
            value = theirs.numpy()
            if ours.shape != value.shape or ours.dtype != value.dtype:
                self.differ(f"{name}.grad: {ours.dtype}{ours.shape}, PyTorch: {value.dtype}{value.shape}")
            self.agree(f"{name}.grad", ours.array, value)

    def compare_all(self) -> None:
        """Compare every value: what a write changed, also through a view."""
        for name in self.names:
            self.compare(name)

    def with_gradient(self) -> list[str]:
        """The names of the tensors whose `.grad` is compared."""
        return [x for x in self.names if x in self.retained or self.theirs[x].is_leaf]

    def agree(self, what: str, mine: numpy.ndarray, value: numpy.ndarray) -> None:
        """Raise Finding, or Ended if rounding decides, unless the numbers agree."""
        if mine is value or (mine == value).all():
            return
        distance = _distance(mine, value)
        if distance <= max(TOLERANCE * _largest(value), SMALLEST):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in range(4):
                other = eval(what, self.replay(noise=seed)).detach().numpy()
                if distance <= _distance(other, value):
                    raise Ended("ill-conditioned")
        self.differ(f"{what} differs by {distance:.3g}:\n{mine}\nPyTorch has\n{value}")

    def differ(self, what: str, line: Line | None = None) -> None:
        """Raise a Finding with the program that shows it."""
        text = self.text() + (f"{line.text}\n" if line else "")
        raise Finding(f"{text}# {what.replace(chr(10), chr(10) + '# ')}")

    def text(self) -> str:
        """The program so far, for tinygrad_norm."""
        header = HEADER
        if self.registered:
            header += "from tinygrad_norm.registry import REGISTRY\n"
            header += "".join(f'{name} = REGISTRY["{name}"].function\n' for name in self.registered)
        if any("inf" in line.text for line in self.lines):
            header += "from math import inf\n"
        return header + "".join(f"{line.text}\n" for line in self.lines)

    def replay(self, noise: int | None = None) -> dict[str, Any]:
        """Run the program again in PyTorch, with noise if a seed is given."""
        torch = self.torch
        side = {
            k: v for k, v in self.theirs.items() if k not in self.values and k not in ("__builtins__", "_")
        }
        rng = None if noise is None else torch.Generator().manual_seed(noise)
        pack = torch.Tensor.clone if self.copies else torch.Tensor.detach
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            for line in self.lines:
                exec(_compiled(line.theirs), side)
                for name in line.names if rng is not None else ():
                    _disturb(torch, side[name], rng)
        return side

    # -- what a statement may ask

    def use(self, name: str) -> str:
        """Note that a tensor was used, and return its name."""
        self.used.add(name)
        return name

    def is_tame(self, name: str) -> bool:
        """Return whether the values are floats of an ordinary size."""
        if name not in self.wild:
            value = self.values[name]
            self.wild[name] = value.dtype != float or not bool((abs(value) < 1e3).all())
        return not self.wild[name]

    def may_write(self, name: str) -> bool:
        """Return whether a write to it changes the same tensors on both sides.

        Whether reshape copies, and autograd.grad expands, depends on strides, which both leave open. PyTorch
        allows no write to the memory of a view that is one of several outputs, and forgets hooks of a view.
        """
        if _overlaps(self.theirs[name]) and self.ours[name].array.flags.writeable:
            return False
        ours, theirs = owner(self.ours[name].array), self.theirs[name].untyped_storage().data_ptr()
        for x in self.names:
            shared = owner(self.ours[x].array) is ours
            if shared != (self.theirs[x].untyped_storage().data_ptr() == theirs):
                return False
            if shared and self.theirs[x].requires_grad and (x in self.of_several or x in self.hooked):
                return False
        return True

    def may_hook(self, name: str) -> bool:
        """Return whether PyTorch would call a hook of it with the same gradient.

        It may crash, in version 2.13, for a view whose memory was written to: such views are made anew there,
        from the tensor that owns the memory.
        """
        theirs = self.theirs[name]
        if name in self.fused:
            return False
        return theirs._base is None or theirs.untyped_storage().data_ptr() not in self.written

    def register(self, name: str) -> str:
        """Let the program call a registered op by its name, and return the name."""
        if name not in self.registered:
            op = REGISTRY[name]
            self.registered.append(name)
            self.ours[name], self.theirs[name] = op.function, op.torch_function(self.torch)
        return name


@functools.lru_cache(1000)
def _compiled(text: str) -> CodeType:
    return compile(text, "<program>", "exec")


@functools.cache
def _primitives() -> set[str]:
    """The names of the functions in tinygrad_norm.ops, as messages show them."""
    return {f.__name__ for f in Function.__subclasses__() if f.__module__.startswith("tinygrad_norm.ops")}


def _detached(results: Any) -> Any:
    """Views that PyTorch makes under no_grad require grad all the same."""
    return results.detach() if hasattr(results, "detach") else tuple([y.detach() for y in results])


def _overlaps(x: Any) -> bool:
    """Return whether an element of PyTorch's tensor stands for several."""
    return any(n > 1 and s == 0 for n, s in zip(x.shape, x.stride(), strict=True))


def _disturb(torch: Any, x: Any, rng: Any) -> None:
    """Multiply the values of x, and its gradient when it comes, by 1 + 1e-13·noise."""

    def factor() -> Any:
        return 1 + NOISE * torch.randn(x.shape, generator=rng, dtype=x.dtype)

    if x.dtype != torch.float64:
        return
    if not _overlaps(x):
        x.data.mul_(factor())
    if x.requires_grad:
        x.register_hook(lambda dx: None if dx is None else dx * factor())


def _distance(a: numpy.ndarray, b: numpy.ndarray) -> float:
    """Return the largest difference: infinite if NaN or infinity stands in other places."""
    if a.shape != b.shape:
        return numpy.inf
    same = (a == b) | ((a != a) & (b != b))
    with numpy.errstate(all="ignore"):
        difference = numpy.where(same, 0.0, abs(a.astype(float) - b.astype(float)))
    return float(numpy.nan_to_num(difference, nan=numpy.inf).max(initial=0.0))


def _largest(a: numpy.ndarray) -> float:
    finite: Sequence[float] = abs(a[numpy.isfinite(a)])
    return float(numpy.max(finite, initial=0.0))
