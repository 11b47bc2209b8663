"""Philox 4x32-10: random numbers that are computed from their places, on any number of threads at once.

A block of four words of 32 bits is a function of a counter c and a key k, both chosen by the caller. Each of
ten rounds mixes the words by two products of 64 bits, whose halves are hi and lo:

    c ← (hi(B·c₂) ^ c₁ ^ k₀, lo(B·c₂), hi(A·c₀) ^ c₃ ^ k₁, lo(A·c₀))      k ← k + (W₀, W₁)

Dropout on a GPU draws its masks so; this is the same in NumPy, with which tests compare the kernel.

Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy

_A, _B = numpy.uint64(0xD2511F53), numpy.uint64(0xCD9E8D57)
_W = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = 0xFFFFFFFF, numpy.uint64(32)


def philox_words(count: int, draw: int, key: int) -> numpy.ndarray:
    """Return `count` words, uint32: word i is word i mod 4 of the block with the counter (i // 4, draw).

    `draw` and `key` have 64 bits; negative numbers stand for those above 2⁶³, as in two's complement.
    """
    block = numpy.arange(-(-count // 4), dtype=numpy.uint64)
    return philox_blocks(block, draw, key).reshape(-1)[:count]


def philox_blocks(block: numpy.ndarray, draw: int, key: int) -> numpy.ndarray:
    """Return the four words, uint32 (..., 4), of each of the blocks `block` (...), uint64."""
    low = numpy.uint64(_LOW)
    c = [block & low, block >> _HALF, *(numpy.full_like(block, word) for word in _halves(draw))]
    k = _halves(key)
    for _ in range(10):
        first, second = _A * c[0], _B * c[2]
        keys = [numpy.uint64(word) for word in k]
        c = [second >> _HALF ^ c[1] ^ keys[0], second & low, first >> _HALF ^ c[3] ^ keys[1], first & low]
        k = [(word + step) & _LOW for word, step in zip(k, _W, strict=True)]
    return numpy.stack(c, -1).astype(numpy.uint32)


def _halves(number: int) -> list[int]:
    return [number & _LOW, number >> 32 & _LOW]
