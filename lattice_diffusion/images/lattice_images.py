"""Lattice samples drawn as images, every pixel with noise of its own, and the exact I(A;C|B) of their pixels.

A pixel shows one spin or bond of the model, several pixels may show the same one, and a pixel that shows none is 0.
What the seen pixels tell of a spin is the sum of their likelihood fields, so that the model's own solver gives the law
of the clean pixel A given any set of others,

    p(s_A | x_seen) ~ p_0(s_A | fields of other spins) prod exp(h s_A)   over A's siblings, pixels of the same spin,

and with it the average of `exact.spins`, I(A;C|B) = E KL( p(x_A | x_B, x_C) || p(x_A | x_B) ).

Grey images are Gaussian fields whose spectrum falls as 1/k^2, as that of natural images does (Ruderman and Bialek
1994), or as 1/k^4, as that of small, smoothed ones, rounded to 256 levels; their I(A;C|B) is known in closed form, also
in colours, which are mixtures of independent fields. Images of two textures are fields that vary along rows or along
columns: what C tells of the texture adds to their I(A;C|B). Tokens are chains or hierarchies along the rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.special import entr, expit

from ..channels import Channel, Gaussian, TokenNoise
from ..errors import InputError
from ..estimate import Curve
from ..exact import cmi_curve
from ..exact.gaussian import GaussianSolver, log_normal_density
from ..exact.spins import NoisySamples, spin_weights
from ..kernels.mixtures import block_divergence
from ..lattice import Lattice
from ..models import DomainWalls, GaussianField, Ising, PottsChain, RandomHierarchy
from ..samplers.fields import precision_matrix

BLOCK = 2
SMALLEST, LARGEST = 8, 28  # sides of images; 14 spins are as many as the exact solution takes
LONGEST = 256  # rows of tokens
MOST_SYMBOLS = 32  # of tokens: the exact answer takes q^3 operations a site
BETA = 0.44  # close to critical: information reaches far
BATCH = 256
LINEAR = Gaussian("linear")
GREYS = 256
MASS_SQUARED = 0.01  # of grey images: k^-2 down to wavelengths of 60 pixels
CUT = 3.0  # standard deviations at which greys are black and white
STRONG, WEAK = 1.8, 0.2  # couplings along and across a texture


@dataclass(frozen=True, eq=False)
class Rendering:
    """Samples of a model of spins or bonds as images.

    Args:
        model: with an exact solution, of values +-1 where it is drawn.
        site: (row, column), flat index on `model.lattice` of what a pixel shows, -1 where it shows nothing.
        pixel: A, one that shows something.
    """

    model: Any
    site: NDArray[np.int64]
    pixel: tuple[int, int]

    def __post_init__(self) -> None:
        if self.site[self.pixel] < 0:
            raise InputError(f"pixel must show a spin or a bond, got {self.pixel}, which is always 0")

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column) of images."""
        return self.site.shape[0], self.site.shape[1]

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Clean images (n, row, column) of -1, 0 and 1."""
        x = self.model.sample(n_samples, rng).reshape(n_samples, -1)
        return np.where(self.site >= 0, x[:, self.site], 0).astype(np.int8)

    def law(self, h: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, 2), P(s_A = -1) and P(s_A = +1) given the seen pixels of fields h; A itself is not read."""
        shown, a = seen & (self.site >= 0), int(self.site[self.pixel])
        shown[self.pixel] = False
        total = np.zeros((self.model.lattice.n_sites, len(h)))  # the fields of spins are the sums of their pixels'
        np.add.at(total, self.site[shown], h[:, shown].T)
        fields = np.ascontiguousarray(total.T)
        siblings = fields[:, a].copy()
        fields[:, a] = 0.0
        law = self.model.solver.block_posterior(fields.reshape(-1, *self.model.lattice.shape), np.array([a]))
        law = law * spin_weights(siblings)
        return np.asarray(law / law.sum(axis=1, keepdims=True))

    def divergences(
        self, channel: Channel, t: float, x_t: NDArray, radii: Sequence[int], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """(n, len(radii)), KL(p(x_A | all other pixels) || p(x_A | B_r)) at every noisy image; radius 0: B is empty."""
        h, outcomes = channel.likelihood_field(x_t, t), channel.output_law(t)[:, ::-1].copy()
        everything = self.law(h, np.ones(self.site.shape, bool))
        out = np.empty((len(radii), len(x_t)))
        for radius, found in zip(radii, out, strict=True):
            block_divergence(
                everything, self.law(h, Lattice(self.site.shape).box(self.pixel, radius)), outcomes, rng, found
            )
        return out.T

    def cmi_curve(
        self, channel: Channel, t: float, radii: Sequence[int], n_samples: int, rng: np.random.Generator
    ) -> Curve:
        """I_t(A;C|B_r) for some radii on one set of noisy images; radius 0 gives I_t(A;BC)."""
        noisy = NoisySamples(channel, t, self.sample, n_samples, rng)
        found = [self.divergences(channel, t, x_t, radii, rng) for _, x_t in noisy.batches(BATCH)]
        return Curve.from_samples(np.concatenate(found), "Rao-Blackwell average over posteriors of rendered spins")


@dataclass(frozen=True, eq=False)
class GreyField:
    """A Gaussian field as grey images, 256 levels from -1 to 1, whose ends lie 3 standard deviations from the mean.

    The exact information is that of the field itself. Rounding adds a variance of (2/255)^2/12 = 5e-6 to what is seen,
    as noise would, 0.05% of the noise at t = 0.1 and less at larger t; 0.01% to 0.2% of the values are cut.

    Args:
        model: the field phi, of precision K; pixel: A.
        smooth: the field is K^-1/2 phi, of precision K^2, with a spectrum 1/k^4.
        colours: (channel, channel), whose product with as many independent fields are the colours of a pixel; None: of
            grey images. White noise is the same in all bases of colours, so that the information of A, a pixel with
            all its colours, is the sum over singular values s of that of fields s phi.
    """

    model: GaussianField
    pixel: tuple[int, int]
    smooth: bool = False
    colours: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column) of images."""
        return self.model.lattice.shape[0], self.model.lattice.shape[1]

    @cached_property
    def solver(self) -> GaussianSolver:
        precision = self.model.solver.precision
        return GaussianSolver((precision @ precision).tocsc(), self.shape) if self.smooth else self.model.solver

    @cached_property
    def unit(self) -> float:
        """Grey value of a field of 1: the field varies most at a corner, where it is cut at CUT."""
        corner = Lattice(self.shape).box((0, 0), 0)
        most = 1.0 if self.colours is None else float(np.linalg.norm(self.colours, axis=1).max())
        return 1 / (CUT * most * math.sqrt(self.solver.covariance(LINEAR, 0.0, corner)[0, 0]))

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Clean images (n, row, column), with colours (n, channel, row, column), from -1 to 1."""
        if self.colours is None:
            field = self._fields(n_samples, rng)
        else:
            fields = self._fields(n_samples * len(self.colours), rng)
            field = np.einsum("ck,nkij->ncij", self.colours, fields.reshape(n_samples, -1, *self.shape))
        levels = (np.clip(self.unit * field, -1, 1) + 1) / 2 * (GREYS - 1)
        return np.asarray(np.rint(levels) / (GREYS - 1) * 2 - 1, np.float32)

    def _fields(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        if self.smooth:
            white = rng.standard_normal((math.prod(self.shape), n_samples))
            return np.asarray(splu(self.model.solver.precision).solve(white).T.reshape(-1, *self.shape))
        return self.model.sample(n_samples, rng)

    def cmi_curve(
        self, channel: Channel, t: float, radii: Sequence[int], n_samples: int, rng: np.random.Generator
    ) -> Curve:
        """I_t(A;C|B_r), in closed form; radius 0 gives I_t(A;BC)."""
        scales = [1.0] if self.colours is None else np.linalg.svd(self.colours, compute_uv=False).tolist()
        alike = [LINEAR.time((s * self.unit) ** 2 * channel.snr(t)) for s in scales]  # noise as strong for the field
        parts = [self.model.lattice.tripartition(self.pixel, r) for r in radii]
        values = np.array([sum(self.solver.closed_cmi(LINEAR, u, part) for u in alike) for part in parts])
        return Curve(values, np.zeros((len(values), len(values))), n_samples, "closed form of the Gaussian field")


@dataclass(frozen=True, eq=False)
class TextureField(GreyField):
    """Grey images of two textures, equally frequent: Gaussian fields with strong couplings along one axis or the other.

    With the texture S, I(A;C|B) = I(A;C|B,S) + H(S|B) - H(S|AB) - H(S|BC) + H(S|ABC). The first term is known in closed
    form, the entropies are averages over noisy images of the exact law of S.
    """

    @cached_property
    def solvers(self) -> tuple[GaussianSolver, GaussianSolver]:
        """Exact answers within each texture, of precision STRONG K_rows + WEAK K_columns, or the reverse."""
        lines = [precision_matrix(Lattice((n,)), self.model.mass_squared / 2) for n in self.shape]
        along = [sparse.kron(lines[0], sparse.eye(self.shape[1])), sparse.kron(sparse.eye(self.shape[0]), lines[1])]
        first, second = (
            GaussianSolver((a * along[0] + b * along[1]).tocsc(), self.shape)
            for a, b in ((STRONG, WEAK), (WEAK, STRONG))
        )
        return first, second

    @cached_property
    def roots(self) -> list[NDArray]:
        """Cholesky factors of the covariances of both textures, (site, site)."""
        everything = np.ones(self.shape, bool)
        return [np.linalg.cholesky(s.covariance(LINEAR, 0.0, everything)) for s in self.solvers]

    @cached_property
    def unit(self) -> float:
        """Grey value of a field of 1, as of `GreyField`."""
        return 1 / (CUT * max(float(np.linalg.norm(root, axis=1).max()) for root in self.roots))

    def _fields(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        white, first = rng.standard_normal((n_samples, math.prod(self.shape))), rng.random((n_samples, 1)) < 0.5
        return np.where(first, white @ self.roots[0].T, white @ self.roots[1].T).reshape(-1, *self.shape)

    def cmi_curve(
        self, channel: Channel, t: float, radii: Sequence[int], n_samples: int, rng: np.random.Generator
    ) -> Curve:
        """I_t(A;C|B_r); radius 0 gives I_t(A;BC)."""
        u = LINEAR.time(self.unit**2 * channel.snr(t))  # noise as strong for the field
        x = LINEAR.corrupt(self._fields(n_samples, rng), u, rng).reshape(n_samples, -1)
        covariances = [s.covariance(LINEAR, u, np.ones(self.shape, bool)) for s in self.solvers]

        def entropy(region: NDArray[np.bool_]) -> NDArray[np.float64]:
            """H(S|x_R) of every noisy image."""
            seen = np.flatnonzero(region)
            one, other = (log_normal_density(x[:, seen], of[np.ix_(seen, seen)]) for of in covariances)
            return np.asarray(entr(expit(one - other)) + entr(expit(other - one)))

        parts = [self.model.lattice.tripartition(self.pixel, r) for r in radii]
        from_all = entropy(parts[0].BC) - entropy(parts[0].ABC)
        found = [
            np.mean([s.closed_cmi(LINEAR, u, part) for s in self.solvers])
            + entropy(part.B)
            - entropy(part.AB)
            - from_all
            for part in parts
        ]
        return Curve.from_samples(np.stack(found, axis=1), "closed form within textures, exact laws of the texture")


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Tokens whose rows are independent samples of a model on a line.

    Args:
        model: of tokens; n_rows: of an image; pixel: A.
    """

    model: PottsChain | RandomHierarchy
    n_rows: int
    pixel: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column) of images."""
        return self.n_rows, self.model.lattice.n_sites

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
        """Clean images (n, row, column) of 0 to q - 1."""
        return self.model.sample(n_samples * self.n_rows, rng).reshape(n_samples, *self.shape)

    def cmi_curve(
        self, channel: TokenNoise, t: float, radii: Sequence[int], n_samples: int, rng: np.random.Generator
    ) -> Curve:
        """I_t(A;C|B_r), that of A's row; radius 0 gives I_t(A;BC)."""
        parts = [self.model.lattice.tripartition(self.pixel[1:], r) for r in radii]
        return cmi_curve(self.model, channel, t, parts, n_samples, rng)  # type: ignore[arg-type]


def token_rows(shape: tuple[int, int], q: int, alike: float) -> dict[str, TokenRows]:
    """Return rows of Potts chains, and for q > 2 of hierarchies with sqrt(q) synonyms, nearly as large as the images.

    They have q symbols, but at most MOST_SYMBOLS.

    Args:
        alike: how often tokens beside each other are equal; the chains' are, too, if it is more than by chance.
    """
    rows, columns, q = min(shape[0], LARGEST), min(max(shape[1], SMALLEST), LONGEST), min(q, MOST_SYMBOLS)
    coupling = math.log(max(alike * (q - 1) / max(1 - alike, 1e-3), 1.0))
    models: dict[str, PottsChain | RandomHierarchy] = {"chains": PottsChain(Lattice((columns,)), coupling, q)}
    if q > 2:
        models["hierarchy"] = RandomHierarchy(int(math.log2(columns)), 2, q, round(math.sqrt(q)))
    middle = rows // 2
    return {name: TokenRows(model, rows, (middle, model.lattice.n_sites // 2)) for name, model in models.items()}


def texture_image(shape: tuple[int, int] = (28, 28)) -> TextureField:
    """Grey images of two textures of spectrum 1/k^2; A is the middle pixel."""
    return TextureField(GaussianField(Lattice(shape), MASS_SQUARED), (shape[0] // 2, shape[1] // 2))


def grey_image(
    shape: tuple[int, int] = (28, 28), *, smooth: bool = False, colours: NDArray[np.float64] | None = None
) -> GreyField:
    """Grey images of spectrum 1/k^2, or smooth ones of 1/k^4, or in colours; A is the middle pixel."""
    return GreyField(GaussianField(Lattice(shape), MASS_SQUARED), (shape[0] // 2, shape[1] // 2), smooth, colours)


def spectrum(images: NDArray, n_bins: int = 6) -> NDArray[np.float64]:
    """Return the log power of images (n, row, column) less their mean at wave numbers from longest to shortest.

    Power is averaged over directions and over bins of equal width in k / k_max, and normalised to 1.
    """
    power = (np.abs(np.fft.fft2(images - images.mean(axis=0))) ** 2).mean(axis=0)
    k = np.hypot(*np.meshgrid(*(2 * np.fft.fftfreq(n) for n in images.shape[-2:]), indexing="ij")) / math.sqrt(2)
    index = np.minimum((k * n_bins).astype(int), n_bins - 1)[k > 0]
    count = np.bincount(index, minlength=n_bins)
    some = np.flatnonzero(count)  # small images have no waves in some of the bins
    binned = np.interp(np.arange(n_bins), some, (np.bincount(index, power[k > 0], n_bins)[some] / count[some]))
    return np.asarray(np.log(binned / binned.sum() + 1e-12))


def ising_image(shape: tuple[int, int] = (28, 28), beta: float = BETA) -> Rendering:
    """Spins as blocks of 2x2 pixels; A the middle pixel, whose three siblings lie in the smallest box."""
    rows, columns = (n // BLOCK for n in shape)
    site = np.full(shape, -1)
    block = np.arange(rows * columns).reshape(rows, columns)
    site[: BLOCK * rows, : BLOCK * columns] = block.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return Rendering(Ising(Lattice((rows, columns)), beta), site, (BLOCK * (rows // 2), BLOCK * (columns // 2)))


def loop_image(shape: tuple[int, int] = (28, 28), beta: float = 0.0) -> Rendering:
    """Domain walls of faces two pixels apart: the pixel between two faces shows their bond, all others are 0.

    The product of the four bonds around a corner of faces is +1. The smallest box around A, a bond, holds no such
    four, the next one both that A belongs to.
    """
    rows, columns = ((n + 1) // 2 for n in shape)
    model = DomainWalls((rows, columns), beta)
    site, index = np.full((2 * rows, 2 * columns), -1), np.arange(2 * rows * columns).reshape(2, rows, columns)
    site[::2, 1::2], site[1::2, ::2] = np.where(model.sites, index, -1)
    return Rendering(model, site[: shape[0], : shape[1]], (2 * (rows // 2), 2 * (columns // 2) - 1))


def calibration_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Images as large as those of `shape`, as far as there is an exact answer."""
    return min(max(shape[0], SMALLEST), LARGEST), min(max(shape[1], SMALLEST), LARGEST)
