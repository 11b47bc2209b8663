"""The statements of random programs: each adds a line or two to a Machine, as the digits of a number say.

Inputs are kept away from where the two sides differ on purpose (docs/pytorch.md): a root of 0, a standard
deviation of equal numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

from program_choices import (
    SHAPES,
    Digits,
    Shape,
    array_of,
    axes_of,
    axis_of,
    fits_to,
    island,
    leaf,
    pick,
    shape_of,
)
from program_machine import Ended, Machine
from program_registered import registered

# -- values


def a_leaf(m: Machine, d: Digits) -> None:
    leaf(m, d, d.of(SHAPES))


POINTWISE = (
    *(
        "tn.exp",
        "tn.expm1",
        "tn.square",
        "tn.sin",
        "tn.cos",
        "tn.tanh",
        "tn.sigmoid",
        "tn.abs",
        "tn.neg",
        "tn.sign",
    ),
    *(
        "tn.erf",
        "tn.clone",
        "F.relu",
        "F.leaky_relu",
        "F.hardtanh",
        "F.relu6",
        "F.hardswish",
        "F.elu",
        "F.celu",
    ),
    *("F.selu", "F.silu", "F.gelu", "F.mish", "F.softplus", "F.logsigmoid", "F.softsign"),
)
POSITIVE = ("tn.log", "tn.sqrt", "tn.rsqrt", "tn.reciprocal", "tn.log1p")


def pointwise(m: Machine, d: Digits) -> None:
    x, constant = pick(m, d), island(d)
    name = d.of(POINTWISE)
    m.assign(f"{name}({x})", constant) if name != "tn.sign" or (m.values[x] == m.values[x]).all() else None


def of_positive(m: Machine, d: Digits) -> None:
    x = pick(m, d)
    safe = (m.values[x] > 0.05).all() or d.one_in(32)
    m.assign(f"{d.of(POSITIVE)}({x if safe else f'{x} * {x} + 0.5'})")


def binary(m: Machine, d: Digits) -> None:
    x, how, constant = pick(m, d), d.below(13), island(d)
    y = pick(m, d, (lambda name: True) if d.one_in(40) else fits_to(m, shape_of(m, x)), shape_of(m, x))
    if how in (3, 4) and not (abs(m.values[y]) > 0.05).all():
        y = f"({y} * {y} + 0.5)"
    number = d.of((2, 0.5, -1.5, 3))
    forms = (
        f"{x} + {y}",
        f"{x} * {y}",
        f"{x} - {y}",
        f"{x} / {y}",
        f"tn.fmod({x}, {y})",
        f"tn.maximum({x}, {y})",
    )
    further = (
        f"tn.minimum({x}, {y})",
        f"tn.where({x} > {y}, {x}, {y})",
        f"{x} * {number}",
        f"{number} - {x}",
    )
    last = (
        f"{x} ** {d.of((2, 3, 1, 0))}",
        f"tn.where({x} > {y}, {y}, {number})",
        f"{x}.masked_fill({y} > 0.3, 0.7)",
    )
    m.assign((*forms, *further, *last)[how], constant)


REDUCTIONS = (
    "sum",
    "mean",
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "logsumexp",
    "norm",
    "max",
    "min",
    "var_mean",
)


def reduction(m: Machine, d: Digits) -> None:
    name = d.of(REDUCTIONS)
    x = pick(m, d, lambda name: m.values[name].size > 0, (2, 3))
    arguments = axes_of(d, shape_of(m, x))
    if name in ("prod", "max", "min") and "(" in arguments:
        arguments = "dim=-1"
    if name == "logsumexp" and not arguments:
        arguments = "dim=0"
    if name in ("std", "norm"):  # neither of equal numbers, nor of zeros
        x = f"({x} + tn.tensor(numpy.arange({m.values[x].size}.0).reshape({shape_of(m, x)})))"
    m.assign(
        f"{x}.{name}({arguments})" if name != "var_mean" else f"tn.var_mean({x}, {arguments})", island(d)
    )


def along(m: Machine, d: Digits) -> None:
    x = pick(m, d)
    axis = axis_of(d, shape_of(m, x))
    call = d.of(("tn.cumsum({}, {})", "F.softmax({}, {})", "F.log_softmax({}, {})", "F.softmin({}, {})"))
    m.assign(call.format(x, f"dim={axis}"))


def product(m: Machine, d: Digits) -> None:
    x = pick(m, d, lambda name: len(shape_of(m, name)) > 0, (2, 3))
    n = shape_of(m, x)[-1]
    y = pick(m, d, lambda name: len(shape_of(m, name)) == 2 and n in shape_of(m, name), (n, 2))
    y, turned = (y, f"{y}.T") if shape_of(m, y)[:1] == (n,) else (f"{y}.T", y)
    m.assign(
        d.of((f"{x} @ {y}", f"F.linear({x}, {turned})", f'tn.einsum("...i,ij->...j", {x}, {y})')), island(d)
    )


# -- views, parts and joins


def _sizes(d: Digits, n: int) -> Shape:
    """A shape of n elements."""
    if d.one_in(40):
        return (n + 1,)
    parts = [k for k in range(1, n + 1) if n % k == 0] or [1]
    first = d.of(parts)
    if d.one_in(3):
        return (first, -1) if n else (first, n)
    rest = n // first
    second = d.of([k for k in range(1, rest + 1) if rest % k == 0] or [1])
    return d.of(((first, rest), (n,), (first, second, rest // second if rest else 0)))


def view(m: Machine, d: Digits) -> None:
    x = pick(m, d)
    shape = shape_of(m, x)
    a, b = (axis_of(d, shape), axis_of(d, shape)) if shape else (0, 0)
    how = d.below(10)
    if how == 0:
        call = f"reshape({_sizes(d, m.values[x].size)})"
    elif how == 1:
        call = f"transpose({a}, {b})"
    elif how == 2:
        order = list(range(len(shape)))
        call = f"permute({tuple(order.pop(d.below(len(order))) for _ in shape)})"
    elif how == 3:
        call = f"expand({(*((2,) * d.below(2)), *(3 if n == 1 and d.below(2) else n for n in shape))})"
    elif how == 4:
        call = d.of(("squeeze()", f"squeeze({a})"))
    elif how == 5:
        call = f"unsqueeze({a})"
    elif how == 6:
        call = d.of(("flatten()", f"flatten({a})"))
    elif how == 7:
        call = d.of(
            (
                f"flip({(a,)})",
                f"roll({d.below(4)}, {a if m.values[x].size else 0})",
                f"movedim({a}, {b})",
                f"tile({(2, 1)})",
            )
        )
    elif how == 8:
        call = d.of((f"tril({d.below(3) - 1})", f"triu({d.below(3) - 1})", f"narrow({a}, 0, {d.below(3)})"))
    else:
        call = d.of(("detach()", "clone()"))
    m.assign(f"{x}.{call}", island(d))


def parts(m: Machine, d: Digits) -> None:
    x = pick(m, d, lambda name: len(shape_of(m, name)) > 0 and min(shape_of(m, name)) > 0, (4, 2))
    axis = axis_of(d, shape_of(m, x))
    n = shape_of(m, x)[axis] if -len(shape_of(m, x)) <= axis < len(shape_of(m, x)) else 1
    k = d.below(n + 1)
    m.assign(
        f"{x}."
        + d.of(
            (
                f"split({k + 1}, {axis})",
                f"chunk(2, {axis})",
                f"unbind({axis})",
                f"split(({k}, {n - k}), {axis})",
            )
        )
    )


def join(m: Machine, d: Digits) -> None:
    x = pick(m, d, lambda name: shape_of(m, name) != (0,))  # cat ignores these, and whether they require grad
    y = pick(m, d, lambda name: shape_of(m, name) == shape_of(m, x))
    name, axis = d.of(("cat", "stack")), axis_of(d, shape_of(m, x))
    m.assign(f"tn.{name}(({d.of((f'{x}, {y}', f'{y}, {x}, {x}'))}), {axis})", island(d))


def _key(d: Digits, shape: Shape, arrays: bool = True) -> str:
    how = d.below(6) if arrays else 0
    if how == 5:
        rows = [d.below(max(shape[0], 1)) for _ in range(3)] if shape else [0]
        return f"tn.tensor({rows})"
    keys = []
    for i, n in enumerate(shape[: 1 + d.below(3)]):
        a = d.below(n + 1)
        choices = [f"{a}:", ":", str(d.below(n) - n * d.below(2)) if n else ":", f":{a}", "::2"]
        if how == 4 and i == 0:
            choices = [str([d.below(max(n, 1)), 0])]
        keys.append(d.of(choices))
    if d.one_in(6):
        keys.insert(d.below(2), d.of(("None", "...")))
    return ", ".join(keys) or "..."


def index(m: Machine, d: Digits) -> None:
    x = pick(m, d, lambda name: len(shape_of(m, name)) > 0, (2, 3))
    mask = d.one_in(8)
    m.assign(f"{x}[{f'{x} > 0.1' if mask else _key(d, shape_of(m, x))}]", island(d))


# -- writes


def write(m: Machine, d: Digits) -> None:
    """x += y, x.mul_(y), x[key] = y and so on: recorded or not, as docs/pytorch.md says."""
    x = pick(m, d)
    if not m.may_write(x):
        return None
    how, hidden = d.below(8), d.below(2) == 1
    y = d.of(("0.5", "2"))
    if d.below(2):
        y = pick(m, d, fits_to(m, shape_of(m, x)), shape_of(m, x))
    form = d.of(
        {
            0: ("{x} += {y}", "{x} -= {y}", "{x} *= {y}"),
            1: ("{x}[{key}] = {y}",),
            2: ("{x}.clamp_(min=-0.5, max=0.6)",),
            3: ("{x}.add_({y}, alpha=2)",),
            4: ("{x}.copy_({y})",) if y in m.values else ("{x}.fill_({y})", "{x}.zero_()"),
        }.get(how, ("{x}.mul_({y})", "{x}.add_({y})", "{x}.sub_({y})"))
    )
    operand = m.theirs[y] if y in m.values and "{y}" in form else None
    if operand is not None and (y != x or how == 1) and _share(m.theirs[x], operand):
        y = f"{y}.clone()"
    text = form.format(x=x, y=y, key=_key(d, shape_of(m, x)) if how == 1 else "")
    island_text = "with tn.no_grad(): " if hidden else ""
    requires = m.theirs[x].requires_grad or (operand is not None and operand.requires_grad)
    is_leaf = m.theirs[x].is_leaf and m.theirs[x].requires_grad
    overwrites = how == 4 and is_leaf and not (operand is not None and operand.requires_grad)
    rebinds = how == 0 and requires and not is_leaf and not hidden  # then x += y means x = x + y
    if not m.ours[x].array.flags.writeable and not rebinds:
        return m.must_raise(island_text + text)
    if hidden or not requires or (how == 0 and is_leaf):
        done = m.run(island_text + text)
    elif overwrites:
        done = m.run(text, f"with tn.no_grad(): {text}")
    elif how == 0:
        sign = text.split()[1]
        done = m.run(text, text.replace(sign, f"= {x} {sign[0]}", 1))
    else:
        return m.must_raise(text)
    if done:
        m.written.add(m.theirs[x].untyped_storage().data_ptr())
        m.wild.clear()
        m.bind(x, m.ours[x], m.theirs[x])
    return None


def _share(x: Any, y: Any) -> bool:
    return x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


# -- gradients


def hook(m: Machine, d: Digits) -> None:
    x = pick(m, d, m.may_hook)
    what = d.of(("dx * 2", "-dx", "None", "dx * dx", "dx.clamp(-1, 1)"))  # 0 stays 0
    if what != "None":  # PyTorch calls it with None where no gradient came, as from a norm of p=0
        what = f"None if dx is None else {what}"
    if m.run(f"{x}.register_hook(lambda dx: {what})"):
        m.hooked.add(x)


def retain(m: Machine, d: Digits) -> None:
    x = pick(m, d, m.may_hook)
    if m.run(f"{x}.retain_grad()"):
        m.retained.add(x)
        m.hooked.add(x)


def backward(m: Machine, d: Digits) -> None:
    if m.backwards == 3:
        return
    x = pick(m, d)
    shape = shape_of(m, x)
    numbers = array_of(f"numpy.random.default_rng({len(m.lines)})", f"normal(size={shape})", shape)
    how = d.below(4)
    if how == 3:
        m.run(f"{x}.backward(retain_graph=True)") if not m.theirs[x].requires_grad else None
    elif how:
        m.backward(f"({x} * {x}).sum().backward(retain_graph=True)")
    else:
        m.backward(f"{x}.backward(tn.tensor({numbers}), retain_graph=True)")


def reset(m: Machine, d: Digits) -> None:
    found = [x for x in m.names if m.theirs[x].is_leaf and m.theirs[x].grad is not None]
    if found:
        x = d.of(found)
        m.run(d.of((f"{x}.grad = None", f"{x}.grad.zero_()")))


def gradient_of(m: Machine, d: Digits) -> None:
    x = pick(m, d, lambda name: m.theirs[name].requires_grad)
    siblings = m.retained & m.of_several  # PyTorch sets their .grad too if y is one of several
    found = [y for y in m.names if m.may_hook(y) and not (siblings and y in m.of_several)]
    y = pick(m, d, lambda name: m.theirs[name].requires_grad and name in found)
    if m.theirs[x].requires_grad and m.theirs[y].requires_grad and m.backwards < 3:
        m.gradient(f"tn.autograd.grad({x}.sum(), [{y}], retain_graph=True)[0]")


def last_backward(m: Machine) -> None:
    """Differentiate what no other statement used, with the weights 1 or the values themselves."""
    found = [x for x in m.names if m.theirs[x].requires_grad and m.is_tame(x)]
    ends = [x for x in found if x not in m.used and not m.theirs[x].is_leaf] or found[-1:]
    if ends:
        terms = [f"({x} * {x}).sum()" if i % 2 == 0 else f"{x}.sum()" for i, x in enumerate(ends)]
        m.backward(f"({' + '.join(terms)}).backward()")


STATEMENTS: tuple[Callable[[Machine, Digits], None], ...] = (
    *(
        (a_leaf,) * 2
        + (pointwise,) * 4
        + (of_positive,) * 2
        + (binary,) * 8
        + (reduction,) * 4
        + (along,) * 2
    ),
    *(
        (product,) * 2
        + (view,) * 7
        + (parts,) * 3
        + (join,) * 2
        + (index,) * 4
        + (registered,) * 8
        + (write,) * 5
    ),
    *((hook,) * 3 + (retain,) * 2 + (backward,) * 2 + (reset, gradient_of)),
)


def run(m: Machine, statements: Sequence[tuple[int, int]]) -> str:
    """Run a program, given the number of each statement, 0 for none, and its digits; return how it ended."""
    try:
        for number, digits in statements:
            if number:
                STATEMENTS[number - 1](m, Digits(digits))
        last_backward(m)
        m.compare_all()
    except Ended as end:
        return str(end)
    return "compared"
