"""Group advantages: how much better an answer is than the other answers to the same question.

    R (..., G) rewards of G answers   m = mean(R)   s = √(Σ(R - m)²/(G - 1))
    GRPO: A = (R - m)/(s + eps)      Dr. GRPO: A = R - m

They weigh the gradients of log-probabilities in a policy gradient, and are constants there.

Shao et al. 2024, arXiv:2402.03300 (GRPO); Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).

The first is the standard score of normalization/sample/standardscore.py. Dividing by s makes a question
count the more, the less its answers differ: one that is nearly always, or nearly never, answered right has a
small s.
"""

from ...autograd.tensor import Tensor
from ...normalization import standard_score
from ...ops.arguments import check_flags
from ...ops.checks import check_input


def group_advantages(rewards: Tensor, scale: bool = True, eps: float = 1e-4) -> Tensor:
    """Return rewards minus their mean along the last axis, over their deviation; without a gradient.

    Args:
        rewards: (..., G), the rewards of G answers to one question in each row.
        scale: whether to divide by the unbiased standard deviation plus eps, as GRPO does; Dr. GRPO does not.
        eps: added to the deviation, in units of the rewards.

    Raises:
        TypeError: if the rewards are not a floating-point tensor, or `scale` is not a bool.
        ValueError: if `scale` is given for groups of one, or if eps is not positive.

    Source: Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025, arXiv:2503.20783.
    """
    check_input(rewards, "group_advantages")
    check_flags(scale=scale)
    fixed = rewards.detach()
    return standard_score(fixed, eps) if scale else fixed - fixed.mean(-1, keepdim=True)
