"""Claims that follow from a formula, or hold in the limit: measured to the precision of the arithmetic."""

from . import bias_before_batchnorm
