"""Experiments: claims of papers about normalization, each measured, with a verdict by a rule written before.

    tn.experiments.run("bias-before-batchnorm", "results")      # results/bias-before-batchnorm.json and .png
    tn.experiments.report("results").outcomes[0].verdict

`experiment.py` says how to add one.
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
