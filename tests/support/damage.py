"""Damaged files: every way in which a disk, a download or an editor spoils one, seeded."""

import random


def damaged(content, number, times):
    """Return `content`, damaged in a way that depends on `number` only.

    Of `times` numbers, each kind of damage goes over the whole file once.
    """
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    rounds = max(1, times // len(KINDS))
    share = (number // len(KINDS) % rounds + rng.random()) / rounds
    return kind(bytearray(content), min(int(share * len(content)), len(content) - 1), rng)


def flipped(content, place, rng):
    """One bit."""
    content[place] ^= 1 << rng.randrange(8)
    return bytes(content)


def flipped_often(content, place, rng):
    """A bit here, and a few elsewhere."""
    for at in (place, *(rng.randrange(len(content)) for _ in range(rng.randrange(1, 20)))):
        content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


def truncated(content, place, rng):
    """The end is missing."""
    return bytes(content[:place])


def overwritten(content, place, rng):
    """A block of zeros or of random bytes, as from a bad sector."""
    length = min(rng.choice((1, 4, 16, 512)), len(content) - place)
    content[place : place + length] = bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
    return bytes(content)


def shifted(content, place, rng):
    """Bytes were inserted or deleted."""
    count = rng.randrange(1, 9)
    if rng.random() < 0.5:
        return bytes(content[:place]) + rng.randbytes(count) + bytes(content[place:])
    return bytes(content[:place]) + bytes(content[place + count :])


def edited(content, place, rng):
    """A character was typed: a digit, a quote, a bracket, or one that is not UTF-8."""
    content[place] = rng.choice(b"0123456789eE+-.\"',;[]{}: \n\t\0\xe4\xff")
    return bytes(content)


def replaced(content, place, rng):
    """A piece of the file stands a second time at another place."""
    source = rng.randrange(len(content))
    piece = content[source : source + rng.randrange(1, 64)]
    content[place : place + len(piece)] = piece
    return bytes(content)


KINDS = (flipped, truncated, edited, overwritten, flipped_often, shifted, replaced)
