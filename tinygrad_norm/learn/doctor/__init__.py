"""The doctor: what is wrong with a backward, in the words of the derivation.

`diagnose` first compares the backward with finite differences, and only these decide whether it passes. For a
wrong gradient, the mistakes of a catalogue are tried on the derivation of the function (`catalogue`): the one
whose gradient equals the learner's, at every entry and for random dys, is named. `leaks` and `projection` say
what is left to say where none fits.
"""

from .diagnosis import Diagnosis, Finding, diagnose
