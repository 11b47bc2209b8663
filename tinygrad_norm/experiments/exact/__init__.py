"""Claims that follow from a formula, or hold in the limit: measured to the precision of the arithmetic."""

from . import (
    bias_before_batchnorm,
    bounded_logits,
    branch_variances,
    gradient_by_depth,
    growing_vectors,
    identity_restored,
    loss_weights,
    power_iteration,
    zero_gates,
)
