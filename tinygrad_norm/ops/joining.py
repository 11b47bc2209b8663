"""Joining tensors, splitting them, and repeating, reversing or rolling their elements."""

import itertools
import operator
from collections.abc import Sequence

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import upcast
from ..backends.cpu.sums import total
from ..registry import Case, ErrorCase, register
from .creation import ones
from .dims import Axes, Shape, as_shape, named_dims, normalize_dim, with_numpy_names
from .operands import as_tensor, result_type
from .shape import reshape, squeeze, unsqueeze


class Cat(Function):
    """y = the inputs, one after the other along `dim` · dx = the part of dy that x became"""

    def forward(self, *xs: Array, dim: int) -> Array:
        self.saved = dim, tuple([x.shape[dim] for x in xs])
        return namespace(xs[0]).concatenate(xs, dim)

    def backward(self, dy: Array) -> Gradients:
        dim, sizes = self.saved
        dxs = []
        start = 0
        for size in sizes:
            dxs.append(dy[(slice(None),) * dim + (slice(start, start + size),)])
            start += size
        return tuple(dxs)


class Split(Function):
    """y₁, y₂, … = the parts of x of `sizes` along `dim` · dx = the dys, joined"""

    is_view = True

    def forward(self, x: Array, *, sizes: Shape, dim: int) -> tuple[Array, ...]:
        self.saved = (dim,)
        before = (slice(None),) * dim
        starts = itertools.accumulate(sizes, initial=0)
        return tuple([x[(*before, slice(i, i + n))] for i, n in zip(starts, sizes, strict=False)])

    def backward(self, *dys: Array) -> Gradients:
        return namespace(dys[0]).concatenate(dys, *self.saved)


class Repeat(Function):
    """y = x repeated `times` times along each axis · dx = Σ dy over the copies"""

    def forward(self, x: Array, *, times: Shape) -> Array:
        self.saved = x.shape, times
        return namespace(x).tile(x, times)

    def backward(self, dy: Array) -> Gradients:
        shape, times = self.saved
        sizes = (1,) * (len(times) - len(shape)) + shape
        apart = [size for pair in zip(times, sizes, strict=True) for size in pair]
        return total(upcast(dy).reshape(apart), tuple(range(0, len(apart), 2))).reshape(shape)


class Flip(Function):
    """y = x in the reverse order along `axes` · dx = dy, reversed again"""

    def forward(self, x: Array, *, axes: Axes) -> Array:
        self.saved = (axes,)
        return namespace(x).flip(x, axes).copy()

    def backward(self, dy: Array) -> Gradients:
        return namespace(dy).flip(dy, *self.saved)


class Roll(Function):
    """y = x shifted by `shifts` along `axes`, wrapping around · dx = dy, shifted back"""

    def forward(self, x: Array, *, shifts: Shape, axes: Axes) -> Array:
        self.saved = shifts, axes
        return namespace(x).roll(x, shifts, axes)

    def backward(self, dy: Array) -> Gradients:
        shifts, axes = self.saved
        return namespace(dy).roll(dy, tuple([-shift for shift in shifts]), axes)


@with_numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along an existing axis; tensors of shape (0,) are skipped.

    Raises:
        ValueError: if there are no tensors, or shapes differ on another axis than `dim`.
    """
    xs = _same_dtype(tensors, "cat")
    full = [x for x in xs if x.shape != (0,)] or xs[:1]
    if full[0].ndim == 0:
        raise ValueError("cat needs tensors with at least one axis: use stack for 0-d ones")
    dim = normalize_dim(dim, full[0].ndim)
    shape = full[0].shape
    for i, x in enumerate(full):
        if x.ndim != len(shape) or x.shape[:dim] + x.shape[dim + 1 :] != shape[:dim] + shape[dim + 1 :]:
            raise ValueError(
                f"cat along axis {dim}: shapes must agree on every other axis, got {shape} and {x.shape} "
                f"(tensor {i})"
            )
    return Cat.apply(*full, dim=dim)


@with_numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors, all of one shape, joined along a new axis `dim`.

    Raises:
        ValueError: if there are no tensors, or their shapes differ.
    """
    xs = _same_dtype(tensors, "stack")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(f"stack needs equal shapes, got {xs[0].shape} and {x.shape} (tensor {i})")
    dim = normalize_dim(dim, xs[0].ndim + 1)
    return Cat.apply(*[unsqueeze(x, dim) for x in xs], dim=dim)


