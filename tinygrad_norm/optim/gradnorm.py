"""GradNorm: weights of the losses of several tasks, so that the tasks of one network learn at similar rates.

    L = Σ w_i·L_i   T tasks   W the parameters of the last layer that all tasks share

    g_i = ‖∇_W L_i‖      G_i = ‖∇_W (w_i·L_i)‖ = w_i·g_i      Ḡ = mean(G)
    q_i = L_i/L_i(0)     r_i = q_i/mean(q)                    how far task i has come: r_i > 1 is behind
    t_i = Ḡ·r_i^α        the target, a constant               L_grad = Σ |G_i - t_i|

A step of gradient descent on L_grad moves the weights, and then they are scaled so that Σ w_i = T.

Chen, Badrinarayanan, Lee, Rabinovich 2018, arXiv:1711.02257.

Derivation: ∇_W (w_i·L_i) = w_i·∇_W L_i, so for w_i > 0 its length is linear in w_i, and no gradient of a
gradient is needed. As G_i is the only part of L_grad that moves with w_i (t_i is a constant, Ḡ in it too),

    dL_grad/dw_i = sign(G_i - t_i)·∂G_i/∂w_i = sign(G_i - t_i)·g_i

In the code, the step is taken in s_i = log w_i, with dL_grad/ds_i = w_i·dL_grad/dw_i = sign(G_i - t_i)·G_i.
It has the same sign, and is 0 in the same place. But weights stay positive, and a step of Adam, about lr in
every s_i, changes every w_i by the same fraction, be it 100 or 0.01. To scale all w_i, one number is
subtracted from all s_i.

α says how strongly a task that is behind gets a longer gradient; with α = 0 all G_i become equal.

Insight: the units of a loss say nothing about how much it matters, but with fixed weights they decide who
moves the shared layers. All G_i are in one unit, that of W's gradient: there the tasks can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import host_can_read, namespace, to_device
from ..backends.cpu.silence import silent
from ..normalization.gradient.clipping import get_total_norm
from ..ops import stack
from ..ops.arguments import as_number, as_size
from .adam import Adam
from .parameter_groups import as_parameters


class GradNorm:
    """Weights w (T,) of the losses of T tasks, all 1 at first; they always sum to T.

    In place of `sum(losses).backward()`:

        optimizer.zero_grad()
        balance.backward(losses)  # the gradients of Σ w_i·L_i
        optimizer.step()
        balance.step()  # moves the weights

    Args:
        params: W, tensors that all tasks share: usually the weight of the last shared layer.
        num_tasks: T.
        lr: the step of Adam in log w, about the largest fraction by which a weight changes per step.
        alpha: how strongly a task that is behind is preferred, at least 0.

    Each task has a backward pass of its own through the whole network. The values of the losses at the first
    `backward` are the L_i(0) that progress is measured by: these must be positive, later ones at least 0.

    Raises:
        TypeError: if params are not tensors, or a number is not one.
        ValueError: if there are no params, num_tasks is below 1, lr is not positive, or alpha is negative.

    Source: Chen, Badrinarayanan, Lee, Rabinovich 2018, arXiv:1711.02257.
    """

    def __init__(self, params: Any, num_tasks: int, lr: float = 0.025, alpha: float = 1.5) -> None:
        if not 0 <= as_number(alpha, "alpha") < math.inf:
            raise ValueError(f"alpha must be a number of at least 0, got {alpha}")
        self.params, self.alpha = as_parameters(params), alpha
        if not self.params:
            raise ValueError("GradNorm needs the parameters that all tasks share, got none")
        self._check_params()
        if not as_number(lr, "lr") > 0:
            raise ValueError(f"lr must be a positive number, got {lr}")
        first, T = self.params[0], as_size(num_tasks, "num_tasks")
        zeros = to_device(numpy.zeros(T, first.dtype), first.device)
        self.log_weights = Tensor._wrap(zeros)
        self.log_weights.requires_grad = True
        self.optimizer = Adam([self.log_weights], lr)
        self.initial_losses: Tensor | None = None
        self.norms: Tensor | None = None
        self._gradient: Any = None

    def _check_params(self) -> None:
        if not all(p.requires_grad for p in self.params):
            raise ValueError("GradNorm compares gradients of its params, but one has requires_grad=False")

    @property
    def weights(self) -> Tensor:
        """w (T,), a constant."""
        return self.log_weights.detach().exp()

    def backward(self, losses: Tensor | Sequence[Tensor]) -> Tensor:
        """Add the gradients of Σ w_i·L_i to those of all parameters; return this sum, a constant.

        Afterwards `norms` are the G_i (T,).

        Args:
            losses: T scalar tensors, or one tensor (T,).

        Raises:
            TypeError: if losses are not tensors.
            ValueError: if they are not T scalars, a value is negative or, at first, 0 (not checked on a GPU:
                there such a task counts as not yet started), a parameter of W is frozen, or no loss
                depends on W.
        """
        losses = self._listed(losses)
        self._check_params()
        values = stack([loss.detach() for loss in losses])
        self._check(values)
        weights, norms, reached = self.weights, [], False
        for i, loss in enumerate(losses):
            before = [p.grad for p in self.params]
            for p in self.params:
                p.grad = None
            try:
                loss.backward(weights[i], retain_graph=i + 1 < len(losses))
                grads = [p.grad for p in self.params if p.grad is not None]
                norms.append(get_total_norm(grads))
                reached = reached or bool(grads)
            finally:
                self._add(before)
        if not reached:
            raise ValueError(
                "no loss depends on the params of GradNorm: pass parameters that all tasks share"
            )
        if self.initial_losses is None:
            self.initial_losses = values
        self.norms = stack(norms).to(weights.device)
        self._gradient = self._gradient_of_norms(values)
        return (weights * values).sum()

    def _check(self, values: Tensor) -> None:
        if not host_can_read(values.array):
            return
        if self.initial_losses is None and not ((values.array > 0) & (values.array < math.inf)).all():
            raise ValueError(f"the first losses must be positive and finite, got {values.tolist()}")
        if (values.array < 0).any():
            raise ValueError(f"losses must be at least 0, got {values.tolist()}")

    def _add(self, before: Sequence[Tensor | None]) -> None:
        for p, old in zip(self.params, before, strict=True):
            if p.grad is None:
                p.grad = old
            elif old is not None:
                p.grad.copy_(p.grad.array + old.array)

    def _gradient_of_norms(self, values: Tensor) -> Any:
        """Return dL_grad/ds = sign(G - t)·G."""
        assert self.norms is not None
        assert self.initial_losses is not None
        G, L, L0 = self.norms.array, values.array, self.initial_losses.array
        xp = namespace(G)
        with silent():
            q = xp.where(L0 > 0, xp.maximum(L, 0) / L0, 1)
            mean = q.mean()
            t = G.mean() * xp.where(mean == 0, 1, q / mean) ** self.alpha
            return xp.sign(G - t) * G

    @no_grad()
    def step(self) -> None:
        """Move the weights by one step, from the gradients that the last `backward` found.

        Raises:
            RuntimeError: if there was no `backward` since the last step.
        """
        if self._gradient is None:
            raise RuntimeError("there are no gradient norms yet: call backward(losses) before each step")
        s = self.log_weights
        s.grad, self._gradient = Tensor._wrap(self._gradient.astype(s.dtype)), None
        self.optimizer.step()
        w = s.exp()
        s.copy_(s - w.mean().log())

    def _listed(self, losses: Any) -> list[Tensor]:
        T = self.log_weights.shape[0]
        if isinstance(losses, Tensor) and losses.ndim == 1:
            losses = [losses[i] for i in range(len(losses))]
        if not isinstance(losses, list | tuple):
            raise TypeError(f"expected a list of {T} losses, got {type(losses).__name__}")
        for loss in losses:
            if not isinstance(loss, Tensor):
                raise TypeError(f"a loss must be a tensor, got {type(loss).__name__}")
        shapes = [loss.shape for loss in losses]
        if shapes != [()] * T:
            raise ValueError(f"expected {T} losses, each a scalar, got shapes {shapes}")
        return list(losses)

    # -- state

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the weights, the first losses, and the state of the weights' own optimizer."""
        first = self.initial_losses
        return {
            "log_weights": Tensor._wrap(self.log_weights.array.copy()),
            "initial_losses": None if first is None else Tensor._wrap(first.array.copy()),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is the state of another number of tasks.
        """
        saved = state_dict["log_weights"]
        if saved.shape != self.log_weights.shape:
            raise ValueError(
                f"the state is of {saved.shape[0]} tasks, not of {self.log_weights.shape[0]}: make a "
                "GradNorm with the same num_tasks"
            )
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.log_weights.copy_(saved)
        first = state_dict["initial_losses"]
        if first is not None:
            first = Tensor._wrap(first.to(self.log_weights.device).array.copy())
        self.initial_losses = first

    def __repr__(self) -> str:
        return f"GradNorm(num_tasks={self.log_weights.shape[0]}, alpha={self.alpha})"
