"""What the doctor does not check: constants, integers, numbers; and inputs that it cannot check.

Only an unmistakable name, such as running_mean, or a derivation that fits makes an input a constant, and the
verdict lists it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import to_numpy
from ...gradient_check.jacobian import JacobianPair
from ...gradient_check.registered import NUMERIC_TOLERANCE
from .catalogue import Derivation
from .roles import is_constant, role_of
from .subject import Subject

MOST = 1000
"""How many numbers the checked inputs and y may have each; more of one if fewer of the other, up to 4 times.

The time grows with their product.
"""


def require_inputs(subject: Subject, arguments: Sequence[Any]) -> None:
    """Check that there is something to differentiate, and that it can be moved.

    Raises:
        ValueError: if no argument or parameter requires a gradient, or one that does is not finite.
    """
    checked = {i: x for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad}
    if not checked and not any(p.requires_grad for _, p in subject.named_parameters()):
        raise ValueError(
            f"no input of {subject.name} can be checked: pass at least one array of floating-point numbers"
        )
    for i, x in checked.items():
        array = to_numpy(x.array)
        wrong = numpy.argwhere(~numpy.isfinite(array))
        if len(wrong):
            place = tuple(map(int, wrong[0]))
            raise ValueError(f"{subject.label(i)} is {array[place]} at {place}: choose finite inputs")


def require_checkable(subject: Subject, arguments: Sequence[Any], size: int) -> None:
    """Check that the inputs and y are not empty, and not too large; y has `size` numbers.

    Raises:
        ValueError: if y or every checked input is empty, or they are too large.
    """
    sizes = [x.numel() for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    sizes += [p.numel() for _, p in subject.named_parameters() if p.requires_grad]
    shapes = ", ".join(
        f"{subject.label(i)} {x.shape}" for i, x in enumerate(arguments) if isinstance(x, Tensor)
    )
    if not size or not any(sizes):
        what = "y" if not size else "every input to check"
        raise ValueError(f"{what} is empty, with {shapes}: pass inputs that are not")
    if sum(sizes) * max(size, MOST / 4) > MOST**2:
        smaller = "inputs" if subject.module is None else "inputs, or a smaller module"
        raise ValueError(
            f"the checked inputs have {sum(sizes)} numbers and y has {size}, with {shapes}; every number "
            "of y is compared for every number of the inputs, so they may have "
            f"{MOST} each: pass smaller {smaller}"
        )


def without_constants(
    subject: Subject, pairs: list[JacobianPair], derivation: Derivation | None
) -> tuple[list[JacobianPair], set[int]]:
    """Return the Jacobians to judge, and the inputs that the derivation takes for constants.

    Such an input is judged if backward gives it the right gradient; a wrong one is noted in
    `subject.through_constants`.
    """
    skipped: set[int] = set()
    for i in constants(subject, derivation, {p.input for p in pairs if isinstance(p.input, int)}):
        own = [pair for pair in pairs if pair.input == i]
        if not any(pair.analytic.any() for pair in own):
            skipped.add(i)
        elif any(pair.wrong(0.0, NUMERIC_TOLERANCE).any() for pair in own):
            skipped.add(i)
            subject.through_constants.add(i)
    return [pair for pair in pairs if pair.input not in skipped], skipped


def constants(subject: Subject, derivation: Derivation | None, inputs: Iterable[int]) -> set[int]:
    """Return which of these inputs the derivation takes for constants."""
    if derivation is None or not _has_constants(derivation):
        return set()
    return {i for i in inputs if subject.label(i) not in derivation.gradients}


def _has_constants(derivation: Derivation) -> bool:
    return derivation.op in ("spectral_norm", "batch_renorm") or "running_mean" in derivation.given


def not_checked(subject: Subject, arguments: Sequence[Any], skipped: set[int]) -> tuple[str, ...]:
    """Return the arrays that were not checked, each with the reason."""
    found = []
    for i, x in enumerate(arguments):
        name = subject.label(i)
        if not isinstance(x, Tensor) or (x.requires_grad and i not in skipped):
            continue
        if not x.is_floating_point():
            reason = "integers"
        else:
            reason = "a constant" if i in skipped or is_constant(name) else "does not require grad"
        found.append(f"{name} ({reason})")
    return tuple(found)


def number_warnings(subject: Subject, arguments: Sequence[Any]) -> Iterator[str]:
    """Yield a warning for each argument that was given as a number, though it could be an array."""
    for i, x in enumerate(arguments):
        if isinstance(x, bool) or not isinstance(x, int | float):
            continue
        name = subject.label(i)
        if i in subject.numbers or (role_of(name) and _may_be_array(subject, arguments, i)):
            yield f"d{name} was not checked, because {name} is the number {x:g}: pass it as an array"


def _may_be_array(subject: Subject, arguments: Sequence[Any], i: int) -> bool:
    changed = list(arguments)
    changed[i] = Tensor(float(arguments[i]))
    try:
        subject.output(changed)
    except ValueError:
        return False
    return True
