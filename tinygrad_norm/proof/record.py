"""The verdicts that tables show: "proved", or how many digits agree, of every registered op.

    python -m tinygrad_norm.proof.record docs/proof.md

proves all ops anew, counts the digits of those that are not algebraic, writes verdicts.json, and rewrites the
table between the two marker lines of the page. Tests compare the file with proofs made when they run.
"""

import functools
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import replacing
from ..registry import REGISTRY, Op
from .proving import PROVED, prove_op

FILE = Path(__file__).with_name("verdicts.json")
BEGIN = "<!-- not algebraic: made by python -m tinygrad_norm.proof.record docs/proof.md -->"
END = "<!-- end of not algebraic -->"


@dataclass(frozen=True)
class Recorded:
    """What is known of the gradient of an op.

    Attributes:
        proved: whether all its cases were proved, but for large ones, for which no point has all roots.
        because: if not, why: the functions that are not algebraic.
        digits: if not, how many digits agree; None if nothing has a gradient.
    """

    proved: bool
    because: str = ""
    digits: int | None = None

    def __str__(self) -> str:
        if self.proved:
            return "proved"
        return "–" if self.digits is None else f"{self.digits} digits"


def found(op: Op) -> Recorded:
    """Prove an op, or count its digits."""
    from .agreement import digits_of

    proof = prove_op(op)
    if proof.verdict == PROVED and all(skipped.no_point for skipped in proof.skipped):
        return Recorded(proved=True)
    worst = digits_of(op).worst
    because = proof.reason.partition(", at ")[0]  # without the line
    return Recorded(False, because, None if worst is None else int(worst.digits))


@functools.cache
def recorded() -> dict[str, Recorded]:
    """Return what was written, by name of the op."""
    return {name: Recorded(**each) for name, each in json.loads(FILE.read_text(encoding="utf-8")).items()}


def table() -> str:
    """Return the ops that are not algebraic as a Markdown table: why, and how many digits agree."""
    lines = ["| op | because of | digits that agree |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {each.because} | {'–' if each.digits is None else each.digits} |"
        for name, each in recorded().items()
        if not each.proved
    ]
    return "\n".join(lines)


def replace_table(text: str) -> str:
    """Return the text of a page with a new table between the markers.

    Raises:
        ValueError: if a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text needs the marker lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    import tinygrad_norm  # noqa: F401  which registers all ops

    verdicts = {}
    for name, op in sorted(REGISTRY.items()):
        verdicts[name] = found(op)
        print(f"{name}: {verdicts[name]}", flush=True)
    with replacing(FILE) as temporary:
        lines = ",\n".join(f'"{name}": {json.dumps(asdict(each))}' for name, each in verdicts.items())
        temporary.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    page = Path(sys.argv[1])
    text = replace_table(page.read_text(encoding="utf-8"))
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
