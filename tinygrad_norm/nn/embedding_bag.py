"""EmbeddingBag: the sum, mean or largest entries of the rows of a weight, for every bag of indices.

    index (B, L)   weight (V, D)   e = weight[index] (B, L, D)   c (B, L) constants or weights per sample

    sum    y_b = Σ_l c_bl·e_bl      mean   y_b = Σ_l e_bl/n_b      max   y_bd = max_l e_bld

over the l that are not `padding_idx`; n_b is their number, at least 1, and an empty bag gives 0. Bags of
different lengths, one after the other with their `offsets`, become the rows of a matrix, padded.

Backward, with dy (B, D): y is linear in e and in c, and the largest entry passes its gradient on,

    sum    de_bl = c_bl·dy_b    dc_bl = Σ_d dy_bd·e_bld      mean   de_bl = dy_b/n_b
    max    de_bld = dy_bd at the first largest l

and 0 where an index is padding; the rows of dweight add up de, as in embedding.

Insight: with mode sum, y is the product of a sparse matrix of counts (B, V) and the weight.
"""

from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..module import Module, Parameter
from ..ops import bitwise_or, eq, ones, tensor, where
from ..ops.arguments import as_size, check_flags
from ..ops.checks import check_input
from ..registry import Case, ErrorCase, fixed, integers, register
from . import init
from .embedding import check_indices, check_padding, embedding

