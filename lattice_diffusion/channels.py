"""Local noise: every site goes from its clean value (t = 0) to pure noise (t = 1), independently of the others.

What a channel does to a two-valued site depends only on its signal-to-noise ratio
snr = E[x|s]^2 / Var[x|s]: alpha^2/sigma^2 (Gaussian), (1-2p)^2/4p(1-p) (bit flip), (1-eps)/eps (erasure).

A new channel is one class with the methods of `Channel`, in a file of the user's own (`file.py:Class`) or here with a
line in `CHANNELS`; it need not inherit from anything. Noise that treats the two signs alike is not assumed.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from . import registry
from .errors import InputError, shown
from .lattice import FloatArray, Rng

Schedule = Literal["linear", "vp", "ve"]
SHARP = 1e-70  # noise at an earlier time cannot be told from none in double precision
# Beyond this ratio a Gaussian observation tells a spin from its opposite up to exp(-200).
SNR_CERTAIN = 400.0
MASK = -1.0  # of a token; a masked spin is 0


class Noise(Protocol):
    """What all local noise has, on spins and real values as on tokens."""

    @property
    def name(self) -> str:
        """What specs and the command line call it."""

    def snr(self, t: float) -> float:
        """Return the signal-to-noise ratio at time t: inf at t = 0, falling to 0 at t = 1."""

    def corrupt(self, x_0: NDArray, t: float, rng: Rng = None) -> FloatArray:
        """Return noisy values of the same shape as `x_0`."""

    def peak_log_likelihood(self, x_t: NDArray, t: float) -> FloatArray:
        """Return max over s of log p(x_t|s), elementwise, s = +-1 or 0..q-1."""

    def output_law(self, t: float) -> FloatArray:
        """Return the law of a site's observation p(outcome|s), (n_outcomes, 2) for s = +1, -1, else (n_outcomes, q).

        Continuous outcomes are discretised by a quadrature that is exact to rounding.
        """


class Channel(Noise, Protocol):
    """Local noise on sites, as models, exact solutions, denoisers and estimators use it.

    A channel that gives few values lists them in an attribute `alphabet`, and exact solutions refuse all others.
    """

    def time(self, snr: float) -> float:
        """Return the time in [0, 1] at which the signal-to-noise ratio is `snr`."""

    def add_noise(self, x_s: NDArray, s: float, t: float, rng: Rng = None) -> FloatArray:
        """Draw x_t given x_s, s <= t: the noise between two times; corrupt(.., t) is corrupt(.., s) and this."""

    def bridge(self, x_t: NDArray, x_0: NDArray, t: float, s: float, rng: Rng = None) -> FloatArray:
        """Draw x_s given its noisier version x_t and the clean x_0, s <= t: one reverse step, site by site."""

    def likelihood_field(self, x_t: NDArray, t: float) -> FloatArray:
        """Return h with p(x_t|s) proportional to exp(h s) for s = +-1; +-inf where the spin is certain."""


class TokenNoise(Noise, Protocol):
    """Local noise on tokens 0..q-1: likelihoods in place of fields."""

    @property
    def q(self) -> int | None: ...

    @property
    def alphabet(self) -> tuple[float, ...]: ...

    def likelihoods(self, x_t: NDArray, t: float) -> FloatArray:
        """Return p(x_t|s) / max_s p(x_t|s) for s = 0..q-1, (*x_t.shape, q)."""


class GaussianNoise(Channel, Protocol):
    """A channel x_t = alpha(t) x_0 + sigma(t) z, z ~ N(0, 1), which real-valued data need for exact answers."""

    def alpha(self, t: float) -> float: ...

    def sigma(self, t: float) -> float: ...

    def bridge_moments(self, t: float, s: float) -> tuple[float, float, float]: ...


def is_gaussian(channel: Channel) -> TypeGuard[GaussianNoise]:
    """Return whether a channel is additive Gaussian noise: it has `alpha` and `sigma`."""
    return hasattr(channel, "alpha") and hasattr(channel, "sigma")


def check_noise(channel: Any) -> None:
    """Raise InputError for what is no channel, such as the name of one or a class."""
    if isinstance(channel, type) or not hasattr(channel, "snr"):
        raise InputError(f"channel must be one such as channels.Gaussian(), got {shown(channel)}")


def check_gaussian(channel: Channel) -> GaussianNoise:
    """Return `channel` if it is Gaussian noise; raise InputError otherwise."""
    check_noise(channel)
    if not is_gaussian(channel):
        raise InputError(f"real-valued data take the gaussian channel, got {channel.name}; spins take any channel")
    return channel


def check_time(t: float) -> float:
    """Return t if it is in [0, 1] (0 below SHARP); raise InputError otherwise."""
    if not 0.0 <= t <= 1.0:  # also refuses NaN
        raise InputError(f"t must be in [0, 1], 0 clean and 1 pure noise, got {t}")
    return float(t) if t > SHARP else 0.0


def check_order(s: float, t: float) -> tuple[float, float]:
    """Return s and t if 0 <= s <= t <= 1; raise InputError otherwise."""
    s, t = check_time(s), check_time(t)
    if s > t:
        raise InputError(f"s must be the cleaner time, s <= t, got s = {s} and t = {t}")
    return s, t


def check_shapes(x_t: NDArray, x_0: NDArray) -> None:
    """Raise InputError unless both have one shape."""
    if x_t.shape != x_0.shape:
        raise InputError(f"x_t and x_0 must have one shape, got {x_t.shape} and {x_0.shape}")


def check_snr(snr: float) -> float:
    if not snr >= 0.0:
        raise InputError(f"snr must be >= 0 (inf for t = 0), got {snr}")
    return float(snr)


@dataclass(frozen=True)
class Gaussian:
    """Gaussian diffusion x = alpha(t) s + sigma(t) z, z ~ N(0, 1).

    Args:
        schedule: "linear" (alpha = 1-t, sigma = t), "vp" (variance preserving: cos, sin of pi t/2;
            Ornstein-Uhlenbeck time -log alpha) or "ve" (variance exploding: alpha = 1, sigma = t/(1-t)).
    """

    name: ClassVar[str] = "gaussian"
    schedule: Schedule = "linear"

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise InputError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {self.schedule!r}")

    def alpha(self, t: float) -> float:
        t = check_time(t)
        if self.schedule == "linear":
            return 1.0 - t
        return math.sin(math.pi * (1.0 - t) / 2) if self.schedule == "vp" else 1.0

    def sigma(self, t: float) -> float:
        t = check_time(t)
        if self.schedule == "linear":
            return t
        if self.schedule == "vp":
            return math.sin(math.pi * t / 2)
        return t / (1.0 - t) if t < 1.0 else math.inf

    def snr(self, t: float) -> float:
        alpha, sigma = self.alpha(t), self.sigma(t)
        return (alpha / sigma) ** 2 if sigma > 0.0 else math.inf

    def time(self, snr: float) -> float:
        root = math.sqrt(check_snr(snr))
        if self.schedule == "vp":
            return 2.0 / math.pi * math.atan2(1.0, root) if root < math.inf else 0.0
        return 1.0 / (1.0 + root)

    def corrupt(self, x_0: NDArray, t: float, rng: Rng = None) -> FloatArray:
        sigma = self.sigma(t)
        if sigma == math.inf:
            raise InputError("t must be < 1 for the ve schedule, whose noise is infinite at t = 1; use linear or vp")
        return self.alpha(t) * x_0 + sigma * np.random.default_rng(rng).standard_normal(x_0.shape)

    def _between(self, s: float, t: float) -> tuple[float, float]:
        """Return alpha and sigma^2 of the noise from s to t."""
        s, t = check_order(s, t)
        if self.sigma(t) == math.inf:
            raise InputError("t must be < 1 for the ve schedule, whose noise is infinite at t = 1; use linear or vp")
        ratio = self.alpha(t) / self.alpha(s) if s < t else 1.0
        return ratio, max(self.sigma(t) ** 2 - (ratio * self.sigma(s)) ** 2, 0.0)

    def add_noise(self, x_s: NDArray, s: float, t: float, rng: Rng = None) -> FloatArray:
        ratio, variance = self._between(s, t)
        return ratio * x_s + math.sqrt(variance) * np.random.default_rng(rng).standard_normal(x_s.shape)

    def bridge_moments(self, t: float, s: float) -> tuple[float, float, float]:
        """Return a, b, v of x_s ~ N(a x_t + b x_0, v) given x_t and x_0 (Ho et al. 2020, eq. 7, any alpha, sigma)."""
        ratio, variance = self._between(s, t)
        if s == t:
            return 1.0, 0.0, 0.0
        old, share = self.sigma(s) ** 2, 1.0 / self.sigma(t) ** 2
        return share * ratio * old, share * self.alpha(s) * variance, share * old * variance

    def bridge(self, x_t: NDArray, x_0: NDArray, t: float, s: float, rng: Rng = None) -> FloatArray:
        check_shapes(x_t, x_0)
        keep, pull, variance = self.bridge_moments(t, s)
        return keep * x_t + pull * x_0 + math.sqrt(variance) * np.random.default_rng(rng).standard_normal(x_t.shape)

    def likelihood_field(self, x_t: NDArray, t: float) -> FloatArray:
        sigma = self.sigma(t)
        if sigma == 0.0:
            return np.where(x_t > 0, math.inf, -math.inf)
        return np.asarray(x_t * (self.alpha(t) / sigma**2), dtype=float)

    def peak_log_likelihood(self, x_t: NDArray, t: float) -> FloatArray:
        alpha, sigma = self.alpha(t), self.sigma(t)
        if not 0.0 < sigma < math.inf:
            raise InputError(f"t must leave a density, 0 < sigma(t) < inf, got {t} for the {self.schedule} schedule")
        return -0.5 * ((np.abs(x_t) - alpha) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))

    def output_law(self, t: float) -> FloatArray:
        return gaussian_output_law(self.snr(t))


def gaussian_output_law(snr: float) -> FloatArray:
    """Return the law of y = snr s + sqrt(snr) z (so that p(y|s) ~ exp(s y)) by the trapezoidal rule, (n_outcomes, 2).

    The step resolves both the Gaussian and the nearest pole of any log-ratio, at i pi/2, to rounding.
    """
    snr = check_snr(snr)
    if snr == 0.0:
        return np.array([[1.0, 1.0]])
    if snr > SNR_CERTAIN:
        return np.eye(2)
    root = math.sqrt(snr)
    n_half = math.ceil((snr + 9.0 * root) / min(0.4 * root, 0.28))
    y = np.linspace(-(snr + 9.0 * root), snr + 9.0 * root, 2 * n_half + 1)
    law = np.exp(-0.5 * ((y[:, None] - snr * np.array([1.0, -1.0])) / root) ** 2)
    return law / law.sum(axis=0)


@dataclass(frozen=True)
class BitFlip:
    """Bit flips: each spin changes its sign with probability p = t/2."""

    name: ClassVar[str] = "bitflip"
    alphabet: ClassVar[tuple[float, ...]] = (-1.0, 1.0)

    def flip_probability(self, t: float) -> float:
        return check_time(t) / 2

    def snr(self, t: float) -> float:
        p = self.flip_probability(t)
        return (1 - 2 * p) ** 2 / (4 * p * (1 - p)) if p > 0.0 else math.inf

    def time(self, snr: float) -> float:
        snr = check_snr(snr)
        # 1 - sqrt(snr/(1+snr)), written so that large ratios keep their digits
        return 1.0 / (1.0 + snr + math.sqrt(snr * (1.0 + snr))) if snr < math.inf else 0.0

    def corrupt(self, x_0: NDArray, t: float, rng: Rng = None) -> FloatArray:
        return np.where(np.random.default_rng(rng).random(x_0.shape) < self.flip_probability(t), -1.0, 1.0) * x_0

    def _between(self, s: float, t: float) -> float:
        """Return the probability of a flip from s to t: 1 - 2 p_t = (1 - 2 p_s)(1 - 2 p)."""
        s, t = check_order(s, t)
        return (t - s) / (2.0 * (1.0 - s)) if s < t else 0.0

    def add_noise(self, x_s: NDArray, s: float, t: float, rng: Rng = None) -> FloatArray:
        return np.where(np.random.default_rng(rng).random(x_s.shape) < self._between(s, t), -1.0, 1.0) * x_s

    def bridge(self, x_t: NDArray, x_0: NDArray, t: float, s: float, rng: Rng = None) -> FloatArray:
        check_shapes(x_t, x_0)
        late, early = self._between(s, t), self.flip_probability(s)
        as_noisy = np.where(x_t == x_0, 1.0 - early, early) * (1.0 - late)  # p(x_s = x_t | x_0) p(x_t | x_s)
        flipped = np.where(x_t == x_0, early, 1.0 - early) * late
        return np.where(np.random.default_rng(rng).random(x_t.shape) * (as_noisy + flipped) < flipped, -1.0, 1.0) * x_t

    def likelihood_field(self, x_t: NDArray, t: float) -> FloatArray:
        p = self.flip_probability(t)
        if p == 0.0:
            return np.where(x_t > 0, math.inf, -math.inf)
        return np.asarray(x_t * (0.5 * math.log((1 - p) / p)), dtype=float)

    def peak_log_likelihood(self, x_t: NDArray, t: float) -> FloatArray:
        return np.full(np.shape(x_t), math.log1p(-self.flip_probability(t)))

    def output_law(self, t: float) -> FloatArray:
        p = self.flip_probability(t)
        return np.array([[1 - p, p], [p, 1 - p]])


@dataclass(frozen=True)
class Erasure:
    """Each site is masked with probability eps = t: masked diffusion.

    Spins become 0, tokens become `MASK`. Noise of spins is `Erasure()`, of tokens `Erasure(q)`. Tokens in an array of
    unsigned integers, as models sample them, and models of tokens tell `Erasure()` what they are.
    """

    name: ClassVar[str] = "erasure"
    q: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", None if self.q is None else check_symbols(self.q))

    @property
    def mask(self) -> float:
        """The value of a masked site."""
        return 0.0 if self.q is None else MASK

    @property
    def alphabet(self) -> tuple[float, ...]:
        return (-1.0, 0.0, 1.0) if self.q is None else (MASK, *map(float, range(self.q)))

    def snr(self, t: float) -> float:
        t = check_time(t)
        return (1 - t) / t if t > 0.0 else math.inf

    def time(self, snr: float) -> float:
        return 1.0 / (1.0 + check_snr(snr))

    def corrupt(self, x_0: NDArray, t: float, rng: Rng = None) -> FloatArray:
        x_0 = np.asarray(x_0)
        mask = MASK if x_0.dtype.kind == "u" else self.mask
        if mask == 0.0 and x_0.dtype.kind == "i" and x_0.max(initial=0) > 1:
            raise InputError(f"x_0 holds {x_0.max()}, which no spin is; mask tokens of q symbols by Erasure(q)")
        return np.where(np.random.default_rng(rng).random(x_0.shape) < check_time(t), mask, x_0)

    def add_noise(self, x_s: NDArray, s: float, t: float, rng: Rng = None) -> FloatArray:
        s, t = check_order(s, t)
        return np.where(np.random.default_rng(rng).random(x_s.shape) * (1.0 - s) < t - s, self.mask, x_s)

    def bridge(self, x_t: NDArray, x_0: NDArray, t: float, s: float, rng: Rng = None) -> FloatArray:
        check_shapes(x_t, x_0)
        s, t = check_order(s, t)
        return np.where((x_t == self.mask) & (np.random.default_rng(rng).random(x_t.shape) * t >= s), x_0, x_t)

    def likelihood_field(self, x_t: NDArray, t: float) -> FloatArray:
        check_time(t)
        x_t = np.asarray(x_t, float)
        return np.asarray(np.where(x_t == 0, 0.0, np.copysign(math.inf, x_t)))

    def likelihoods(self, x_t: NDArray, t: float) -> FloatArray:
        check_time(t)
        x_t = np.asarray(x_t)[..., None]
        return np.where(x_t == MASK, 1.0, x_t == np.arange(self.q or 2))

    def peak_log_likelihood(self, x_t: NDArray, t: float) -> FloatArray:
        t = check_time(t)
        with np.errstate(divide="ignore"):  # log 0 is right: that observation cannot occur
            masked, kept = np.log(t), np.log1p(-t)
        return np.asarray(np.where(np.asarray(x_t) == self.mask, masked, kept), float)

    def output_law(self, t: float) -> FloatArray:
        t, q = check_time(t), self.q or 2
        return np.concatenate([(1 - t) * np.eye(q), np.full((1, q), t)])


@dataclass(frozen=True)
class Uniform:
    """Each token is replaced, with probability t, by one drawn uniformly from all q symbols (which may be the same).

    Also called multinomial diffusion (Hoogeboom et al. 2021, arXiv:2102.05379; Austin et al. 2021, arXiv:2107.03006).
    For q = 2 it is the bit flip with p = t/2. Its signal-to-noise ratio is rho^2 / (1 - rho^2), where rho = 1 - t is
    the correlation of any function of the symbol with the same function of its noisy version. Without q it takes that
    of the model it is used with.
    """

    name: ClassVar[str] = "uniform"
    q: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", None if self.q is None else check_symbols(self.q))

    @property
    def _symbols(self) -> int:
        if self.q is None:
            raise InputError("q must be given to draw symbols without a model; use Uniform(q)")
        return self.q

    @property
    def alphabet(self) -> tuple[float, ...]:
        return tuple(map(float, range(self._symbols)))

    def snr(self, t: float) -> float:
        return BitFlip().snr(t)

    def time(self, snr: float) -> float:
        return BitFlip().time(snr)

    def corrupt(self, x_0: NDArray, t: float, rng: Rng = None) -> FloatArray:
        return self.add_noise(x_0, 0.0, t, rng)

    def add_noise(self, x_s: NDArray, s: float, t: float, rng: Rng = None) -> FloatArray:
        (s, t), rng = check_order(s, t), np.random.default_rng(rng)
        drawn = rng.integers(0, self._symbols, np.shape(x_s)).astype(float)
        return np.where(rng.random(np.shape(x_s)) * (1.0 - s) < t - s, drawn, x_s)

    def bridge(self, x_t: NDArray, x_0: NDArray, t: float, s: float, rng: Rng = None) -> FloatArray:
        check_shapes(x_t, x_0)
        (s, t), rng = check_order(s, t), np.random.default_rng(rng)
        late, q = (t - s) / (1.0 - s) if s < t else 0.0, self._symbols
        # p(x_t | x_s) p(x_s | x_0) is a sum over which of the two noises replaced the token
        neither, first = np.where(x_t == x_0, (1 - late) * (1 - s), 0.0), (1 - late) * s / q
        second, both = late * (1 - s) / q, late * s / q
        u = rng.random(np.shape(x_t)) * (neither + first + second + both)
        drawn = rng.integers(0, q, np.shape(x_t)).astype(float)
        return np.where(u < neither + first, x_t, np.where(u < neither + first + second, x_0, drawn))

    def likelihoods(self, x_t: NDArray, t: float) -> FloatArray:
        t, q = check_time(t), self._symbols
        other = (t / q) / (1 - t + t / q)
        return np.where(np.asarray(x_t)[..., None] == np.arange(q), 1.0, other)

    def peak_log_likelihood(self, x_t: NDArray, t: float) -> FloatArray:
        t = check_time(t)
        return np.full(np.shape(x_t), math.log1p(t / self._symbols - t))

    def output_law(self, t: float) -> FloatArray:
        t, q = check_time(t), self._symbols
        return (1 - t) * np.eye(q) + t / q


CHANNELS: list[Any] = [Gaussian, BitFlip, Erasure, Uniform]


def for_tokens(channel: Any, q: int) -> TokenNoise:
    """Return the noise of tokens of q symbols, its number of symbols filled in where it was left open.

    Raises InputError for noise of other data, or of another number of symbols.
    """
    if not hasattr(channel, "likelihoods"):
        raise InputError(f"tokens take erasure or uniform noise, got {channel.name}")
    if channel.q not in (None, q):
        raise InputError(f"channel must be noise of the data's {q} symbols, got q = {channel.q}")
    return replace(channel, q=q) if channel.q is None else channel


def for_model(model: Any, channel: Any) -> Any:
    """Return the channel as it acts on the data of a model; raise InputError for noise that they do not take."""
    check_noise(channel)
    data = getattr(model, "data", "spins")
    if data == "tokens":
        return for_tokens(channel, model.q)
    if symbols_of(channel) is not None or not hasattr(channel, "likelihood_field"):
        raise InputError(f"{channel.name} noise of symbols is for tokens, got {data}; use Erasure() or BitFlip()")
    return channel


def symbols_of(channel: Any) -> int | None:
    """Return the number of symbols of noise of tokens, None for other noise."""
    return getattr(channel, "q", None)


def check_tokens(name: str, x: NDArray, q: int, least: int = 0) -> None:
    """Raise InputError unless all values are integers from `least` to q - 1; MASK is the least of masked tokens."""
    known = (x >= least) & (x < q) & (x == np.floor(x))
    if not known.all():
        masked = "" if least == 0 else ", masked ones -1"
        raise InputError(f"{name} must hold tokens, integers 0..{q - 1}{masked}, got {x[~known][0]:g}")


def check_symbols(q: Any, name: str = "q") -> int:
    """Return the number of symbols; raise InputError unless it is an integer from 2 to 65,536."""
    if not isinstance(q, int | np.integer | float | np.floating) or q != int(q) or not 2 <= q <= 1 << 16:
        raise InputError(f"{name} must be an integer >= 2 (at most 65,536), the number of symbols, got {shown(q)}")
    return int(q)


def find(name: str) -> Any:
    """Return the class of a channel by its name, as `file.py:Class`, or by an entry point; InputError if unknown."""
    return registry.find(name, CHANNELS, "channel", "lattice_diffusion.channels")
