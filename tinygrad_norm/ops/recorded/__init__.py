"""Recorded arrays: Tensors with the interface of NumPy's arrays, on which a Function runs and is recorded.

A Function's forward and backward are written for arrays. Given recorded arrays, they make a graph of
primitives: so every gradient here can be differentiated again (autograd/recorded_sweep.py).
"""

from . import numpyfunctions
from .recordedarray import RecordedArray
from .replaying import replay
