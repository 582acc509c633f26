"""Muon, an optimiser that needs fewer steps than Adam, most of all on small batches with a teacher."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices and kernels, Adam for all else (Jordan et al. 2024).

    The momentum M = U S V' of a matrix is replaced by U V' before it is taken as a step, so that directions of small
    gradient, which carry the weak dependences on distant sites, are learned as fast as the strong ones
    (kellerjordan.github.io/posts/muon). Tensors with a side below 16 take Adam's step. `torch.optim.Muon` takes
    no kernels and orthogonalises in bfloat16, so it does not replace this class.

    Args:
        parameters: of the network; kernels (out, in, *box) are matrices (out, everything else).
        lr: of Adam; matrices move by singular values of 4 lr, times sqrt(rows / columns) for tall ones.
        betas: of Adam.
    """

    POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # drives singular values in (0, 1] to within 0.3 of 1 in five steps
    MOMENTUM = 0.95
    MATRIX_RATE = 4.0  # of the step's singular values, in units of the learning rate
    SMALLEST_SIDE = 16

    def __init__(self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters by their gradients."""
        trouble = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    move = self._orthogonal_step if self.is_matrix(p) else self._adam_step
                    step = move(p, p.grad, self.state[p], group["lr"], group["betas"])
                    p.sub_(step if trouble is None else torch.where(trouble > 0, 0.0, step))

    @classmethod
    def is_matrix(cls, weight: Tensor) -> bool:
        """Return whether steps of this tensor are orthogonalised."""
        return weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) >= cls.SMALLEST_SIDE

    @classmethod
    def orthogonal(cls, matrix: Tensor) -> Tensor:
        """Return about U V' of matrix = U S V', by five steps of a polynomial in M M'."""
        a, b, c = cls.POLYNOMIAL
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        x = x / x.norm().clamp(min=1e-30)
        for _ in range(5):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if tall else x

    def _orthogonal_step(self, p: Tensor, grad: Tensor, state: dict[str, Any], lr: float, betas: Any) -> Tensor:
        momentum = state.setdefault("momentum", torch.zeros_like(p)).lerp_(grad, 1 - self.MOMENTUM)
        ahead = grad.lerp(momentum, self.MOMENTUM).flatten(1)
        rate = lr * self.MATRIX_RATE * max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        return rate * self.orthogonal(ahead).view_as(p)

    def _adam_step(self, p: Tensor, grad: Tensor, state: dict[str, Any], lr: float, betas: Any) -> Tensor:
        mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(grad, 1 - betas[0])
        square = state.setdefault("square", torch.zeros_like(p)).lerp_(grad**2, 1 - betas[1])
        state["n"] = n = state.get("n", 0) + 1
        return lr * mean / (1 - betas[0] ** n) / ((square / (1 - betas[1] ** n)).sqrt() + 1e-8)
