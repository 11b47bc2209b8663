"""tinygrad_norm: normalization layers from scratch, forward and backward."""
