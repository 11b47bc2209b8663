"""The picture of a confusion matrix is readable with any number of classes."""

from itertools import pairwise

import numpy
import pytest

from tinygrad_norm.training.evaluation import Evaluation, save_confusion

matplotlib_figure = pytest.importorskip("matplotlib.figure", reason="pictures are drawn with matplotlib")


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Return a function that draws an evaluation with n classes and returns its figure."""
    figures = []
    save = matplotlib_figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib_figure.Figure,
        "savefig",
        lambda figure, *args, **options: (figures.append(figure), save(figure, *args, **options)),
    )

    def draw(n, name="a very long name, number {}"):
        targets = numpy.repeat(numpy.arange(n), 25)
        evaluation = Evaluation("test", {}, targets, targets, tuple(map(name.format, range(n))))
        assert save_confusion(tmp_path / "confusion.png", evaluation)
        return figures[-1]

    return draw


@pytest.mark.parametrize("n", [2, 3, 10, *(pytest.param(n, marks=pytest.mark.slow) for n in (40, 150))])
def test_labels_do_not_overlap_and_the_color_bar_is_as_high_as_the_matrix(draw, n):
    figure = draw(n)
    (axes,) = figure.axes
    (bar,) = axes.child_axes
    matrix, colors = axes.get_window_extent(), bar.get_window_extent()
    assert (colors.y0, colors.y1) == pytest.approx((matrix.y0, matrix.y1))
    across, up = (axis.get_ticklabels() for axis in (axes.xaxis, axes.yaxis))
    assert min(n, 20) <= len(across) <= n
    assert all(len(label.get_text()) <= 16 for label in across)
    left_to_right = [label.get_window_extent() for label in across]
    assert all(first.x1 < second.x0 for first, second in pairwise(left_to_right))
    down = [label.get_window_extent() for label in up]
    assert all(first.y0 > second.y1 for first, second in pairwise(down))
    cell = matrix.width / n
    assert all(text.get_window_extent().width < cell for text in axes.texts)


def test_the_picture_grows_and_the_numbers_shrink(draw):
    figures = [draw(n, "{}") for n in (3, 10, 20)]
    sides = [figure.axes[0].get_window_extent().width for figure in figures]
    assert sides == sorted(sides)
    assert sides[2] > 2 * sides[0]
    sizes = [figure.axes[0].texts[0].get_fontsize() for figure in figures]
    assert sizes[0] == 12
    assert sizes == sorted(sizes, reverse=True)
    assert [label.get_text() for label in figures[0].axes[0].get_xticklabels()] == ["0", "1", "2"]


def test_a_dollar_sign_in_a_name_is_no_formula(draw):
    figure = draw(3, r"$\wrong{} $")
    assert figure.axes[0].get_xticklabels()[1].get_text() == r"$\wrong1 $"
