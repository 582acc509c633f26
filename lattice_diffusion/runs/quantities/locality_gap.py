"""The locality gap D of one site A, and the identities that tie it to the CMI, all on the same noise samples.

    D^2 = E || grad_A log p_t(x) - grad_A log p_t(x_AB) ||^2 = (alpha/sigma^2)^2 Delta(g),
    Delta(g) = E (E[x_0,A | all] - E[x_0,A | A and B])^2,     g = alpha^2/sigma^2 the snr of A

Given the noisy values around A, its own observation is integrated exactly (Rao-Blackwell), so that D and I keep their
digits however small. Beside them stands what two denoisers alone would measure: the difference of their squared errors
on drawn observations of A, at noise sigma^2 + u on A and sigma^2 around it,

    Tweedie      E|x_A - local|^2 - E|x_A - global|^2 = Delta(g)
    de Bruijn    dI/du at u = 0 is -D^2/2, the left side by finite differences
    integral     I = 1/2 int_0^inf D(u)^2 du = 1/2 int_0^g Delta(g') dg',    g' = alpha^2/(sigma^2 + u)

each as the residual of drawn less exact, whose expectation is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ...channels import Gaussian, gaussian_output_law
from ...errors import InputError
from ...kernels import mixtures
from ...lattice import Tripartition
from ...models import GaussianField
from ..build import build_channel, build_model, build_parts
from .base import Parameters, Quantity, check_solvable, radius_coordinate, with_errors

FloatArray = NDArray[np.float64]
BATCH = 256
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))  # central difference of fourth order
STEP = 0.01  # of u, in units of sigma^2
N_NODES = 24


class BlindLaws(Protocol):
    """Laws of x_0,A given the noisy values around it, its own left out: all of them, and those of each box.

    Attributes:
        clean: (n,), the values that were drawn.
    """

    clean: FloatArray

    def means(self, y: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
        """Global (n, 1) and local (n, radii) means once A is observed as y = snr x_0 + sqrt(snr) z."""

    def divergence(self, snr: float) -> FloatArray:
        """(n, radii), KL between global and local law of that observation; its mean is I(A;C|B)."""

    def gap(self, snr: float) -> FloatArray:
        """(n, radii), expected squared difference of the two means; its mean is Delta."""


@dataclass(frozen=True)
class SpinLaws:
    """Of a spin: everything (n, 2) and local, one (n, 2) per radius, P(-1) and P(+1)."""

    clean: FloatArray
    everything: FloatArray
    local: tuple[FloatArray, ...]

    def means(self, y: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
        fields = [y + 0.5 * logit(law[:, 1]) for law in (self.everything, *self.local)]
        return np.tanh(fields[0])[:, None], np.tanh(np.stack(fields[1:], axis=1))

    def divergence(self, snr: float) -> FloatArray:
        law, out = gaussian_output_law(snr), np.empty((len(self.clean), len(self.local)))
        nothing_drawn = np.random.default_rng(0)  # one site leaves nothing to draw
        for k, p in enumerate(self.local):
            column = np.empty(len(out))
            mixtures.block_divergence(self.everything, p, law, nothing_drawn, column)
            out[:, k] = column
        return out

    def gap(self, snr: float) -> FloatArray:
        law = gaussian_output_law(snr)
        return np.stack([expected_gap(self.everything, p, law) for p in self.local], axis=1)


def expected_gap(q: FloatArray, p: FloatArray, law: FloatArray) -> FloatArray:
    """(n,), mean over outcomes under q of (E_q[s|outcome] - E_p[s|outcome])^2, for laws (n, 2) of one spin.

    law (n_outcomes, 2): p(outcome|+1), p(outcome|-1).
    """
    delta = np.where(p[:, 1] < p[:, 0], q[:, 1] - p[:, 1], p[:, 0] - q[:, 0])  # the rarer state carries the digits
    total_q, total_p = q @ law[:, ::-1].T, p @ law[:, ::-1].T
    share = np.divide(law.prod(axis=1), total_p, out=np.zeros_like(total_p), where=total_p > 0.0)
    terms = np.divide(share**2, total_q, out=np.zeros_like(total_q), where=total_q > 0.0)
    return np.asarray(4.0 * delta**2 * terms.sum(axis=1))


@dataclass(frozen=True)
class FieldLaws:
    """Of a field: means (n, 1) and (n, radii), and variances that are the same for all samples."""

    clean: FloatArray
    everything: FloatArray
    local: FloatArray
    variance: float
    surplus: FloatArray  # (radii,), by how much the local variances are larger

    def means(self, y: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
        v, w = self.variance, self.variance + self.surplus
        return (self.everything + v * y[:, None]) / (1 + snr * v), (self.local + w * y[:, None]) / (1 + snr * w)

    def divergence(self, snr: float) -> FloatArray:
        return self._each(0.5 * np.log1p(self.surplus * snr / (1 + snr * self.variance)))

    def gap(self, snr: float) -> FloatArray:
        w = self.variance + self.surplus
        return self._each(self.surplus / ((1 + snr * w) * (1 + snr * self.variance)))

    def _each(self, values: FloatArray) -> FloatArray:
        return np.broadcast_to(values, (len(self.clean), len(values)))


def spin_laws(
    model: Any, channel: Gaussian, t: float, parts: Sequence[Tripartition], n: int, rng: np.random.Generator
) -> SpinLaws:
    """Posteriors of A given all else and given each B, for n noisy samples."""
    A, rest = parts[0].A, parts[0].BC
    site, rows = np.flatnonzero(A), []
    for start in range(0, n, BATCH):
        x_0 = model.sample(min(BATCH, n - start), rng)
        h = channel.likelihood_field(channel.corrupt(x_0, t, rng), t)
        laws = [model.solver.block_posterior(np.where(seen, h, 0.0), site) for seen in (rest, *(p.B for p in parts))]
        rows.append((x_0[:, A][:, 0].astype(float), *laws))
    clean, everything, *local = (np.concatenate(column) for column in zip(*rows, strict=True))
    return SpinLaws(clean, everything, tuple(local))


def field_laws(
    model: GaussianField, channel: Gaussian, t: float, parts: Sequence[Tripartition], n: int, rng: np.random.Generator
) -> FieldLaws:
    """The same by linear filters; variances by what the filters lose, which keeps the digits of small differences."""
    solver, A, shape = model.solver, parts[0].A, model.lattice.shape
    units = np.eye(model.lattice.n_sites).reshape(-1, *shape)
    seen = [parts[0].BC, *(part.B for part in parts)]
    filters = np.stack([solver.posterior_mean(channel, t, units, mask)[:, A][:, 0] for mask in seen])
    lost = filters[1:] - filters[0]
    surplus = np.einsum("ri,ij,rj->r", lost, solver.covariance(channel, t, np.ones(shape, bool)), lost)
    variance = float(solver.posterior(channel, t, units[:1], A, seen[0]).variance[0, 0])
    x_0 = model.sample(n, rng)
    means = channel.corrupt(x_0, t, rng).reshape(n, -1) @ filters.T
    return FieldLaws(x_0[:, A][:, 0], means[:, :1], means[:, 1:], variance, surplus)


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    check(parameters)
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    assert isinstance(channel, Gaussian)
    t, parts = parameters["t"], build_parts({"patch": 1, **parameters})
    laws_of: Any = field_laws if isinstance(model, GaussianField) else spin_laws
    laws = laws_of(model, channel, t, parts, parameters["n_samples"], rng)
    return averages(identities(laws, channel.alpha(t), channel.sigma(t), rng))


def averages(samples: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """NAME and NAME_stderr over the first axis; an error of exactly 0 where all samples are equal."""
    answer = {}
    for name, values in samples.items():
        answer[name] = values.mean(axis=0)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        answer[f"{name}_stderr"] = np.where(np.ptp(values, axis=0) > 0.0, error, 0.0)
    return answer


def identities(laws: BlindLaws, alpha: float, sigma: float, rng: np.random.Generator) -> dict[str, FloatArray]:
    """I, D^2, the slope of I and the three residuals, (n, radii) each."""
    snr, scale = (alpha / sigma) ** 2, (alpha / sigma**2) ** 2

    def information(u: float) -> FloatArray:
        return laws.divergence(alpha**2 / (sigma**2 + u))

    h = STEP * sigma**2
    slope = sum(weight / h * information(k * h) for k, weight in STENCIL)
    cmi, gap = laws.divergence(snr), scale * laws.gap(snr)
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    levels, shares = 0.5 * snr * (nodes + 1), 0.5 * snr * weights
    area = sum(0.5 * share * squared_errors(laws, g, rng) for g, share in zip(levels, shares, strict=True))
    return {
        "cmi": cmi,
        "gap": gap,
        "slope": -2.0 * slope,
        "tweedie": scale * squared_errors(laws, snr, rng) - gap,
        "de_bruijn": scale * squared_errors(laws, snr, rng) + 2.0 * slope,
        "integral": area - cmi,
    }


def squared_errors(laws: BlindLaws, snr: float, rng: np.random.Generator) -> FloatArray:
    """(n, radii), |x_A - local|^2 - |x_A - global|^2 with A observed anew at this snr."""
    y = snr * laws.clean + np.sqrt(snr) * rng.standard_normal(len(laws.clean))
    everything, local = laws.means(y, snr)
    return np.asarray((everything - local) * (2.0 * laws.clean[:, None] - everything - local))


def check(parameters: Parameters) -> None:
    if parameters["channel"]["name"] != "gaussian":
        raise InputError(
            f"the locality gap is one of scores and takes the channel gaussian, got {parameters['channel']['name']!r}"
        )
    if not 0.0 < parameters["t"] < 1.0:
        raise InputError(f"the locality gap needs a score and a signal, 0 < t < 1, got t = {parameters['t']:g}")
    check_solvable(parameters)
    build_parts({"patch": 1, **parameters})


RADIUS = ("radius",)
LOCALITY_GAP = Quantity(
    "locality_gap",
    "the locality gap",
    {
        **with_errors("cmi", RADIUS, "nat", "conditional mutual information I(A;C|B)"),
        **with_errors("gap", RADIUS, "1", "squared locality gap D^2 at A, a squared score"),
        **with_errors("slope", RADIUS, "1", "-2 dI/du at u = 0, by finite differences"),
        **with_errors("tweedie", RADIUS, "1", "D^2 from squared errors of drawn observations, less D^2"),
        **with_errors("de_bruijn", RADIUS, "1", "D^2 from squared errors of drawn observations, less -2 dI/du"),
        **with_errors("integral", RADIUS, "nat", "1/2 int D(u)^2 du from squared errors, less I"),
    },
    evaluate,
    radius_coordinate,
    reads=("radii", "center", "bond"),
    models=("gaussian-field", "ising", "ising-chain", "domain-walls"),
    check=check,
)
