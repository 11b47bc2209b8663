"""Einstein's summation: products of tensors whose axes are named, summed over the names that disappear.

For y[out] = Σ a[…]·b[…]·…, the gradient of an operand is an einsum again: dy takes its place, and its
own names become the output's. Along an axis that only this operand has, which was summed over, its
gradient is constant.

Each pair of operands is contracted as one batched matrix product. With its names sorted into
those of both that stay (B), those of both that disappear (S), and those of one operand (L, R), the product
is (B, L, S) @ (B, S, R).
"""

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import downcast, upcast
from ..backends.cpu.sums import total
from ..registry import Case, ErrorCase, register
from .broadcast import stretch
from .indexing import scatter_add
from .operands import as_tensor, result_type
from .reduction import sum
from .shape import permute, squeeze

Names = tuple[str, ...]


def contract(arrays: Sequence[Array], names: Sequence[Names], out: Names) -> Array:
    """Return Σ of the product of `arrays`, whose axes are named by `names` (each once), with the axes `out`.

    Axes of equal names have equal sizes. Every name of `out` is in one of `names`.
    """
    y, y_names = arrays[0], names[0]
    for i in range(1, len(arrays)):
        keep = set(out).union(*names[i + 1 :])
        y, y_names = _contract_pair(y, y_names, arrays[i], names[i], keep)
    y, y_names = _sum_away(y, y_names, set(out))
    return y.transpose([y_names.index(name) for name in out])


def _sum_away(x: Array, names: Names, keep: set[str]) -> tuple[Array, Names]:
    axes = tuple([i for i, name in enumerate(names) if name not in keep])
    return (total(x, axes), tuple([name for name in names if name in keep])) if axes else (x, names)


def _contract_pair(a: Array, a_names: Names, b: Array, b_names: Names, keep: set[str]) -> tuple[Array, Names]:
    a, a_names = _sum_away(a, a_names, keep.union(b_names))
    b, b_names = _sum_away(b, b_names, keep.union(a_names))
    size = dict(zip(a_names, a.shape, strict=True)) | dict(zip(b_names, b.shape, strict=True))
    both = [name for name in a_names if name in keep and name in b_names]
    summed = [name for name in a_names if name not in keep]
    left = [name for name in a_names if name not in b_names]
    right = [name for name in b_names if name not in a_names]
    shape = [size[name] for name in (*both, *left, *right)]
    n, s, m = (math.prod([size[name] for name in group]) for group in (left, summed, right))
    batch = [size[name] for name in both]
    a = a.transpose([a_names.index(name) for name in (*both, *left, *summed)]).reshape((*batch, n, s))
    b = b.transpose([b_names.index(name) for name in (*both, *summed, *right)]).reshape((*batch, s, m))
    return (a @ b if summed else a * b).reshape(shape), (*both, *left, *right)


class Einsum(Function):
    """y = Σ a·b·… over the names that are not in `out` · da = Σ dy·b·… over those that are not a's"""

    def forward(self, *xs: Array, names: tuple[Names, ...], out: Names) -> Array:
        others = [any(self.needs[:i] + self.needs[i + 1 :]) for i in range(len(xs))]
        kept = [x if needed else None for x, needed in zip(xs, others, strict=True)]
        self.saved = (*kept, tuple([x.shape for x in xs]), names, out)
        return downcast(contract([upcast(x) for x in xs], names, out), xs[0])

    def backward(self, dy: Array) -> Gradients:
        *xs, shapes, names, out = self.saved
        dxs: list[Array | None] = []
        for i, shape in enumerate(shapes):
            others = [j for j in range(len(xs)) if j != i]
            terms = [out, *(names[j] for j in others)]
            if self.needs[i]:
                found = tuple([name for name in names[i] if any(name in term for term in terms)])
                dx = contract([upcast(dy), *(upcast(xs[j]) for j in others)], terms, found)
                kept = [n if name in found else 1 for n, name in zip(shape, names[i], strict=True)]
                dxs.append(stretch(dx.reshape(kept), shape))
            else:
                dxs.append(None)
        return tuple(dxs)


