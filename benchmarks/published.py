"""Published estimators on the tasks of the benchmark, by the packages that hold them, or written here.

    lattice-diffusion benchmark estimators --tasks mixture-white --seeds 1 --estimators benchmarks/published.py:MINDE

Almost all know mutual information alone, so that I(A;C|B) = I(A;BC) - I(A;B), on columns of mean 0 and variance 1.

By `pip install '.[published]'` (diffusion-mi), learned on one part of the samples and read on the other, `folds` times:
    MINDE    Franzese, Bounoua and Michiardi (arXiv:2310.09031): difference of scores with and without the condition
    MMG      Yu and others (arXiv:2509.20609): gap of denoising errors, integrated over the signal-to-noise ratio
    DIME     Letizia, Novello and Tonello (arXiv:2305.20025): discriminator of joint and deranged pairs
    SMILE    Song and Ermon (arXiv:1910.06222): MINE's bound with a clipped ratio
    NWJ      Nguyen, Wainwright and Jordan (arXiv:0809.0853): the bound of the f-divergence
    DoE      McAllester and Stratos (arXiv:1811.04251): difference of cross-entropies of Gaussian densities

By https://github.com/VanessB/mutinfo and pytorch-fd of the same author, which are in no registry:
    Nishiyama  the bound of Nishiyama (arXiv:1907.00288), read on half of the samples, another half in each fold
    KSG        nearest neighbours: Kraskov, Stögbauer and Grassberger (2004)
    WKL        nearest neighbours: weighted Kozachenko-Leonenko (Berrett, Samworth and Yuan, arXiv:1606.00304)

By infomeasure of the same extra, conditional as it stands:
    Infomeasure  nearest neighbours: Frenzel and Pompe (2007)

Written here, trained and cross-fitted as `lattice_diffusion.estimators.MINE` is:
    FMMI     Butakov and others (arXiv:2511.08552): divergence of a flow from p(a) to p(a|z)
    DINE     Tsur and others (arXiv:2203.14743): MINE's bound against a uniform law of a, here of independent samples
"""

import contextlib
import math
import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lattice_diffusion.estimate import Estimate
from lattice_diffusion.estimators.base import Estimator, Sample
from lattice_diffusion.estimators.critics import MINE, Difference
from lattice_diffusion.estimators.networks import MLP


class Seeded(Estimator):
    """Base of estimators that draw from the global generators, which are seeded by `rng`."""

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
            return super()._estimate(sample, groups, rng)


class Trained(Estimator):
    """Base of estimators with a network, trained for `steps` batches by `_information`; the error is that of the folds.

    Args:
        steps: of training, for each of the two informations of a fold.
    """

    batch_size: ClassVar[int] = 256

    def __init__(self, folds: int = 2, steps: int = 1000) -> None:
        super().__init__(folds)
        self.steps = steps

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        standard, fold = sample.standardised(), self._fold(sample, groups, rng)
        found = [self._difference(standard.take(fold != k), standard.take(fold == k)) for k in range(self.folds)]
        stderr = float(np.std(found, ddof=1) / math.sqrt(self.folds))
        return Estimate(float(np.mean(found)), stderr, len(sample), f"{type(self).__name__}, I(A;BC) - I(A;B)")

    def _difference(self, train: Sample, test: Sample) -> float:
        everything = self._information(train.a, train.bc, test.a, test.bc)
        return everything - (self._information(train.a, train.b, test.a, test.b) if train.b.shape[1] else 0.0)


