"""A forward and a backward from their text, with a mistake planted in the backward."""

import numpy as np


def pair(source, old="", new=""):
    """Return forward and backward; `old` in the text of backward is replaced by `new`, once."""
    head, tail = source.split("def backward")
    assert old in tail, old
    names = {"np": np}
    exec(head + "def backward" + tail.replace(old, new, 1), names)
    return names["forward"], names["backward"]