class Diagonal(Function):
    """y = x where two axes, dim1 < dim2, have equal index, as one last axis · dx = dy there, 0 elsewhere"""

    is_view = True

    def forward(self, x: Array, *, dim1: int, dim2: int) -> Array:
        self.saved = dim1, dim2
        return x.diagonal(0, dim1, dim2)

    def backward(self, dy: Array) -> Gradients:
        dim1, dim2 = self.saved
        *others, n = dy.shape
        # In memory, the elements of the diagonal of an n×n matrix are n + 1 apart.
        dx = downcast(scatter_add((*others, n * n), (Ellipsis, slice(None, None, n + 1)), dy), dy)
        order = list(range(len(others)))
        order.insert(dim1, -2)
        order.insert(dim2, -1)
        return namespace(dy).transpose(dx.reshape((*others, n, n)), order)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return the sum of products that `equation` describes: "ij,jk->ik" is a matrix product.

    Letters name axes; "..." stands for any leading axes, which are broadcast. A letter repeated in one
    operand takes its diagonal. Without "->" the output has the letters that occur once, sorted.

    Raises:
        ValueError: if the equation is malformed, or does not fit the operands.
    """
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    xs = [as_tensor(x, f"operand {i}") for i, x in enumerate(operands)]
    names, out = _parse(equation, xs)
    dtype = result_type(*xs)
    xs = [x.astype(dtype) for x in xs]
    for i, x in enumerate(xs):
        xs[i], names[i] = _diagonals(equation, x, names[i])
    size = _sizes(equation, xs, names)
    for i, x in enumerate(xs):
        stretched = [d for d, name in enumerate(names[i]) if x.shape[d] != size[name]]
        if stretched:
            xs[i] = squeeze(x, stretched)
            names[i] = tuple([name for d, name in enumerate(names[i]) if d not in stretched])
    if len(xs) > 1:
        return Einsum.apply(*xs, names=tuple(names), out=out)
    (x,), (own,) = xs, names
    if len(own) > len(out):
        x = sum(x, [d for d, name in enumerate(own) if name not in out])
        own = tuple([name for name in own if name in out])
    return permute(x, [own.index(name) for name in out])


def _parse(equation: str, xs: list[Tensor]) -> tuple[list[Names], Names]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise ValueError(f'einsum "{equation}" names {len(terms)} operands, got {len(xs)}')
    names = [_names(equation, term, x.ndim) for term, x in zip(terms, xs, strict=True)]
    dots = max((own for own in (_dots(n) for n in names)), key=len)
    if arrow:
        letters = _names(equation, right, len(right.replace("...", "")) + len(dots) * ("..." in right))
    else:
        flat = [name for own in names for name in own]
        letters = (*dots, *sorted(name for name in set(flat) - set(dots) if flat.count(name) == 1))
    if len(set(letters)) != len(letters) or not set(letters) <= {name for own in names for name in own}:
        raise ValueError(f'einsum "{equation}": the output must name axes of the operands, each once')
    return names, letters


def _names(equation: str, term: str, ndim: int) -> Names:
    before, dots, after = term.partition("...")
    letters = before + after
    if not (letters.isascii() and (letters.isalpha() or not letters)):
        raise ValueError(f'einsum "{equation}": "{term}" may have letters and one "..." only')
    missing = ndim - len(letters)
    if missing < 0 or (missing and not dots):
        raise ValueError(f'einsum "{equation}": "{term}" does not name the axes of a tensor with {ndim} axes')
    return (*before, *(f".{i}" for i in range(missing - 1, -1, -1)), *after)


def _dots(names: Names) -> Names:
    return tuple([name for name in names if name.startswith(".")])


def _diagonals(equation: str, x: Tensor, names: Names) -> tuple[Tensor, Names]:
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ValueError(
                    f'einsum "{equation}": "{name}" names axes of sizes {x.shape[first]} and '
                    f"{x.shape[second]} of one operand"
                )
            x = Diagonal.apply(x, dim1=first, dim2=second)
            names = (*(other for i, other in enumerate(names) if i not in (first, second)), name)
    return x, names


def _sizes(equation: str, xs: list[Tensor], names: list[Names]) -> dict[str, int]:
    size: dict[str, int] = {}
    for x, own in zip(xs, names, strict=True):
        for n, name in zip(x.shape, own, strict=True):
            before = size.setdefault(name, n)
            if n != before and 1 not in (n, before):
                raise ValueError(
                    f'einsum "{equation}": "{name}" has size {before} in one operand and {n} in another'
                )
            size[name] = n if before == 1 else before
    return size


def _registered(*operands: Tensor, equation: str) -> Tensor:
    return einsum(equation, *operands)


register(
    name="einsum",
    function=_registered,
    composed=None,
    cases=(
        Case(((3, 4), (4, 2)), {"equation": "ij,jk->ik"}),
        Case(((3, 4), (4, 2)), {"equation": "ij,jk"}),
        Case(((2, 3, 4), (2, 5, 4)), {"equation": "bqd,bkd->bqk"}),
        Case(((3, 4), (3, 4)), {"equation": "ij,ij->"}),
        Case(((3, 4), (3, 4)), {"equation": "ij,ij->ji"}),
        Case(((3,), (4,)), {"equation": "i,j->ji"}),
        Case(((3, 4),), {"equation": "ij->ji"}),
        Case(((3, 4),), {"equation": "ij->"}),
        Case(((3, 4), (2,)), {"equation": "ij,k->k"}),
        Case(((2, 3), (3, 4), (4, 2)), {"equation": "ab,bc,cd->ad"}),
        Case(((2, 3), (2, 3), (2, 3)), {"equation": "ab,ab,ab->b"}),
        Case(((2, 5, 3, 4), (5, 4, 2)), {"equation": "...ij,...jk->...ik"}),
        Case(((2, 1, 3), (5, 3)), {"equation": "...i,...i->..."}),
        Case(((3, 3),), {"equation": "ii"}),
        Case(((3, 3, 2),), {"equation": "iij->ji"}),
        Case(((2, 2, 2), (2,)), {"equation": "iii,i->i"}),
        Case(((3, 1), (2, 4)), {"equation": "ij,jk->ik"}),
        Case(((2, 0), (0, 3)), {"equation": "ij,jk->ik"}),
        Case(((), (3,)), {"equation": ",i->i"}),
    ),
    errors=(
        ErrorCase(lambda: einsum("ij,jk", Tensor([[1.0]])), ValueError, "names 2 operands, got 1"),
        ErrorCase(lambda: einsum("ij", Tensor([1.0])), ValueError, "does not name the axes"),
        ErrorCase(lambda: einsum("i->ij", Tensor([1.0])), ValueError, "axes of the operands"),
        ErrorCase(lambda: einsum("ij->ii", Tensor([[1.0]])), ValueError, "each once"),
        ErrorCase(lambda: einsum("i?", Tensor([[1.0]])), ValueError, "letters and one"),
        ErrorCase(
            lambda: einsum("i,i", Tensor([1.0, 2.0]), Tensor([1.0, 2.0, 3.0])), ValueError, "has size 2"
        ),
        ErrorCase(lambda: einsum("ii", Tensor([[1.0, 2.0]])), ValueError, "sizes 1 and 2"),
    ),
    kind="primitive",
)