class DiffusionMI(Seeded, Trained):
    """One of the estimators of diffusion-mi, the rest of its parameters as the package has them."""

    by_epochs: ClassVar[bool] = False  # it counts epochs, or steps and epochs, whichever end first

    def _information(self, a: NDArray, y: NDArray, held_a: NDArray, held_y: NDArray) -> float:
        import dmi

        length: dict[str, Any] = {"max_n_steps": self.steps, "batch_size": self.batch_size}
        if self.by_epochs:
            length["max_epochs"] = -(-self.steps * self.batch_size // len(a))
        with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            one = getattr(dmi.estimators, f"{type(self).__name__}Estimator")(**length)
            one.fit(a, y, held_a[: self.batch_size], held_y[: self.batch_size])  # for its log, not for stopping
            return float(one.estimate(held_a, held_y))


class MINDE(DiffusionMI):
    by_epochs, batch_size = True, 64  # MINDE's own; MMG's is 512

    def __init__(self, folds: int = 2, steps: int = 3000) -> None:  # its weights are averaged over 1,000
        super().__init__(folds, steps)


class MMG(MINDE): ...


class DIME(DiffusionMI):
    by_epochs = True


class SMILE(DiffusionMI): ...


class NWJ(DiffusionMI): ...


class DoE(DiffusionMI): ...


class Nishiyama(Seeded, Trained):
    def _information(self, a: NDArray, y: NDArray, held_a: NDArray, held_y: NDArray) -> float:
        import torchfd
        from mutinfo.estimators.parametric import mine

        one = mine.MINE(loss_factory=torchfd.loss.NishiyamaLoss, n_train_steps=self.steps, estimate_size=len(held_a))
        return float(one(np.concatenate([a, held_a]), np.concatenate([y, held_y])))


class Neighbours(Estimator):
    """Base of nearest-neighbour estimators; the error is from `folds` disjoint parts, as that of `FrenzelPompe`."""

    k: ClassVar[int] = 5

    def __init__(self, folds: int = 10) -> None:
        super().__init__(folds)

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        standard, fold = sample.standardised(), self._fold(sample, groups, rng)
        parts = [self._conditional(standard.take(fold == k)) for k in range(self.folds)]
        stderr = float(np.std(parts, ddof=1) / math.sqrt(self.folds))
        return Estimate(self._conditional(standard), stderr, len(sample), f"{type(self).__name__}, k = {self.k}")

    def _conditional(self, sample: Sample) -> float:
        from mutinfo.estimators import knn

        information = getattr(knn, type(self).__name__)(k_neighbors=self.k)
        return float(information(sample.a, sample.bc) - (information(sample.a, sample.b) if sample.b.size else 0.0))


class KSG(Neighbours): ...


class WKL(Neighbours): ...


class Infomeasure(Seeded, Neighbours):
    def _conditional(self, sample: Sample) -> float:
        import infomeasure

        how = {"approach": "ksg", "k": self.k, "minkowski_p": np.inf}
        if not sample.b.size:
            return float(infomeasure.mi(sample.a, sample.c, **how))
        return float(infomeasure.cmi(sample.a, sample.c, cond=sample.b, **how))


class FMMI(Seeded, Difference):
    """I(A;Z) = h(A) - h(A|Z) = -E div v, v(x_t, z, t) the velocity of straight lines from other samples of a to a."""

    times: ClassVar[int] = 16  # of the average of the divergence, midpoints

    def _critic(self, d_a: int, d_z: int, n: int, rng: np.random.Generator) -> nn.Module:
        return MLP(d_a + d_z + 1, d_a, self.width, self.depth, rng, zero=True)

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        t, other = (torch.arange(len(a))[:, None] + 0.5) / len(a), self._other(a)
        return ((net(torch.cat([other + t * (a - other), z, t], dim=1)) - (a - other)) ** 2).mean()

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        total, other = torch.zeros(len(a)), self._other(a)
        for time in (torch.arange(self.times) + 0.5) / self.times:
            t = time.expand(len(a), 1)
            with torch.enable_grad():
                x = (other + t * (a - other)).requires_grad_()
                for j, flow in enumerate(net(torch.cat([x, z, t], dim=1)).sum(dim=0)):
                    total -= torch.autograd.grad(flow, x, retain_graph=True)[0][:, j] / self.times
        return total


class DINE(Seeded, MINE):
    """D(p(a|b,c) || u) - D(p(a|b) || u), u the uniform law on the box that holds the batch's values of a."""

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        b = sample.b if sample.b.size else np.zeros((len(sample), 1))  # D(p(a) || u) is not 0
        return super()._estimate(replace(sample, b=b), groups, rng)

    def _other(self, a: Tensor) -> Tensor:
        least, most = a.aminmax(dim=0)
        return least + (most - least) * torch.rand_like(a)
