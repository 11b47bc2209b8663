"""The page of the experiments shows the plot of each, drawn from its figures before the build."""

from pathlib import Path

from sphinx.application import Sphinx

from tinygrad_norm import experiments

PAGE = "experiments/README"


def draw(app: Sphinx) -> None:
    """Draw the plots of experiments whose figures are newer than their picture."""
    for one in experiments.report(Path(app.srcdir, "experiments")).outcomes:
        figures = one.plot.with_suffix(".json")
        if not one.plot.exists() or one.plot.stat().st_mtime < figures.stat().st_mtime:
            experiments.save_plot(one.plot, one.experiment, one.results, one.record)


def show(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the committed page, which has no pictures, with the same page with them."""
    if docname == PAGE:
        folder = Path(app.srcdir, "experiments")
        source[0] = experiments.markdown(experiments.report(folder), folder)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", draw)
    app.connect("source-read", show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
