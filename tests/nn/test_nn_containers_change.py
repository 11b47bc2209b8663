"""Containers that change: pop, insert, +, *, as in PyTorch."""

import operator
from collections import OrderedDict

import pytest

from tinygrad_norm import nn

CHANGES = {
    "pop": lambda m, s: (s.pop(1), s)[1],
    "pop the last": lambda m, s: (s.pop(-1), s)[1],
    "append": lambda m, s: s.append(m.Tanh()),
    "extend": lambda m, s: s.extend([m.Tanh(), m.ReLU()]),
    "delete": lambda m, s: (s.__delitem__(0), s)[1],
    "add": lambda m, s: s + type(s)(*([m.Tanh()] if type(s) is m.Sequential else [[m.Tanh()]])),
    "add to itself": lambda m, s: s + s,
}
ONLY_SEQUENTIAL = {
    "insert": lambda m, s: s.insert(1, m.Tanh()),
    "insert in front": lambda m, s: s.insert(-2, m.Tanh()),
    "multiply": lambda m, s: s * 2,
    "multiply from the left": lambda m, s: 3 * s,
}


def names(sequence):
    return [(name, type(module).__name__) for name, module in sequence.named_children()], len(sequence)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("kind", ["Sequential", "named", "ModuleList"])
def test_changes_are_pytorchs(torch, change, kind):
    results = []
    for m in (nn, torch.nn):
        modules = [m.Linear(2, 2), m.ReLU(), m.Sigmoid()]
        if kind == "named":
            start = m.Sequential(OrderedDict(zip("abc", modules, strict=True)))
        else:
            start = m.Sequential(*modules) if kind == "Sequential" else m.ModuleList(modules)
        result = change(m, start)
        assert type(result).__name__ == type(start).__name__
        results.append((names(result), names(start)))
    assert results[0] == results[1]


@pytest.mark.parametrize("change", ONLY_SEQUENTIAL.values(), ids=ONLY_SEQUENTIAL.keys())
def test_changes_of_a_sequential_are_pytorchs(torch, change):
    mine, theirs = (change(m, m.Sequential(m.Linear(2, 2), m.ReLU())) for m in (nn, torch.nn))
    assert [type(x).__name__ for x in mine] == [type(x).__name__ for x in theirs]
    assert len(list(mine.parameters())) == len(list(theirs.parameters())) == 2


def test_in_place_operators_keep_the_container():
    first = sequence = nn.Sequential(nn.ReLU())
    sequence += nn.Sequential(nn.Tanh())
    sequence *= 2
    assert sequence is first
    assert [type(x).__name__ for x in sequence] == ["ReLU", "Tanh", "ReLU", "Tanh"]
    same = modules = nn.ModuleList([nn.ReLU()])
    modules += [nn.Tanh()]
    modules += modules
    assert modules is same
    assert [type(x).__name__ for x in modules] == ["ReLU", "Tanh", "ReLU", "Tanh"]
    assert [type(x).__name__ for x in modules.pop(slice(1, 3))] == ["Tanh", "ReLU"]
    assert len(modules) == 2


def test_a_dict_loses_entries():
    layer = nn.Linear(2, 2)
    modules = nn.ModuleDict({"a": layer, "b": nn.ReLU()})
    assert modules.pop("a") is layer
    assert list(modules) == ["b"]
    with pytest.raises(KeyError, match="a"):
        modules.pop("a")
    modules.clear()
    assert len(modules) == 0


ERRORS = {
    "pop beyond": (lambda s: s.pop(2), IndexError, "index 2 is out of range for Sequential of 2 modules"),
    "add a layer": (lambda s: s + nn.ReLU(), TypeError, "unsupported operand"),
    "add a list": (lambda s: operator.add(s, [nn.ReLU()]), TypeError, "unsupported operand"),
    "multiply by a float": (lambda s: s * 1.5, TypeError, "unsupported operand"),
    "multiply by a bool": (lambda s: s * True, TypeError, "unsupported operand"),
    "multiply by 0": (lambda s: 0 * s, ValueError, "can be repeated once or more, got 0"),
    "a number in a list": (lambda s: operator.add(nn.ModuleList(s), [3]), TypeError, "holds Modules, got 3"),
}


@pytest.mark.parametrize(("change", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_what_cannot_be_done(change, error, message):
    with pytest.raises(error, match=message):
        change(nn.Sequential(nn.ReLU(), nn.Tanh()))
