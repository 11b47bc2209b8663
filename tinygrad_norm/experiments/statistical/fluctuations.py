"""How far the statistics of each batch are from the running ones of BatchNorm."""

from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor

KINDS = ("mean", "variance")
"""Of the fluctuations: |μ_B - μ|/σ and |σ²_B/σ² - 1|, the mean over the channels."""


class Fluctuations:
    """Watches BatchNorms: how far each batch is from the running statistics, in the mean over channels."""

    def __init__(self, model: nn.Module) -> None:
        self.by_layer: list[list[tuple[float, float]]] = []
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                self.by_layer.append([])
                module.register_forward_pre_hook(self._watch(self.by_layer[-1]))

    def _watch(self, found: list[tuple[float, float]]) -> Any:
        def look(module: Any, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                x = inputs[0].numpy()
                axes = (0, 2, 3) if x.ndim == 4 else (0,)
                running = module.running_var.numpy()
                means = abs(x.mean(axes) - module.running_mean.numpy()) / np.sqrt(running)
                found.append((float(means.mean()), float(abs(x.var(axes) / running - 1).mean())))

        return look

    def figures(self, steps: int) -> dict[str, Any]:
        """Return, for mean and variance, the means over the second half, of all layers and of the first."""
        values = np.array(self.by_layer)  # (layers, steps, 2)
        late = values[:, steps // 2 :].mean(1)
        curve = values.mean(0)[:: max(1, steps // 50)]
        figures: dict[str, Any] = {}
        for k, kind in enumerate(KINDS):
            figures[kind] = float(late[:, k].mean())
            figures[f"{kind}, first layer"] = float(late[0, k])
            figures[f"{kind}, curve"] = [float(f"{one:.3g}") for one in curve[:, k]]
        return figures
