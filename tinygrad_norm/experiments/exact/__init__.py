"""Claims that follow from a formula, or hold in the limit: measured to the precision of the arithmetic."""

# isort: off
from . import bias_before_batchnorm, identity_restored, growing_vectors, power_iteration, bounded_logits
from . import zero_gates, loss_weights, branch_variances, gradient_by_depth
