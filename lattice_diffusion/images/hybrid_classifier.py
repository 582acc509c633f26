"""A small convolutional classifier of labelled images, whose features tell real images from generated ones."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import silu

from ..denoisers.network import initialise, layer

N_FEATURES = 32
SIDE = 7  # of the last map
EPOCHS = 8
BATCH = 64


class Classifier(nn.Module):
    """Images (n, 1, row, column) -> features (n, N_FEATURES) -> log probabilities of classes (n, class)."""

    def __init__(self, shape: tuple[int, int], n_classes: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.side = (min(SIDE, shape[0] // 2), min(SIDE, shape[1] // 2))
        self.first, self.second = layer(1, 16, ndim=2, size=3), layer(16, 32, ndim=2, size=3)
        self.third = layer(32 * self.side[0] * self.side[1], N_FEATURES)
        self.last = layer(N_FEATURES, n_classes)
        initialise(self, rng)

    def features(self, x: Tensor) -> Tensor:
        z = functional.avg_pool2d(silu(self.first(functional.pad(x, (1, 1, 1, 1)))), 2, ceil_mode=True)
        z = functional.adaptive_avg_pool2d(silu(self.second(functional.pad(z, (1, 1, 1, 1)))), self.side)
        out: Tensor = silu(self.third(z.flatten(1)[:, :, None]))[:, :, 0]
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.features(x)[:, :, None])[:, :, 0].log_softmax(dim=1)
        return out

    def see(self, images: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features and log probabilities of images, without gradients."""
        with torch.no_grad():
            parts = [
                torch.as_tensor(part, dtype=torch.float32) for part in np.array_split(images, -(-len(images) // 512))
            ]
            features, logs = (torch.cat([f(part) for part in parts]).double().numpy() for f in (self.features, self))
        return features, logs


def fit_classifier(images: NDArray, labels: NDArray, n_classes: int, rng: np.random.Generator) -> Classifier:
    """Adam with a falling rate over EPOCHS passes, images moved by up to one pixel."""
    net = Classifier(images.shape[2:], n_classes, rng)
    x, y = torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(labels)
    background = float(np.median(images))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    n_batches = -(-len(x) // BATCH)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * n_batches)
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(x)), n_batches):
            down, right = (int(step) for step in rng.integers(3, size=2))
            moved = functional.pad(x[rows], (1, 1, 1, 1), value=background)
            moved = moved[:, :, down : down + x.shape[2], right : right + x.shape[3]]
            optimiser.zero_grad(set_to_none=True)
            functional.nll_loss(net(moved), y[rows]).backward()
            optimiser.step()
            falling.step()
    return net
