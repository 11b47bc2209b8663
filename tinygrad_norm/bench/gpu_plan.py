"""Which cases the GPU benchmark measures, in which order, and how long they may take.

A quick run is a first look at a GPU: it measures every second size, lets PyTorch's compiler, which takes
seconds for a size, compile only one size of each op, and ends after `QUICK_SECONDS` and one more case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..registry import Case
from .gpu_ops import SUBJECTS

QUICK_SECONDS = 300.0
"""Loading the programs and measuring the last case come on top: less than a minute."""


@dataclass(frozen=True)
class Planned:
    """One case to measure; `compiled` says whether PyTorch's compiler takes part."""

    name: str
    case: Case
    compiled: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.case}"


def planned(names: Sequence[str], quick: bool = False) -> list[Planned]:
    """Return the cases of the named subjects, or of all."""
    plan = []
    for name in names or SUBJECTS:
        cases = SUBJECTS[name].cases
        chosen = (cases[1::2] or cases) if quick else cases
        plan += [Planned(name, case, compiled=not quick or k == 0) for k, case in enumerate(chosen)]
    return plan