_MODES = ("sum", "mean", "max")


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    *,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Return, for every bag of indices, the sum, the mean or the maximum of the rows of `weight`.

    Args:
        input: integers (B, L), a bag per row; or (N,), the bags one after the other.
        weight: (V, D).
        offsets: (B,), where each bag begins in an input (N,); the first is 0.
        mode: "sum", "mean" or "max".
        per_sample_weights: of the input's shape, multiplies the rows; for mode "sum".
        include_last_offset: offsets is (B + 1,), and its last entry is the end of the last bag.
        padding_idx: an index that counts as absent; a negative one counts from the end.

    Returns:
        (B, D); 0 for a bag without indices.

    Raises:
        TypeError: if the input or the offsets are not integers.
        ValueError: if a shape, the mode or the offsets do not fit.
        IndexError: if an index is outside 0 to V - 1, or padding_idx is outside -V to V - 1.
    """
    check_indices(input, "embedding_bag")
    check_flags(include_last_offset=include_last_offset)
    _check_mode(mode)
    if weight.ndim != 2:
        raise ValueError(f"embedding_bag takes a weight (num_embeddings, dim), got shape {weight.shape}")
    check_padding(padding_idx, len(weight))
    factors = per_sample_weights
    if factors is not None:
        check_input(factors, "embedding_bag as per_sample_weights")
        if mode != "sum" or factors.shape != input.shape:
            raise ValueError(
                f'per_sample_weights are for mode="sum" and have the input\'s shape {input.shape}, got '
                f"mode={mode!r} and shape {factors.shape}"
            )
    absent = None
    if input.ndim == 1:
        places, absent = _bags(input, offsets, include_last_offset)
        input = input[places] if input.numel() else input.reshape(1, 0)[[0] * len(places)]
        factors = None if factors is None else factors[places]
    elif input.ndim != 2 or offsets is not None:
        raise ValueError(
            f"embedding_bag takes indices (B, L), or (N,) with offsets (B,), got shape {input.shape} and "
            f"{'no offsets' if offsets is None else 'offsets'}"
        )
    if padding_idx is not None:
        padding = eq(input, padding_idx % len(weight))
        absent = padding if absent is None else bitwise_or(absent, padding)
    return _pooled(embedding(input, weight), mode, factors, absent)


def _pooled(e: Tensor, mode: str, factors: Tensor | None, absent: Tensor | None) -> Tensor:
    """Return y (B, D) from e (B, L, D), factors (B, L) and the bools absent (B, L)."""
    if not e.shape[1]:
        return e.sum(1)
    if absent is None:
        if mode == "max":
            return e.max(1)[0]
        return e.mean(1) if mode == "mean" else _weighted(e, factors).sum(1)
    if factors is not None:
        factors = factors.masked_fill(absent, 0)  # the NaN of one bag is not that of another
    absent = absent.unsqueeze(-1)
    count = (1 - absent.to(numpy.float32)).sum(1).to(e.dtype)
    if mode == "max":
        return where(count == 0, 0, e.masked_fill(absent, -numpy.inf).max(1)[0])
    total = _weighted(e.masked_fill(absent, 0), factors).sum(1)
    return total / count.clamp(min=1) if mode == "mean" else total


def _weighted(e: Tensor, factors: Tensor | None) -> Tensor:
    return e if factors is None else e * factors.unsqueeze(-1)


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, Tensor]:
    """Return the places (B, L) of the entries of every bag in the input (N,), and which are absent."""
    N = len(input)
    if offsets is None:
        raise ValueError("embedding_bag of indices (N,) needs offsets, where each bag begins")
    check_indices(offsets, "embedding_bag as offsets")
    begin = offsets.numpy().astype(numpy.int64)
    if begin.ndim != 1 or len(begin) < 1 + include_last or begin[0] != 0:
        raise ValueError(f"offsets of embedding_bag are (B,) and begin with 0, got {offsets.tolist()}")
    if include_last:
        begin, end = begin[:-1], begin[1:]
    else:
        end = numpy.append(begin[1:], N)
    if (end < begin).any() or (end > N).any():
        raise ValueError(
            f"offsets of embedding_bag must not decrease, nor exceed the {N} indices, got {offsets.tolist()}"
        )
    steps = begin[:, None] + numpy.arange(int((end - begin).max(initial=0)))
    beyond = steps >= end[:, None]
    return tensor(numpy.where(beyond, 0, steps)), tensor(beyond)


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise ValueError(f"mode of embedding_bag must be one of 'sum', 'mean', 'max', got {mode!r}")


class EmbeddingBag(Module):
    """embedding_bag as a layer, with a learned weight (num_embeddings, embedding_dim), normal at first.

    Takes integers (B, L), or (N,) with offsets (B,), and returns (B, embedding_dim).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        mode: str = "mean",
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        check_flags(include_last_offset=include_last_offset)
        _check_mode(mode)
        self.num_embeddings = as_size(num_embeddings, "num_embeddings", 0)
        self.embedding_dim = as_size(embedding_dim, "embedding_dim", 0)
        check_padding(padding_idx, num_embeddings)
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.mode, self.include_last_offset = mode, include_last_offset
        if _weight is not None:
            self.weight = Parameter(_weight)
            return
        self.weight = Parameter(numpy.empty((num_embeddings, embedding_dim), numpy.float32))
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> "EmbeddingBag":
        """Return a layer whose weight is `embeddings` (num_embeddings, embedding_dim), in the same memory.

        With `freeze` it is not trained. The options are those of the class.

        Raises:
            TypeError: if embeddings is not a floating-point tensor.
            ValueError: if embeddings is not a matrix.
        """
        check_input(embeddings, "from_pretrained")
        if embeddings.ndim != 2:
            raise ValueError(
                f"from_pretrained takes a weight (num_embeddings, dim), got shape {embeddings.shape}"
            )
        check_flags(freeze=freeze)
        layer = cls(*embeddings.shape, _weight=embeddings, **options)
        layer.weight.requires_grad_(not freeze)
        return layer

    def reset_parameters(self) -> None:
        """Draw new values for the weight; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}{padding}"


_WORDS, _OFFSETS = integers(5, 7), fixed([0, 3, 3, 5])

register(
    name="embedding_bag",
    function=embedding_bag,
    composed=None,
    parameters=("weight",),
    inputs=("input", "weight", "offsets", "per_sample_weights"),
    cases=(
        *(Case((integers(5, 3, 4), (5, 2)), {"mode": mode}) for mode in _MODES),
        *(Case((_WORDS, (5, 2), _OFFSETS), {"mode": mode, "padding_idx": 1}) for mode in _MODES),
        Case((integers(5, 3, 4), (5, 2), None, (3, 4)), {"mode": "sum", "padding_idx": -1}),
        Case((_WORDS, (5, 2), fixed([0, 4, 7]), (7,)), {"mode": "sum", "include_last_offset": True}),
    ),
    errors=(
        ErrorCase(lambda: embedding_bag(ones(2, 3), ones(5, 3)), TypeError, "integer"),
        ErrorCase(lambda: embedding_bag(tensor([0, 1]), ones(5, 3)), ValueError, "needs offsets"),
        ErrorCase(lambda: embedding_bag(tensor([[0, 5]]), ones(5, 3)), IndexError, "0 to 4, got 5"),
        ErrorCase(
            lambda: embedding_bag(tensor([[0]]), ones(5, 3), mode="min"), ValueError, "'max', got 'min'"
        ),
        ErrorCase(
            lambda: embedding_bag(tensor([0, 1]), ones(5, 3), tensor([0, 2, 1])), ValueError, "not decrease"
        ),
        ErrorCase(lambda: embedding_bag(tensor([0, 1]), ones(5, 3), tensor([1])), ValueError, "begin with 0"),
        ErrorCase(
            lambda: embedding_bag(tensor([[0]]), ones(5, 3), per_sample_weights=ones(1, 1)),
            ValueError,
            'mode="sum"',
        ),
    ),
    kind="block",
    title="EmbeddingBag",
    torch="torch.nn.functional.embedding_bag",
)
