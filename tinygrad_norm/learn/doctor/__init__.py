"""The doctor: what is wrong with a backward, in the words of the derivation.

`diagnose` first compares the backward with finite differences, and only these decide whether it passes. For a
wrong gradient, known mistakes are tried on the derivation of the function: named is the one whose gradient
equals the learner's, at every entry and for random dys.

    diagnosis   the whole way; `findings` is what is said at its end
    subject     what is examined: a Function, a pair, a module
    owninputs   inputs for it, if none are given; `trialinputs` and `roles` draw them
    unchecked   what is not checked, and is listed; what cannot be checked
    fitting     which derivation the forward computes; `catalogue` says what a derivation and a mistake are
    …mistakes   one family each: its derivation as steps, fitted to a forward, and its mistakes. That of the
                normalizations over a pool is several files: poolfit, poolsteps, poolmistakes, wrongpools and
                parametermistakes. `pathmistakes` is for all other registered ops
    leaks, projection   what is left to say where no mistake fits
    targets, verdict    FILE.py:NAME, for the command line
"""

from .diagnosis import diagnose
from .findings import Diagnosis, Finding
