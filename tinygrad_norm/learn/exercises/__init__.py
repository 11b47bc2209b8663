"""Exercises: backwards to write, from a sigmoid to a fused kernel, checked by gradcheck and the doctor.

Each file `NAME_exercise.py` is complete and right. What the learner gets is made from it (`starttext`):
the lines between `# begin solution` and `# end solution` are left out, and so are `EXERCISE` and private
functions.
"""

NAMES = (
    "sigmoid",
    "linear",
    "softmax_cross_entropy",
    "batch_norm_steps",
    "batch_norm",
    "batch_norm_eval",
    "layer_norm",
    "rms_norm",
    "group_norm",
    "weight_norm",
    "spectral_norm",
    "attention",
    "batch_renorm",
    "planted_softmax",
    "planted_layer_norm",
    "planted_batch_norm",
    "lstm_cell",
    "cuda_row_sum",
    "planted_kernel",
    "cuda_layer_norm",
)
"""The exercises, in the order in which they build on each other."""
