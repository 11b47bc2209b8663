"""Embedding: a row of the weight for every index.

    index (...)   weight (V, D)   y = weight[index]   y (..., D)

Backward: a row reaches every output it was looked up for, and by the chain rule their contributions add up,

    dweight_v = Σ dy_n over n with index_n = v

which is onehot(index)ᵀ @ dy without the zeros. The rows of dy are sorted by index, and every run of equal
indices is summed: so the result is deterministic, which addition in any order would not be.

Insight: an embedding is a linear layer whose inputs are one-hot; only rows that were used learn.
"""

from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, backend_of, kernel, namespace
from ..backends.cpu.half import upcast
from ..backends.cpu.loops import Loop
from ..backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ..backends.cuda.deferred import check_later
from ..backends.cuda.launch import CudaSource, accumulator_dtype, contiguous, teams, wide_empty
from ..module import Module, Parameter
from ..ops import arange, ones
from ..ops.arguments import as_size, check_flags
from ..ops.checks import check_input
from ..registry import Case, ErrorCase, fixed, integers, register
from . import init

_kernels = CudaSource(__file__)
_COLUMNS = ((8, 1), (32, 0))  # teams of 8 threads for rows of up to 8 packs, of 32 for longer ones


def embedding_composed(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Embedding from primitives: autograd finds the gradient."""
    if padding_idx is not None:
        padding = arange(len(weight)).eq(padding_idx % len(weight)).unsqueeze(1)
        weight = weight.detach().where(padding, weight)
    return weight[input]


@kernel
def embedding_forward(weight: Array, index: Array) -> Array:
    """Return y (..., D): weight (V, D), index (...)."""
    return weight.take(index, 0)


@embedding_forward.cuda
def embedding_forward_cuda(weight: Array, index: Array) -> Array:
    """One launch; an index out of range, which the host does not know about yet, gives NaN."""
    V, D = weight.shape
    y = namespace(weight).empty_like(weight, shape=(*index.shape, D))
    if y.size:
        weight, at = contiguous(weight, index.astype(numpy.int64, copy=False))
        shape = teams(D, weight, y, shapes=_COLUMNS)
        blocks, numbers = -(-index.size // (256 // shape.team)), (shape.vector, shape.team)
        args = weight, at, y, index.size, V, D
        _kernels.launch("embedding_forward", weight.dtype, numbers, blocks, 256, args)
    return y


@kernel
def embedding_backward(dy: Array, index: Array, count: int) -> Array:
    """Return dweight (count, D), of half types in float32: dy (N, D), index (N,)."""
    xp, dy = namespace(dy), upcast(dy)
    dweight = xp.zeros((count, dy.shape[1]), dy.dtype)
    if index.size:
        order = xp.argsort(index, kind="stable")
        ordered = index[order]
        starts = xp.flatnonzero(xp.concatenate((xp.ones(1, bool), ordered[1:] != ordered[:-1])))
        dweight[ordered[starts]] = xp.add.reduceat(dy.take(order, 0), starts, 0)
    return dweight


def rows_of_each_index_loop(index: Array, begin: Array, order: Array) -> None:
    """Sort by counting: the rows n with index v are order[begin[v] : begin[v + 1]], n ascending.

    begin (V + 2,) is filled with zeros.
    """
    for n in range(len(index)):
        begin[index[n] + 2] += 1
    for v in range(2, len(begin)):
        begin[v] += begin[v - 1]
    for n in range(len(index)):
        v = index[n]
        order[begin[v + 1]] = n
        begin[v + 1] += 1


def embedding_backward_loop(
    dy: Array, begin: Array, order: Array, dweight: Array, start: int, stop: int
) -> None:
    """One row of the weight after the other: the sum, in float64, of its rows of dy."""
    D = dy.shape[1]
    total = numpy.zeros(D)
    for v in range(start, stop):
        total[:] = 0
        for k in range(begin[v], begin[v + 1]):
            n = order[k]
            for i in range(D):
                total[i] += dy[n, i]
        for i in range(D):
            dweight[v, i] = total[i]


_sort, _sum = Loop(rows_of_each_index_loop), Loop(embedding_backward_loop)


@embedding_backward.cpu
def embedding_backward_cpu(dy: Array, index: Array, count: int) -> Any:
    """The rows of dy are sorted by counting; each is read once."""
    dy = upcast(dy)
    if not fits_a_loop(dy) or index.min() < 0 or index.max() >= count:  # a loop would write anywhere
        return NotImplemented
    begin, order = numpy.zeros(count + 2, numpy.int64), numpy.empty(len(index), numpy.int64)
    _sort(plain(index.astype(numpy.int64, copy=False)), begin, order)
    dweight = numpy.empty((count, dy.shape[1]), dy.dtype)
    run_over_pools(_sum, dy.size, count, plain(dy), begin, order, dweight)
    return dweight


_TILE, _CHUNK, _DIGIT_BITS = 4096, 32, 8  # as in embedding.cu
_ANY_DTYPE = numpy.dtype(numpy.float32)  # for kernels that store integers only


@embedding_backward.cuda
def embedding_backward_cuda(dy: Array, index: Array, count: int) -> Array:
    """A sort by index, then a kernel for the sums and one for runs of equal indices that are long."""
    (N, D), xp = dy.shape, namespace(dy)
    dweight = xp.zeros((count, D), accumulator_dtype(dy))
    if not count:
        return dweight
    dy, index = contiguous(dy, index.astype(numpy.int64, copy=False))
    order = _sorted_positions(index, count)
    chunks = -(-N // _CHUNK)
    pieces = wide_empty(dy, chunks, D)
    shape = teams(D, dy, dweight, pieces, shapes=_COLUMNS)
    slices, numbers = -(-D // (shape.team * shape.vector)), (shape.vector, shape.team)
    blocks = -(-chunks * slices // (256 // shape.team))
    arrays = dy, index, order, dweight, pieces
    _kernels.launch("embedding_backward", dy.dtype, numbers, blocks, 256, (*arrays, N, count, D))
    if chunks > 1:
        blocks = (chunks - 1) * slices
        args = index, order, dweight, pieces, N, count, D
        _kernels.launch("embedding_backward_pieces", dy.dtype, numbers, blocks, 8 * shape.team, args)
    return dweight


def _sorted_positions(index: Array, count: int) -> Array:
    """Return the positions in `index` (N,), sorted by index; equal ones keep their order."""
    xp, N = namespace(index), index.size
    blocks = -(-N // _TILE)
    order = counts = totals = None
    if blocks > 1:
        counts, totals = (xp.empty((1 << _DIGIT_BITS, size), numpy.int64) for size in (blocks, 1))
    for shift in range(0, max((count - 1).bit_length(), 1), _DIGIT_BITS):
        if blocks > 1:
            _launch_sort("count_digits", blocks, 512, index, order, counts, N, count, shift)
            _launch_sort("sum_counts", 32, 256, counts, totals, blocks)
        given, order = order, xp.empty(N, numpy.int64)
        _launch_sort("sort_by_digit", blocks, 512, index, given, counts, totals, order, N, count, shift)
    return order  # type: ignore[return-value]


def _launch_sort(name: str, blocks: int, threads: int, *args: Any) -> None:
    _kernels.launch(name, _ANY_DTYPE, (), blocks, threads, args)


class EmbeddingFunction(Function):
    """y = weight[index] · dweight[v] = Σ dy where index = v, but 0 for the padding row"""

    def forward(self, index: Array, weight: Array, *, padding_idx: int | None) -> Array:
        if index.dtype.kind == "u":
            index = index.astype(numpy.int64)  # NumPy 2.0 does not take rows by uint64
        self.saved = index, weight.shape, padding_idx
        return embedding_forward(weight, index)

    def backward(self, dy: Array) -> Gradients:
        index, (V, D), padding_idx = self.saved
        dweight = embedding_backward(dy.reshape(index.size, D), index.reshape(-1), V)
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Return the rows of `weight` at the indices `input`.

    Args:
        input: integers (...), from 0 to V - 1.
        weight: (V, D).
        padding_idx: the row that gets no gradient; a negative index counts from the end.

    Raises:
        TypeError: if the input is not an integer tensor.
        ValueError: if the weight is not a matrix.
        IndexError: if an index is outside 0 to V - 1, or padding_idx is outside -V to V - 1.
    """
    check_indices(input, "embedding")
    if weight.ndim != 2:
        raise ValueError(f"embedding takes a weight (num_embeddings, dim), got shape {weight.shape}")
    V = weight.shape[0]
    check_range(input, V, f"embedding of {V} rows")
    check_padding(padding_idx, V)
    return EmbeddingFunction.apply(input, weight, padding_idx=padding_idx)


def check_indices(input: Any, name: str) -> None:
    """Raise TypeError unless the input is an integer tensor."""
    if not isinstance(input, Tensor) or input.array.dtype.kind not in "iu":
        kind = input.dtype if isinstance(input, Tensor) else type(input).__name__
        raise TypeError(f"{name} takes indices as an integer tensor, got {kind}: convert it with .long()")


def check_range(input: Tensor, count: int, name: str) -> None:
    """Raise IndexError if an index is outside 0 to count - 1; `name` is what the message calls the table.

    On a GPU, the error is raised when the host next reads an array.
    """
    index = input.array
    message = f"{name} takes indices from 0 to {count - 1}, got {{}}"
    if index.size and backend_of(index).kernels == "cuda":
        check_later(index, count, message)
    elif index.size and not (index.min() >= 0 and index.max() < count):
        raise IndexError(message.format(int(index.min() if index.min() < 0 else index.max())))


def check_padding(padding_idx: int | None, count: int) -> None:
    """Raise IndexError if there is no row `padding_idx` among `count` rows."""
    if padding_idx is not None and not -count <= as_size(padding_idx, "padding_idx", None) < count:
        raise IndexError(f"padding_idx must be a row from {-count} to {count - 1}, got {padding_idx}")


class Embedding(Module):
    """Embedding with a learned weight (num_embeddings, embedding_dim), normal at first, 0 in the padding row.

    Takes integers (...), returns (..., embedding_dim). The row `padding_idx` is never trained. To start from
    a given weight, use `from_pretrained`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        _weight: Tensor | None = None,
        _freeze: bool = False,
    ) -> None:
        super().__init__()
        check_flags(_freeze=_freeze)
        self.num_embeddings = as_size(num_embeddings, "num_embeddings", 0)
        self.embedding_dim = as_size(embedding_dim, "embedding_dim", 0)
        check_padding(padding_idx, num_embeddings)
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if _weight is not None:
            self.weight = Parameter(_weight, not _freeze)
            return
        self.weight = Parameter(numpy.empty((num_embeddings, embedding_dim), numpy.float32), not _freeze)
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None
    ) -> "Embedding":
        """Return a layer whose weight is `embeddings`, in the same memory; with `freeze` it is not trained.

        Args:
            embeddings: (num_embeddings, embedding_dim); its row `padding_idx` is kept as it is.
            freeze: if True, the weight does not require a gradient.
            padding_idx: the row that gets no gradient in any case.

        Raises:
            TypeError: if embeddings is not a floating-point tensor.
            ValueError: if embeddings is not a matrix.
        """
        check_input(embeddings, "from_pretrained")
        if embeddings.ndim != 2:
            raise ValueError(
                f"from_pretrained takes a weight (num_embeddings, dim), got shape {embeddings.shape}"
            )
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx, _weight=embeddings, _freeze=freeze)

    def reset_parameters(self) -> None:
        """Draw new values for the weight; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 (..., num_classes): 1 at each index of `tensor` (...), else 0.

    Args:
        tensor: integers from 0 to num_classes - 1.
        num_classes: the size of the new axis; -1 for the largest index plus 1.

    Raises:
        TypeError: if the tensor does not hold integers, or num_classes is not an int.
        ValueError: if the tensor is empty and num_classes is not given, or num_classes is below 1.
        IndexError: if an index is outside 0 to num_classes - 1.
    """
    check_indices(tensor, "one_hot")
    index = tensor.array
    if num_classes == -1:
        if not index.size:
            raise ValueError(
                "one_hot cannot infer the number of classes from an empty tensor: pass num_classes"
            )
        num_classes = max(int(index.max()), 0) + 1
    check_range(tensor, as_size(num_classes, "num_classes"), f"one_hot of num_classes={num_classes}")
    xp = namespace(index)
    return Tensor._wrap((index[..., None] == xp.arange(num_classes)).astype(numpy.int64))


register(
    name="embedding",
    function=embedding,
    composed=embedding_composed,
    parameters=("weight",),
    cases=(
        Case((integers(5, 7), (5, 3))),
        Case((fixed([[4, 0], [4, 4]]), (5, 2)), {"padding_idx": 1}),
        Case((integers(3, 2, 3), (5, 3)), {"padding_idx": -1}),
        Case((fixed(2), (5, 3))),
        Case((fixed(numpy.zeros((0,), int)), (5, 3))),
    ),
    errors=(
        ErrorCase(lambda: embedding(Tensor([0, 5]), ones(5, 3)), IndexError, "0 to 4, got 5"),
        ErrorCase(lambda: embedding(Tensor([0, -1]), ones(5, 3)), IndexError, "got -1"),
        ErrorCase(lambda: embedding(Tensor([0.0]), ones(5, 3)), TypeError, "integer"),
        ErrorCase(lambda: embedding(Tensor([0]), ones(5)), ValueError, "num_embeddings"),
        ErrorCase(lambda: embedding(Tensor([0]), ones(5, 3), 5), IndexError, "padding_idx"),
        ErrorCase(lambda: Embedding(5, 3, padding_idx=-6), IndexError, "padding_idx"),
        ErrorCase(lambda: Embedding.from_pretrained(ones(5)), ValueError, "num_embeddings"),
        ErrorCase(lambda: Embedding.from_pretrained(ones(5, 3).long()), TypeError, "floating-point"),
    ),
    kind="block",
    title="Embedding",
    torch="torch.nn.functional.embedding",
    bench=(Case((integers(100, 32, 64), (100, 128))),),
)
register(
    name="one_hot",
    function=one_hot,
    composed=None,
    cases=(Case((integers(4, 3, 2),), {"num_classes": 4}), Case((fixed([2, 0]),)), Case((fixed(1),))),
    errors=(
        ErrorCase(lambda: one_hot(Tensor([0, 3]), 3), IndexError, "0 to 2, got 3"),
        ErrorCase(lambda: one_hot(Tensor([-2])), IndexError, "from 0 to 0, got -2"),
        ErrorCase(lambda: one_hot(Tensor([-2, 5])), IndexError, "from 0 to 5, got -2"),
        ErrorCase(lambda: one_hot(Tensor([0]), -2), ValueError, "num_classes must be at least 1"),
        ErrorCase(lambda: one_hot(Tensor([0.0])), TypeError, "integer"),
        ErrorCase(lambda: one_hot(ones(0, dtype=int)), ValueError, "pass num_classes"),
    ),
    kind="primitive",
    torch="torch.nn.functional.one_hot",
)
