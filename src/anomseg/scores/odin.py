"""Input perturbation (Liang, Li and Srikant, Enhancing the reliability of out-of-distribution detection, ICLR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.scores.logits import msp


def odin_perturb(images: Tensor, logits: Tensor, epsilon: float = 1e-4, temperature: float = 3.0) -> Tensor:
    """Move images a step towards what the network already believes (equation 2 of the paper).

    ``x - epsilon * sign(grad_x sum(-ln max_c p_c(x; T)))``: down the negative log-probability of the predicted class,
    with the temperature inside the gradient. Confidence rises more on what the network was trained on than on
    anything else. In images of several pixels to predict, the loss is the sum over them.

    Args:
        images: ``(B, 3, h, w)`` float, requiring gradients.
        logits: ``(B, C, *S)`` float, computed from ``images`` with the graph kept.
        epsilon: Length of the step, in the images' own units.
        temperature: T > 0.

    Returns:
        The perturbed images, detached, not clamped to any range. Nothing but ``images`` was differentiated, so no
        parameter gathers a gradient.

    Raises:
        CompatibilityError: The logits do not depend on the images through a graph.

    Example:
        >>> x = torch.tensor([[1.0, 0.0]], requires_grad=True)
        >>> odin_perturb(x, 2 * x, epsilon=0.25)
        tensor([[ 1.2500, -0.2500]])
    """
    if not logits.requires_grad:
        raise CompatibilityError("these logits carry no gradient with respect to the images; compute them with grad")
    with torch.enable_grad():
        log_p = (logits.float() / temperature).log_softmax(1)
        loss = -log_p.amax(1).sum()
    (gradient,) = torch.autograd.grad(loss, images)
    return images.detach() - epsilon * gradient.sign()


def odin_score(logits: Tensor, temperature: float = 3.0, *, check: bool = True) -> Tensor:
    """One minus the largest softmax probability at a temperature, of logits on the perturbed images.

    Args:
        logits: ``(B, C, *S)`` float.
        temperature: T > 0.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)`` in [0, 1 - 1/C].

    Example:
        >>> round(odin_score(torch.tensor([[2.0, 1.0, 0.0]]), temperature=1.0).item(), 4)
        0.3348
    """
    return msp(logits / temperature, check=check)