def _same_dtype(tensors: Sequence[Tensor], name: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name} takes a list or tuple of tensors, got one tensor")
    xs = [as_tensor(x, f"tensors[{i}]") for i, x in enumerate(tensors)]
    if not xs:
        raise ValueError(f"{name} needs at least one tensor, got an empty sequence")
    if any(x.array.dtype != xs[0].array.dtype for x in xs):
        dtype = result_type(*xs)
        xs = [x.astype(dtype) for x in xs]
    return xs


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return the parts of `input` along axis `dim`, as views: all of one size, or of the sizes given.

    If one size does not divide the size of the axis, the last part is shorter.

    Raises:
        ValueError: if a size is negative, or the sizes do not add up to the size of the axis.
    """
    x = as_tensor(input)
    axis, n = _splittable("split", x, dim)
    if hasattr(split_size_or_sections, "__index__"):
        size = operator.index(split_size_or_sections)
        if size < 0 or (size == 0 and n):
            raise ValueError(f"split needs a positive size, got {size}")
        sizes = tuple([min(size, n - start) for start in range(0, n, size or 1)]) or (0,)
    else:
        sizes = as_shape(split_size_or_sections, "split_size_or_sections")
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise ValueError(f"split sizes {sizes} must add up to {n}, the size of axis {dim}")
    return Split.apply(x, sizes=sizes, dim=axis)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return `input` in at most `chunks` equal parts along axis `dim`, as views; the last may be shorter.

    Raises:
        ValueError: if `chunks` is less than 1.
    """
    x = as_tensor(input)
    if chunks < 1:
        raise ValueError(f"chunk needs at least one chunk, got {chunks}")
    axis, n = _splittable("chunk", x, dim)
    return split(x, -(-n // chunks) if n else [0] * chunks, axis)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a view for every index along axis `dim`, without that axis."""
    x = as_tensor(input)
    axis, n = _splittable("unbind", x, dim)
    if n == 0:
        return ()
    return tuple([squeeze(part, axis) for part in split(x, 1, axis)])


def _splittable(name: str, x: Tensor, dim: int) -> tuple[int, int]:
    if not x.ndim:
        raise ValueError(f"{name} needs a tensor with at least one axis")
    axis = normalize_dim(dim, x.ndim)
    return axis, x.shape[axis]


def repeat(input: Tensor, repeats: int | Sequence[int]) -> Tensor:
    """Return `input` repeated `repeats` times along each axis; numbers for new axes come first.

    Raises:
        ValueError: if there are fewer repeats than axes, or one is negative.
    """
    x = as_tensor(input)
    times = as_shape(repeats, "repeats")
    if len(times) < x.ndim:
        raise ValueError(f"repeat of a tensor with {x.ndim} axes needs at least as many repeats, got {times}")
    if min(times, default=1) < 0:
        raise ValueError(f"repeats cannot be negative, got {times}")
    return Repeat.apply(x, times=times)


def tile(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """Return `repeat(input, dims)`, with 1 for the leading axes if `dims` has too few numbers."""
    x = as_tensor(input)
    times = as_shape(dims, "dims")
    return repeat(x, (1,) * (x.ndim - len(times)) + times)


def flip(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """Return `input` in the reverse order along each of the axes `dims`."""
    x = as_tensor(input)
    return Flip.apply(x, axes=named_dims(dims, x.ndim))


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Return `input` shifted along the axes `dims`, wrapping around; as if flattened if dims is None.

    Raises:
        ValueError: if `shifts` and `dims` differ in length, or there are no shifts.
    """
    x = as_tensor(input)
    amounts = as_shape(shifts, "shifts")
    if not amounts:
        raise ValueError(f"roll needs at least one shift, got shifts {shifts}")
    named = () if dims is None else as_shape(dims, "dims")
    if not named and len(amounts) == 1:
        flat = Roll.apply(reshape(x, x.numel()), shifts=amounts, axes=(0,))
        return reshape(flat, x.shape)
    axes = tuple([normalize_dim(dim, x.ndim) for dim in named])
    if len(amounts) != len(axes):
        raise ValueError(f"roll needs one shift per axis, got shifts {shifts} and dims {dims}")
    return Roll.apply(x, shifts=amounts, axes=axes)


register(
    name="split",
    function=split,
    composed=None,
    cases=(
        Case(((5, 2),), {"split_size_or_sections": 2}),
        Case(((2, 5),), {"split_size_or_sections": (1, 0, 4), "dim": -1}),
        Case(((0, 2),), {"split_size_or_sections": 3}),
    ),
    errors=(
        ErrorCase(lambda: split(ones(3), (1, 1)), ValueError, "add up to 3"),
        ErrorCase(lambda: split(ones(3), 0), ValueError, "positive size"),
        ErrorCase(lambda: split(ones(()), 1), ValueError, "at least one axis"),
    ),
    kind="primitive",
    torch="torch.split",
)
register(
    name="chunk",
    function=chunk,
    composed=None,
    cases=(
        Case(((5, 2),), {"chunks": 3}),
        Case(((5, 2),), {"chunks": 4}),
        Case(((2, 4),), {"chunks": 2, "dim": 1}),
    ),
    errors=(ErrorCase(lambda: chunk(ones(3), 0), ValueError, "at least one chunk"),),
    kind="primitive",
    torch="torch.chunk",
)
register(
    name="unbind",
    function=unbind,
    composed=None,
    cases=(Case(((3, 2),)), Case(((2, 3),), {"dim": -1})),
    errors=(ErrorCase(lambda: unbind(ones(())), ValueError, "at least one axis"),),
    kind="primitive",
    torch="torch.unbind",
)
register(
    name="repeat",
    function=repeat,
    composed=None,
    cases=(
        Case(((3,),), {"repeats": (2, 2)}),
        Case(((2, 3),), {"repeats": (3, 1)}),
        Case(((),), {"repeats": (2,)}),
    ),
    errors=(
        ErrorCase(lambda: repeat(ones(2, 2), 2), ValueError, "as many repeats"),
        ErrorCase(lambda: repeat(ones(2), -1), ValueError, "cannot be negative"),
    ),
    kind="primitive",
)
register(
    name="tile",
    function=tile,
    composed=None,
    cases=(Case(((2, 3),), {"dims": (2,)}), Case(((3,),), {"dims": (2, 2)})),
    kind="primitive",
    torch="torch.tile",
)
register(
    name="flip",
    function=flip,
    composed=None,
    cases=(
        Case(((2, 3),), {"dims": (0, 1)}),
        Case(((2, 3),), {"dims": (-1,)}),
        Case(((2, 3),), {"dims": ()}),
    ),
    errors=(ErrorCase(lambda: flip(ones(3), (0, 0)), ValueError, "twice"),),
    kind="primitive",
    torch="torch.flip",
)
register(
    name="roll",
    function=roll,
    composed=None,
    cases=(
        Case(((2, 3),), {"shifts": 1}),
        Case(((2, 3),), {"shifts": -2, "dims": 1}),
        Case(((2, 3),), {"shifts": 1, "dims": 0}),
        Case(((2, 3),), {"shifts": (1, 2), "dims": (0, 1)}),
    ),
    errors=(ErrorCase(lambda: roll(ones(2, 2), (1, 1)), ValueError, "one shift per axis"),),
    kind="primitive",
    torch="torch.roll",
)


def _cat(*tensors: Tensor, dim: int = 0) -> Tensor:
    return cat(tensors, dim)


def _stack(*tensors: Tensor, dim: int = 0) -> Tensor:
    return stack(tensors, dim)


register(
    name="cat",
    function=_cat,
    composed=None,
    cases=(Case(((2, 3), (1, 3))), Case(((2, 3), (2, 0), (2, 1)), {"dim": -1}), Case(((0,), (2, 3)))),
    errors=(
        ErrorCase(lambda: cat([]), ValueError, "at least one tensor"),
        ErrorCase(lambda: cat([ones(2, 3), ones(2, 2)]), ValueError, "agree on every other axis"),
        ErrorCase(lambda: cat([ones(()), ones(())]), ValueError, "use stack"),
        ErrorCase(lambda: cat(ones(1)), TypeError, "got one tensor"),  # type: ignore[arg-type]
    ),
    kind="primitive",
)
register(
    name="stack",
    function=_stack,
    composed=None,
    cases=(Case(((2, 3), (2, 3))), Case(((2, 3), (2, 3)), {"dim": -1}), Case(((), (), ()))),
    errors=(ErrorCase(lambda: stack([ones(2), ones(3)]), ValueError, "equal shapes"),),
    kind="primitive",
)
