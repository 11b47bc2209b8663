"""Wrong attempts at the later exercises.

The name, what is replaced in the solution, by what, and what the check then says.
"""

ATTEMPTS = [
    ("weight_norm", "dv = straight + through_n", "dv = straight", "the path through the norm ‖v‖ is dropped"),
    ("weight_norm", "-g * dg * u / n", "-dg * u / n", "g is forgotten in the path through the norm"),
    ("weight_norm", "-g * dg * u / n", "-g * dg * u / n**2", "n⁴ stands where n³ belongs"),
    ("weight_norm", "(dw * u)", "(dw * u * n)", "dg: dg has v where u = v/‖v‖ belongs"),
    (
        "weight_norm",
        "return dv, dg",
        "return dv, dg[:, 0]",
        "dg: its shape is (3,), that of the input (3, 1)",
    ),
    (
        "spectral_norm",
        "dy / sigma + dsigma * np.outer(u, v)",
        "dy / sigma",
        "the path through σ is dropped",
    ),
    ("spectral_norm", "-(dy * weight)", "(dy * weight)", "the sign of the path through σ is wrong"),
    ("spectral_norm", "sigma**2", "sigma", "σ stands where σ² belongs"),
    ("spectral_norm", " * np.outer(u, v)", "", "u·vᵀ is missing"),
    ("spectral_norm", "np.outer(u, v)", "weight", "W stands where u·vᵀ belongs"),
    (
        "attention",
        "p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        "p * dp",
        "softmax's sum term is missing",
    ),
    (
        "attention",
        "p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        "p * (1 - p) * dp",
        "only the diagonal of the softmax's Jacobian is used",
    ),
    (
        "attention",
        "sum(axis=1, keepdims=True))\n    dq",
        "sum(axis=0))\n    dq",
        "over the queries instead of",
    ),
    (
        "attention",
        "p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        "p * (dp - (dp * p).mean(axis=1, keepdims=True))",
        "dq, dk: a mean stands where the softmax's sum belongs",
    ),
    ("attention", "scale * ds @ k", "ds @ k", "dq: 1/√d is forgotten, in dq"),
    ("attention", "scale * ds.T @ q", "2 * scale * ds.T @ q", "dk: it is 2 × the right one"),
    ("attention", "scale * ds.T @ q", "ds.T @ q / scale", "dk: "),
    ("batch_renorm", "weight * r * dy", "weight * dy", "dx: r is forgotten in g"),
    ("batch_renorm", "g - g.mean(axis=0)", "g", "dx: the path through the mean is dropped"),
    ("batch_renorm", " - x_hat * (g * x_hat).mean(axis=0)", "", "the path through the variance is dropped"),
    ("batch_renorm", "dy * (x_hat * r + d)", "dy * x_hat * r", "d is forgotten in dw: w multiplies it too"),
    ("batch_renorm", "dx, None, None", "dx, dbias, dbias", "running statistics"),
    (
        "lstm_cell",
        "dc_next + dh_next * o * (1 - tanh_c**2)",
        "dc_next",
        "dx, dh, dc, dw_ih, dw_hh, db: the path through h⁺ to c⁺ is dropped",
    ),
    ("lstm_cell", "df * f * (1 - f)", "df * f", "1 - f is forgotten"),
    ("lstm_cell", "dg * (1 - g**2)", "dg * g * (1 - g)", "the derivative of σ stands where that of tanh"),
    ("lstm_cell", "dc_next * f\n", "dc_next * i\n", "dc: i stands where f belongs"),
    ("lstm_cell", "[da_i, da_f, da_g, da_o]", "[da_f, da_i, da_g, da_o]", "da_i and da_f are exchanged"),
    ("lstm_cell", "da.T @ x", "x.T @ da", "dw_ih: its shape is (4, 8), that of the input (8, 4): transpose"),
]
KERNEL_ATTEMPTS = [
    ("cuda_row_sum", "  __syncthreads();\n  if", "  if", "race on __shared__ of_warp"),
    ("cuda_row_sum", "float sum = 0;", "float sum;", "sum has no value when it is first added to"),
    ("cuda_row_sum", "  __syncthreads();\n  if", "  if (t < 32) __syncthreads();\n  if", "divergent barrier"),
    ("cuda_row_sum", "if (t == 0) y[n]", "y[n]", "let one thread write it, or"),
    ("cuda_row_sum", "i < D", "i <= D", "out of bounds: thread (5, 0, 0)"),
    (
        "cuda_row_sum",
        "float sum = 0;",
        "float sum = 0; if (t >= D) return;",
        "lane 5 of its warp has returned",
    ),
    ("cuda_row_sum", " + of_warp[3]", "", "y[0] is"),
    ("cuda_layer_norm", "g - mean_g -", "g -", "dx: the path through the mean is dropped"),
    ("cuda_layer_norm", "sum_g += g", "sum_g += dy[i]", "dx: the weight is forgotten in the mean of g"),
    ("cuda_layer_norm", "dx[i] = r", "dx[i + 1] = r", "the kernel has an error: layer_norm_backward: out of"),
    ("cuda_layer_norm", "sum_of_warp(sum_gx)", "sum_gx", "dx: Σ g·x̂ is the sum of single lanes"),
    ("cuda_layer_norm", "sum_of_warp(sum_g) / D", "sum_of_warp(sum_g)", "Σ g stands where mean(g) belongs"),
]
"""The same for those that run kernels."""
