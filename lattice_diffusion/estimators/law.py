"""The law of one value given others: a linear term, a network that bends it, and one that sees everything."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import FloatArray
from .heads import Head
from .networks import MLP, by_chunks, is_better, tensor

RIDGE = 1e-6  # of unit variance: columns that repeat others do no harm
BEND_WIDTH = 16


class Law:
    """Outputs of a law: those it starts from, a constant, a linear term and a network."""

    def __init__(
        self,
        head: Head,
        x: FloatArray,
        width: int,
        depth: int,
        rng: np.random.Generator,
        device: str | torch.device | None,
    ) -> None:
        self.head, self.device = head, device
        mean, d = x.mean(axis=0), x.shape[1]
        scale = x.std(axis=0)
        scale[scale == 0] = 1.0
        covariance = np.cov((x - mean) / scale, rowvar=False, ddof=0).reshape(d, d) + RIDGE * np.eye(d)
        values, vectors = np.linalg.eigh(covariance)
        self.mean, self.scale = tensor(mean, device), tensor(scale, device)
        self.whiten = tensor(vectors / np.sqrt(values), device)
        self.constant = torch.zeros(head.n_outputs, device=device)
        self.slope = torch.zeros(d, head.n_linear, device=device)
        self.gain = torch.ones(head.n_outputs, device=device)
        n_index = 2 * head.n_linear
        self.index_mean, self.index_scale = torch.zeros(n_index, device=device), torch.ones(n_index, device=device)
        self.bend = MLP(n_index, head.n_outputs, BEND_WIDTH, 2, rng, zero=True).to(device)
        self.net = MLP(d + n_index, head.n_outputs, width, depth, rng, zero=True).to(device)

    def linear_outputs(self, x: Tensor, start: Tensor) -> Tensor:
        rest = torch.zeros(len(x), self.head.n_outputs - self.head.n_linear, device=x.device)
        return start + self.constant + torch.cat([self.white(x) @ self.slope, rest], dim=1)

    def white(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale @ self.whiten

    def index(self, x: Tensor, start: Tensor) -> Tensor:
        """The linear predictors, of the law it starts from and its own, standardised."""
        both = torch.cat([start[:, : self.head.n_linear], self.white(x) @ self.slope], dim=1)
        return (both - self.index_mean) / self.index_scale

    def standardise_index(self, x: Tensor, start: Tensor) -> None:
        index = self.index(x, start)
        self.index_mean, scale = index.mean(dim=0), index.std(dim=0)
        self.index_scale = torch.where(scale > 0, scale, torch.ones_like(scale))

    def seen(self, x: Tensor, start: Tensor) -> Tensor:
        """What the network sees: standardised inputs and the linear predictors."""
        return torch.cat([(x - self.mean) / self.scale, self.index(x, start)], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        bent = self.bend(self.index(x, start)) + self.net(self.seen(x, start))
        return self.linear_outputs(x, start) + self.gain * bent

    def outputs(self, x: FloatArray, start: FloatArray) -> FloatArray:
        """(n, n_outputs)."""
        return by_chunks(self, tensor(x, self.device), tensor(start, self.device)).cpu().double().numpy()

    def fit_linear(
        self, x: FloatArray, y: FloatArray, start: FloatArray, fit: NDArray[np.intp], valid: NDArray[np.intp]
    ) -> None:
        """Constant and slope of maximal likelihood; a Gaussian prior on the slope where that clearly does better."""
        z, target, offset = (tensor(array[fit], self.device) for array in (x, y, start))
        others = [tensor(array[valid], self.device) for array in (x, start, y)]
        self._start(z, target, offset)
        self._maximise(z, target, offset, 0.0)
        best, least = (self.constant, self.slope), self.head.nats(self.linear_outputs(*others[:2]), others[2])
        for variance in self.head.priors if x.shape[1] else ():
            self._maximise(z, target, offset, x.shape[1] / (variance * len(fit)))
            nats = self.head.nats(self.linear_outputs(*others[:2]), others[2])
            if is_better(nats, least):
                best, least = (self.constant, self.slope), nats
        self.constant, self.slope = best
        self.gain = self.head.gain(self.linear_outputs(z, offset), target)

    def _start(self, x: Tensor, y: Tensor, start: Tensor) -> None:
        """Least squares, where there are residuals."""
        residual = self.head.residual(start, y)
        if residual is not None:
            white = self.white(x)
            self.slope[:, 0] = white.T @ (residual - residual.mean()) / len(x)
            left = residual - white @ self.slope[:, 0]
            self.constant[0] = residual.mean()
            self.constant[-(self.head.n_outputs // 3) :] = 2 * torch.log(left.std() / residual.std())

    def _maximise(self, x: Tensor, y: Tensor, start: Tensor, penalty: float) -> None:
        """L-BFGS from where constant and slope are; `penalty` is the inverse variance of a slope, per sample."""
        before = self.constant, self.slope
        self.constant, self.slope = (p.clone().requires_grad_() for p in before)
        optimiser = torch.optim.LBFGS(
            [self.constant, self.slope], max_iter=60, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.head.nats(self.linear_outputs(x, start), y).mean() + 0.5 * penalty * (self.slope**2).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        self.constant, self.slope = self.constant.detach(), self.slope.detach()
        if not bool(self.constant.isfinite().all() and self.slope.isfinite().all()):
            self.constant, self.slope = before  # a line search that left single precision
