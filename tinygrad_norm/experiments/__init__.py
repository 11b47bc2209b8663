"""Experiments: claims of papers about normalization, each measured, with a verdict by a rule written before.

    tn.experiments.run("bias-before-batchnorm", "results")      # results/bias-before-batchnorm.json and .png
    tn.experiments.report("results").outcomes[0].verdict

`experiment.py` says how to add one. In a script of your own, `tn.experiments.register(...)` makes one for
`run`, also on several processes (`workers=4`) and on a Dask cluster (`dask="tcp://10.0.0.1:8786"`).
"""

# isort: off
from .experiment import EXPERIMENTS, Experiment, Row, Tuning, find, register
from .experiment_results import Results
from .verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread
from .experimenting import Outcome, run
from .reporting import Report, report
from .result_page import markdown
from .result_plot import save_plot

from . import exact, statistical
