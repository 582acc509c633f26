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
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, logit

from ...channels import Gaussian, gaussian_output_law
from ...errors import InputError
from ...kernels import mixtures
from ...lattice import FloatArray, Tripartition
from ...models import GaussianField
from ...runs.points import Point
from ...runs.quantities import Values, averages, check_parts, quantity, settings_axis, stacked, with_errors
from ..base import TrainingSettings, check_gaussian, trained

if TYPE_CHECKING:
    from ...denoisers import LocalNet

BATCH = 256
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))  # central difference of fourth order
STEP = 0.01  # of u, in units of sigma^2
N_NODES = 24


@dataclass(frozen=True)
class SpinLaws:
    """Laws of the spin x_0,A given the noisy values around it, its own left out: all of them, and those of each box.

    Attributes:
        clean: (n,), the values that were drawn.
        everything: (n, 2), P(-1) and P(+1); local: the same, one for each radius.
    """

    clean: FloatArray
    everything: FloatArray
    local: tuple[FloatArray, ...]

    def means(self, y: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
        """Return global (n, 1) and local (n, radii) means once A is observed as y = snr x_0 + sqrt(snr) z."""
        fields = [y + 0.5 * logit(law[:, 1]) for law in (self.everything, *self.local)]
        return np.tanh(fields[0])[:, None], np.tanh(np.stack(fields[1:], axis=1))

    def divergence(self, snr: float) -> FloatArray:
        """Return KL between global and local law of that observation (n, radii); its mean is I(A;C|B)."""
        law, out = gaussian_output_law(snr)[:, ::-1].copy(), np.empty((len(self.local), len(self.clean)))
        for p, column in zip(self.local, out, strict=True):  # one site leaves nothing to draw
            mixtures.block_divergence(self.everything, p, law, np.random.default_rng(0), column)
        return np.ascontiguousarray(out.T)

    def gap(self, snr: float) -> FloatArray:
        """Return the expected squared difference of the two means (n, radii); its mean is Delta."""
        law = gaussian_output_law(snr)
        return np.stack([expected_gap(self.everything, p, law) for p in self.local], axis=1)


def expected_gap(q: FloatArray, p: FloatArray, law: FloatArray) -> FloatArray:
    """Return the mean over outcomes under q of (E_q[s|outcome] - E_p[s|outcome])^2 (n,), for laws (n, 2) of one spin.

    law (n_outcomes, 2): p(outcome|+1), p(outcome|-1).
    """
    delta = np.where(p[:, 1] < p[:, 0], q[:, 1] - p[:, 1], p[:, 0] - q[:, 0])  # the rarer state carries the digits
    total_q, total_p = q @ law[:, ::-1].T, p @ law[:, ::-1].T
    share = np.divide(law.prod(axis=1), total_p, out=np.zeros_like(total_p), where=total_p > 0.0)
    terms = np.divide(share**2, total_q, out=np.zeros_like(total_q), where=total_q > 0.0)
    return np.asarray(4.0 * delta**2 * terms.sum(axis=1))


@dataclass(frozen=True)
class FieldLaws:
    """The same of a field: means (n, 1) and (n, radii), the global variance, and by how much local ones are larger."""

    clean: FloatArray
    everything: FloatArray
    local: FloatArray
    variance: float
    surplus: FloatArray

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


Laws = SpinLaws | FieldLaws


def spin_laws(
    model: Any, channel: Gaussian, t: float, parts: Sequence[Tripartition], n: int, rng: np.random.Generator
) -> SpinLaws:
    """Return the posteriors of A given all else and given each B, for n noisy samples."""
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
    """Return the same by linear filters; variances by what the filters lose, which keeps small differences' digits."""
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


def identities(laws: Laws, alpha: float, sigma: float, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Return I, D^2, the slope of I and the three residuals, (n, radii) each."""
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


def squared_errors(laws: Laws, snr: float, rng: np.random.Generator) -> FloatArray:
    """Return |x_A - local|^2 - |x_A - global|^2 (n, radii) with A observed anew at this snr."""
    y = snr * laws.clean + np.sqrt(snr) * rng.standard_normal(len(laws.clean))
    everything, local = laws.means(y, snr)
    return np.asarray((everything - local) * (2.0 * laws.clean[:, None] - everything - local))


def _check_channel(point: Point) -> None:
    check_gaussian(point, "the locality gap of scores")
    check_parts(point)


def check(point: Point) -> None:
    _check_channel(point)
    if not 0.0 < point.t < 1.0:
        raise InputError(f"the locality gap needs a score and a signal, 0 < t < 1, got t = {point.t:g}")


LOCALITY_GAP_COLUMNS = {
    **with_errors("cmi", ("radius",), "nat", "conditional mutual information I(A;C|B)"),
    **with_errors("gap", ("radius",), "1", "squared locality gap D^2 at A, a squared score"),
    **with_errors("slope", ("radius",), "1", "-2 dI/du at u = 0, by finite differences"),
    **with_errors("tweedie", ("radius",), "1", "D^2 from squared errors of drawn observations, less D^2"),
    **with_errors("de_bruijn", ("radius",), "1", "D^2 from squared errors of drawn observations, less -2 dI/du"),
    **with_errors("integral", ("radius",), "nat", "1/2 int D(u)^2 du from squared errors, less I"),
}


@quantity(
    "the locality gap",
    LOCALITY_GAP_COLUMNS,
    reads=("center", "bond"),
    models=("gaussian-field", "ising", "ising-chain", "domain-walls"),
    check=check,
)
def locality_gap(point: Point, rng: np.random.Generator) -> Values:
    laws_of: Any = field_laws if isinstance(point.model, GaussianField) else spin_laws
    laws = laws_of(point.model, point.channel, point.t, point.parts, point.n_samples, rng)
    return averages(identities(laws, point.channel.alpha(point.t), point.channel.sigma(point.t), rng))


# -- the gap as learned local denoisers have it, beside the exact one, on common noise samples ------------------------
#
# A network of radius r is trained in the point, and one whose box around the centre covers the lattice stands for a
# global one. Its blind law p(x_A|x_B) is taken at the centre A, so that A's own observation is integrated exactly.
# Whatever was learned is a function of the box, so that against the exact global denoiser
#
#     D_learned^2 = D^2 + error,    error = (alpha/sigma^2)^2 E (learned - exact local)^2 >= 0,
#
# and `excess` is the residual D_learned^2 - D^2 - error, of expectation zero. `network_gap` knows no exact law at all:
# the learned local network against the learned global one.


class LearnedGapSettings(TrainingSettings):
    """times at which the trained networks are compared."""

    times: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.3, 0.5, 0.7, 0.85)


def blind_law(net: "LocalNet", x_t: NDArray, t: float, center: tuple[int, ...]) -> FloatArray:
    """Return the network's P(-1) and P(+1) of the centre given its box, (n, 2)."""
    log_odds = net.blind(x_t[:, None], t).log_odds[(slice(None), 0, *center)]  # type: ignore[attr-defined]
    return np.stack([expit(-log_odds), expit(log_odds)], axis=1)


def gap_and_error(q: FloatArray, p: FloatArray, f: FloatArray, law: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means over outcomes under q of (E_q - E_f)^2 and (E_p - E_f)^2, E the posterior mean."""
    means = []
    for laws in (p, f):
        joint = laws[:, None, ::-1] * law
        means.append((joint[..., 0] - joint[..., 1]) / joint.sum(axis=2).clip(np.finfo(float).tiny))
    weight = q @ law[:, ::-1].T
    return expected_gap(q, f, law), np.asarray((weight * (means[0] - means[1]) ** 2).sum(axis=1))


DIMS = ("time", "radius")
LEARNED_GAP_COLUMNS = {
    **with_errors("gap", DIMS, "1", "squared locality gap D^2 at A, exact"),
    **with_errors("learned_gap", DIMS, "1", "D^2 of the learned local denoiser to the exact global one"),
    **with_errors("error", DIMS, "1", "squared distance of learned and exact local denoiser, as D^2"),
    **with_errors("excess", DIMS, "1", "learned_gap - gap - error"),
    **with_errors("network_gap", DIMS, "1", "D^2 of the learned local to the learned global denoiser"),
}


@quantity(
    "the learned locality gap",
    LEARNED_GAP_COLUMNS,
    settings_axis("time", "times", "1", "diffusion time of the comparison"),
    LearnedGapSettings,
    reads=("center",),
    models=("ising",),
    check=_check_channel,
    timed=False,
)
def learned_gap(point: Point, rng: np.random.Generator) -> Values:
    model, channel, parts, n_samples = point.model, point.channel, point.parts, point.n_samples
    center = tuple(point.parameters["center"])
    covering = max(max(i, n - 1 - i) for i, n in zip(center, model.lattice.shape, strict=True))
    *nets, everywhere = [trained(model, channel, r, point.settings, rng) for r in (*point.radii, covering)]
    site, rows = np.flatnonzero(parts[0].A), []
    for t in point.settings.times:
        scale, law = (channel.alpha(t) / channel.sigma(t) ** 2) ** 2, gaussian_output_law(channel.snr(t))
        x_t = channel.corrupt(model.sample(n_samples, rng), t, rng)
        h = channel.likelihood_field(x_t, t)
        whole = model.solver.block_posterior(np.where(parts[0].BC, h, 0.0), site)
        local = [model.solver.block_posterior(np.where(part.B, h, 0.0), site) for part in parts]
        learned, learned_whole = [blind_law(net, x_t, t, center) for net in nets], blind_law(everywhere, x_t, t, center)
        pairs = [gap_and_error(whole, p, f, law) for p, f in zip(local, learned, strict=True)]
        samples = {
            "gap": np.stack([expected_gap(whole, p, law) for p in local], axis=1),
            "learned_gap": np.stack([total for total, _ in pairs], axis=1),
            "error": np.stack([error for _, error in pairs], axis=1),
            "network_gap": np.stack([expected_gap(learned_whole, f, law) for f in learned], axis=1),
        }
        samples["excess"] = samples["learned_gap"] - samples["gap"] - samples["error"]
        rows.append(averages({name: scale * values for name, values in samples.items()}))
    return stacked(rows)
