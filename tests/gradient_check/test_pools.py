"""The pools over which a normalization may take its statistics, as the search for mistakes tries them."""

from tinygrad_norm.gradient_check.mistakes.normalization import pools


def axes_of(shape, **options):
    return [(pool.groups, pool.axes) for pool in pools(shape, **options)]


def test_every_choice_of_axes_that_has_enough_entries():
    assert axes_of((3, 2)) == [(1, (0,)), (1, (0, 1))]
    assert axes_of((3, 2), least=2) == [(1, (0,)), (1, (1,)), (1, (0, 1))]
    assert axes_of((3, 2), least=6) == [(1, (0, 1))]
    assert axes_of((2,)) == []
    assert axes_of((5,)) == [(1, (0,))]
    assert axes_of((3, 1, 4)) == [(1, (0,)), (1, (2,)), (1, (0, 2))]


def test_groups_of_channels_are_within_axis_1():
    """The channels of a group are axis 2 of its view, which must be in the pool, and the groups not."""
    grouped = [(groups, axes) for groups, axes in axes_of((2, 6, 3)) if groups > 1]
    assert {groups for groups, _ in grouped} == {2, 3}
    for groups in (2, 3):
        axes = {axes for g, axes in grouped if g == groups}
        expected = {(2,), (0, 2), (2, 3), (0, 2, 3)}
        assert axes == (expected if groups == 2 else expected - {(2,)})  # two channels are too few
    assert axes_of((2, 5)) == [(1, (1,)), (1, (0, 1))]  # 5 channels have no groups
