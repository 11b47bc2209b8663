"""Launches kernels over all elements of arrays of one shape: the Python side of elements.cuh."""

from collections.abc import Callable
from pathlib import Path

from .. import Array, namespace
from .launch import CudaSource, contiguous, packs

_HEADER = str(Path(__file__).with_suffix(".cuh"))


class ElementSource(CudaSource):
    """The kernels of the .cu file beside a Python file, after elements.cuh: `ElementSource(__file__)`."""

    def __init__(self, python_file: str) -> None:
        super().__init__(python_file, _HEADER)

    def each(self, kernel: str, arrays: tuple[Array, ...], *numbers: float) -> Array:
        """Launch a kernel of `arrays` of one shape and dtype; return its result, of that shape and dtype.

        The kernel takes: the arrays, the result, its size and `numbers`.
        """
        first = arrays[0]
        given = contiguous(*(x if x.dtype == first.dtype else x.astype(first.dtype) for x in arrays))
        result = namespace(first).empty_like(given[0])
        vector, blocks = packs(*given, result)
        args = *given, result, first.size, *numbers
        self.launch(kernel, first.dtype, (vector,), blocks, 256, args)
        return result

    def step(self, kernel: str, place: int) -> Callable[..., None]:
        """Return a call that launches a kernel of a time step, with a thread for each of N·H units.

        The call takes the kernel's arrays; that at `place` is (N, H). The kernel takes them, N·H and H.
        """

        def launch(*arrays: Array) -> None:
            units = arrays[place]
            args = *arrays, units.size, units.shape[-1]
            self.launch(kernel, units.dtype, (), -(-units.size // 256), 256, args)

        return launch
