"""Random programs: hypothesis draws numbers, which say what each statement of a program is."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from program_machine import Machine
from program_statements import STATEMENTS, run

LONGEST = 30
STATEMENT = st.binary(min_size=8, max_size=8)  # large integers would be small most often
PROGRAMS = st.lists(STATEMENT, min_size=8, max_size=LONGEST)
SILENT: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}


def search(torch: Any, times: int, seed: int | None = None, shrink: bool = True) -> Counter[str]:
    """Compare `times` random programs with PyTorch; return how many ended in which way.

    Raises:
        Finding: with the shortest program that hypothesis finds, if the two sides differ.
    """
    ends: Counter[str] = Counter()

    def one(statements: list[bytes]) -> None:
        numbers = [(s[0] % (len(STATEMENTS) + 1), int.from_bytes(s[1:], "little")) for s in statements]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, such as that of a variance of one number
            ends[run(Machine(torch), numbers)] += 1

    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    test: Callable[[], None] = settings(
        max_examples=times, derandomize=seed is None, phases=phases, **SILENT
    )(given(PROGRAMS)(one))
    (test if seed is None else seeded(seed)(test))()
    return ends
