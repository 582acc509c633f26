"""An optimiser whose steps turn every singular direction of a weight matrix by the same amount.

The momentum M = U S V' of a matrix is replaced by U V' before it is taken as a step, so that directions of small
gradient, which carry the weak dependences on distant sites, are learned as fast as the strong ones. Jordan et al.
2024, kellerjordan.github.io/posts/muon; U V' comes from five steps of a polynomial in M M', without a decomposition.
Small tensors (biases, embeddings of one value) take Adam's step.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # drives singular values in (0, 1] to within 0.3 of 1 in five steps
MOMENTUM = 0.95
MATRIX_RATE = 4.0  # of the step's singular values, in units of the learning rate
SMALLEST_SIDE = 16


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices and kernels, Adam for all else.

    Args:
        parameters: of the network; kernels (out, in, *box) are matrices (out, everything else).
        lr: of Adam; matrices move by singular values of 4 lr, more for tall ones, sqrt(rows / columns).
        betas: of Adam.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters by their gradients; there is no use for a closure."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    move = _turn if is_matrix(p) else _adam
                    move(p, p.grad, self.state[p], group["lr"], group["betas"])


def is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) >= SMALLEST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V' of matrix = U S V'."""
    a, b, c = POLYNOMIAL
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-30)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def _turn(p: Tensor, grad: Tensor, state: dict[str, Any], lr: float, betas: tuple[float, float]) -> None:
    momentum = state.setdefault("momentum", torch.zeros_like(p)).lerp_(grad, 1 - MOMENTUM)
    ahead = grad.lerp(momentum, MOMENTUM).flatten(1)
    rate = lr * MATRIX_RATE * max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
    p.sub_(orthogonal(ahead).view_as(p), alpha=rate)


def _adam(p: Tensor, grad: Tensor, state: dict[str, Any], lr: float, betas: tuple[float, float]) -> None:
    mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(grad, 1 - betas[0])
    square = state.setdefault("square", torch.zeros_like(p)).lerp_(grad**2, 1 - betas[1])
    state["n"] = n = state.get("n", 0) + 1
    p.sub_(mean / (1 - betas[0] ** n) / ((square / (1 - betas[1] ** n)).sqrt() + 1e-8), alpha=lr)
