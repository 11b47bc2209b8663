"""The registry: what an op says of itself, and which registrations raise."""

import pytest

from tinygrad_norm.registry import REGISTRY, Case, Op, register


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("batch_norm", "batch"),
        ("layer_norm", "sample"),
        ("normalize", "vector"),
        ("weight_norm", "weight"),
        ("linear", "block"),
        ("softmax", "function"),
        ("exp", "primitive"),
        ("cross_entropy", "loss"),
    ],
)
def test_a_normalization_has_its_folder_as_family_every_other_op_its_kind(name, family):
    assert REGISTRY[name].family == family


def test_the_family_of_a_function_of_other_modules_is_the_kind():
    for function in (len, test_the_family_of_a_function_of_other_modules_is_the_kind, Case(()).draw):
        assert Op("name", function, None, (Case(()),), kind="normalization").family == "normalization"


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="an op named 'layer_norm' is already registered"):
        register(name="layer_norm", function=abs, composed=None, cases=(Case(((2,),)),))


def test_an_op_needs_a_case():
    with pytest.raises(ValueError, match="op 'new' needs at least one case"):
        register(name="new", function=abs, composed=None, cases=())
    assert "new" not in REGISTRY
