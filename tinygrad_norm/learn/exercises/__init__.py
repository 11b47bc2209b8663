"""Exercises: backwards to write, from a sigmoid to a fused kernel, checked by gradcheck and the doctor.

Each file `NAME_exercise.py` is complete and right. What the learner gets is made from it (`starttext`): the
lines between `# begin solution` and `# end solution` are left out, and so is what follows from `EXERCISE`.
"""

NAMES = (
    "sigmoid",
    "linear",
)
"""The exercises, in the order in which they build on each other."""
