"""Proofs: is a hand-derived backward exactly the derivative of its formula?

`identity` compares the forms of an op at random points of a field (`field`), on numbers that carry a residue
and a real value (`residues`), and on dual numbers (`duals`) for the derivative. `replay` runs the forms again
on arrays of such numbers (`numberarray`), `points` draws them, and `proving` gives the verdict.
"""

from . import makers as makers  # namespace() of an array of numbers
