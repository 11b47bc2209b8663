"""no_grad, enable_grad and set_grad_enabled: whether operations are recorded."""

import pytest
from gradients import leaf

import tinygrad_norm as tn


def test_no_grad_records_nothing_and_enable_grad_records_again():
    x = leaf(3)
    with tn.no_grad():
        assert not (x * 2.0).requires_grad
        with tn.enable_grad():
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @tn.no_grad()
    def f():
        return x * 2.0

    assert not f().requires_grad


def test_modes_decorate_without_parentheses():
    x = leaf(3)

    @tn.no_grad
    def doubled(factor=2.0):
        """Return more."""
        return x * factor

    @tn.enable_grad
    def recorded():
        return x * 2.0

    assert not doubled(factor=3.0).requires_grad
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Return more.")
    assert tn.is_grad_enabled()
    with tn.no_grad():
        assert recorded().requires_grad
        assert not tn.is_grad_enabled()
    with pytest.raises(TypeError, match="no_grad takes a function to decorate, or nothing: got False"):
        tn.no_grad(False)


def test_set_grad_enabled_takes_effect_at_once_and_a_block_undoes_it():
    x = leaf(3)
    tn.set_grad_enabled(False)
    try:
        assert not (x * 2.0).requires_grad
        with tn.set_grad_enabled(True):
            assert (x * 2.0).requires_grad
        assert not tn.is_grad_enabled()
    finally:
        tn.set_grad_enabled(True)
    assert (x * 2.0).requires_grad

    @tn.set_grad_enabled(False)
    def doubled():
        return x * 2.0

    assert tn.is_grad_enabled()
    assert not doubled().requires_grad
