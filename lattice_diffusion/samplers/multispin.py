"""Ising chains packed 64 spins to a word: one large lattice in 64 strips, or 64 replicas of any lattice per word.

    chain = multispin_chain(lattice, beta, 1000, rng)                      # one lattice, even sides, one of them 64 n
    chain = multispin_chain(lattice, beta, 1000, rng, n_replicas=512)      # any 2D lattice, odd and open ones too
    chain.sweep(10).spins()                                                # int8 (n_replicas, *lattice.shape)
    chain = multispin_chain(lattice, beta, 1000, rng, device="cuda")       # the same on a GPU

Spins stay packed (one bit each) and are unpacked on demand. Each chain owns its generator, seeded from `rng` once.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ..errors import InputError, check_memory, device_of, shown
from ..kernels import multispin, random_bits
from ..lattice import Lattice, Rng, check_lattice
from .chains import MAX_UPDATES, Chain, Schedule, check_beta, check_n_samples, check_schedule, neighbor_tables

Update = Literal["metropolis", "heat_bath"]
Words = NDArray[np.uint64]
ONES = np.uint64(2**64 - 1)
EPSILON = 1 / 64  # proposals that Metropolis leaves out, see kernels.multispin


def flip_probabilities(beta: float, update: Update) -> NDArray[np.float64]:
    """Return P(flip), (2, 3), at local field h along the spin; even and odd degree by m = 0, 1, 2 unlike neighbours."""
    h = np.array([[4.0, 2.0, 0.0], [3.0, 1.0, 0.0]])  # odd, m = 2: h = -1, where Metropolis is as at 0
    return (1 - EPSILON) * np.exp(-2 * beta * h) if update == "metropolis" else expit(-2 * beta * h)


@dataclass(frozen=True, eq=False)
class Expansion:
    """Probabilities in units of 2^-K and the rare override that makes them exact.

    p = (1 - rate) threshold / 2^K + rate value, (2, 3) each. Rounding up (value 0) or down (value 1), whichever
    needs the smaller rate, keeps it <= 2^-n_digits; the smallest p keep their relative precision.
    """

    threshold: NDArray[np.int64]
    rate: NDArray[np.float64]
    value: Words


def expansion(p: ArrayLike, n_digits: int = random_bits.K) -> Expansion:
    """Return the first n_digits <= K binary digits of p, and what repairs their truncation."""
    p = np.asarray(p, float)
    below = np.floor(np.ldexp(p, n_digits))
    low, high = np.ldexp(below, -n_digits), np.ldexp(below + 1, -n_digits)
    raise_rate = np.divide(p - low, 1 - low, out=np.zeros_like(p), where=low < 1)
    lower_rate = (high - p) / high
    up = lower_rate < raise_rate
    threshold = ((below + up) * 2 ** (random_bits.K - n_digits)).astype(np.int64)
    return Expansion(threshold, np.where(up, lower_rate, raise_rate), (~up).astype(np.uint64))


def digit_words(threshold: NDArray[np.int64], odd: Words) -> Words:
    """Return the digits of each class per word, (kinds, 3, K + 1), bits of `odd` (kinds,) from the table of odd degree.

    2^K = (2^K - 1) + 1: the last entry, from which Horner starts, is 1 for probability one.
    """
    whole = threshold >> random_bits.K
    digits = ((threshold - whole)[..., None] >> np.arange(random_bits.K)) & 1
    even_words, odd_words = np.where(np.append(digits, whole[..., None], axis=-1) == 1, ONES, np.uint64(0))
    odd = odd[:, None, None]
    return (even_words & ~odd) | (odd_words & odd)


def fractions(p: NDArray[np.float64]) -> Words:
    """Return probabilities below 1 in units of 2^-64."""
    return np.ldexp(p, 64).astype(np.uint64)


@dataclass(frozen=True, eq=False)
class Strips:
    """One lattice, bit b of a word in strip b of L_0 / 64 rows; colours apart, [colour, row, pair of columns]."""

    packed_shape: tuple[int, int, int]
    height: int
    width: int
    transposed: bool
    periodic: NDArray[np.bool_]
    side: Words
    edges: Words
    segments: NDArray[np.int64]
    kinds: NDArray[np.int64]
    odd: Words

    @staticmethod
    def takes(lattice: Lattice) -> bool:
        """Return True for even sides, one of them a multiple of 64."""
        return lattice.ndim == 2 and all(n % 2 == 0 for n in lattice.shape) and any(n % 64 == 0 for n in lattice.shape)

    @classmethod
    def of(cls, lattice: Lattice) -> "Strips":
        transposed = lattice.shape[0] % 64 != 0
        rows, columns = lattice.shape[::-1] if transposed else lattice.shape
        if not cls.takes(lattice):
            need = "one lattice in 64 strips needs even sides, one a multiple of 64"
            raise InputError(f"{need}, got {lattice.shape}; use n_replicas=64 (or more) for any other shape")
        periodic = np.array(lattice.periodic[::-1] if transposed else lattice.periodic)
        height, width = rows // 64, columns // 2
        row = np.arange(64) * height + np.arange(height)[:, None]
        side = pack_bits((row + np.arange(2)[:, None, None]) % 2)
        edges = pack_bits(~periodic[0] & ((row == 0) | (row == rows - 1)))
        cuts = [0, width] if periodic[1] else sorted({0, 1, width - 1, width})
        segments = np.stack([cuts[:-1], cuts[1:]], axis=1)
        odd = np.repeat(np.broadcast_to(edges[:, None], (2, height, 1)), len(segments), axis=2)
        if not periodic[1]:
            odd[..., 0] ^= ~side
            odd[..., -1] ^= side
        words, kinds = np.unique(odd, return_inverse=True)
        kinds, frame = kinds.reshape(odd.shape), (2, height + 2, width + 2)
        return cls(frame, height, width, transposed, periodic, side, edges, segments, kinds, words)

    def pack(self, spins: NDArray[np.generic]) -> Words:
        """Pack spins (1, *shape) into packed_shape."""
        plane = spins[0].T if self.transposed else spins[0]
        words = pack_bits(np.moveaxis(plane.reshape(64, self.height, 2 * self.width), 0, -1) > 0)
        out = np.zeros(self.packed_shape, np.uint64)
        side = self.side[..., None]
        out[:, 1:-1, 1:-1] = (words[:, 1::2] & side) | (words[:, ::2] & ~side)
        return out

    def unpack(self, packed: Words, n_replicas: int) -> NDArray[np.int8]:
        inner, side = packed[:, 1:-1, 1:-1], self.side[..., None]
        columns = np.stack([np.bitwise_or.reduce(inner & mask, axis=0) for mask in (~side, side)], axis=-1)
        plane = np.moveaxis(unpack_bits(columns.reshape(self.height, -1)), -1, 0).reshape(64 * self.height, -1)
        return np.ascontiguousarray(plane.T if self.transposed else plane)[None]

    def sweep(self, packed: Words, work: Words, n: int, *tables: Any) -> None:
        multispin.sweep_strips(packed, work, n, *self.tables(), *tables)

    def tables(self) -> tuple[NDArray[Any], ...]:
        """Return the geometry that the kernels read, here and on a GPU."""
        return self.periodic, self.side, self.edges, self.segments, self.kinds, self.odd


@dataclass(frozen=True, eq=False)
class Replicas:
    """64 G lattices of any shape, bit b of word g in replica 64 g + b; packed spins are (N, G)."""

    shape: tuple[int, ...]
    packed_shape: tuple[int, int]
    order: Words
    blocks: NDArray[np.int64]
    kinds: NDArray[np.int64]
    neighbors: Words
    unlike: Words
    odd: Words

    @classmethod
    def of(cls, lattice: Lattice, n_words: int) -> "Replicas":
        table = np.pad(neighbor_tables(lattice)[0], ((0, 0), (0, 4 - 2 * lattice.ndim)), constant_values=-1)
        degree = (table >= 0).sum(axis=1)
        sites = np.arange(lattice.n_sites)[:, None]
        neighbors = np.where(table >= 0, table, sites).astype(np.uint64)
        unlike = np.where(degree <= 2, ONES, np.uint64(0))
        order = np.argsort(degree % 2, kind="stable")
        n_even, at_once = int((degree % 2 == 0).sum()), max(1, random_bits.LANES // n_words)
        cuts = sorted({*range(0, n_even, at_once), *range(n_even, lattice.n_sites + 1, at_once), lattice.n_sites})
        blocks = np.stack([cuts[:-1], cuts[1:]], axis=1)
        kinds = (blocks[:, 0] >= n_even).astype(np.int64)
        packed, odd = (lattice.n_sites, n_words), np.array([0, ONES], np.uint64)
        return cls(lattice.shape, packed, order.astype(np.uint64), blocks, kinds, neighbors, unlike, odd)

    def pack(self, spins: NDArray[np.generic]) -> Words:
        """Pack spins (n_replicas, *shape) into packed_shape; unfilled places repeat the first one."""
        n = len(spins)
        padded = np.concatenate([spins, np.repeat(spins[:1], -n % 64, axis=0)])
        return pack_bits(padded.reshape(self.packed_shape[1], 64, -1).transpose(2, 0, 1) > 0)

    def unpack(self, packed: Words, n_replicas: int) -> NDArray[np.int8]:
        flat = unpack_bits(packed).reshape(len(packed), -1).T[:n_replicas]
        return np.ascontiguousarray(flat).reshape(n_replicas, *self.shape)

    def sweep(self, packed: Words, work: Words, n: int, *tables: Any) -> None:
        geometry = (self.order, self.blocks, self.kinds, self.neighbors, self.unlike, self.odd)
        multispin.sweep_replicas(packed, work, n, *geometry, *tables)

    def tables(self, lattice: Lattice) -> tuple[NDArray[Any], ...]:
        """Return the geometry that a GPU reads, which updates all sites of a sublattice at once."""
        missing = self.neighbors == np.arange(lattice.n_sites, dtype=np.uint64)[:, None]
        odd = np.where(missing.sum(axis=1) % 2 == 1, ONES, np.uint64(0))
        return *sublattices(lattice), self.neighbors.astype(np.int64), self.unlike, odd


def sublattices(lattice: Lattice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sites, sublattice by sublattice, and where each begins; no two sites of one are neighbours.

    There are two, even and odd; three where a period is odd: with a proper colouring of each axis, their sum mod 3.
    """
    odd = any(flag and n % 2 for n, flag in zip(lattice.shape, lattice.periodic, strict=True))
    colors = np.zeros(lattice.shape, np.int64)
    for axis, (n, flag) in enumerate(zip(lattice.shape, lattice.periodic, strict=True)):
        color = np.arange(n) % 2
        color[-1] += 2 * (flag and n % 2)  # 0, 1, .. 0, 1, 2 around an odd period
        colors += color.reshape(-1, *(1,) * (lattice.ndim - 1 - axis))
    colors = colors.ravel() % (3 if odd else 2)
    order = np.argsort(colors, kind="stable")
    return order, np.searchsorted(colors[order], np.arange(4 if odd else 3))


def pack_bits(bits: NDArray[np.generic]) -> Words:
    """Return words from a last axis of 64 bits, the first the least significant."""
    return np.packbits(np.ascontiguousarray(bits, bool), axis=-1, bitorder="little").view("<u8")[..., 0]


def unpack_bits(words: Words) -> NDArray[np.int8]:
    """Return spins -1, +1 along a new last axis of 64."""
    octets = np.ascontiguousarray(words, "<u8")[..., None].view(np.uint8)
    return (2 * np.unpackbits(octets, axis=-1, bitorder="little").view(np.int8) - 1).astype(np.int8)


@dataclass(eq=False)
class MultispinChain:
    """A packed chain (or n_replicas independent ones) of p(s) ~ exp(beta sum_<ij> s_i s_j); made by multispin_chain.

    `beta` may be set between sweeps, nothing is recompiled; `packed` and `work` (generators) change in place. On a
    GPU `packed` and `geometry` are there, and `work` is the key of the random numbers and the sweeps made so far.
    """

    lattice: Lattice
    beta: float
    update: Update
    n_replicas: int
    layout: Strips | Replicas
    packed: Any
    work: Words
    geometry: tuple[Any, ...] | None = None

    def sweep(self, n_sweeps: int = 1) -> "MultispinChain":
        """Attempt to flip every spin n_sweeps times; return the chain."""
        check_beta(self.beta)
        if self.update not in ("metropolis", "heat_bath"):
            raise InputError(f"update must be metropolis or heat_bath, got {self.update!r}")
        if not isinstance(n_sweeps, int | np.integer) or not 0 <= n_sweeps <= MAX_UPDATES:
            raise InputError(f"n_sweeps must be an integer between 0 and {MAX_UPDATES:,}, got {n_sweeps}")
        p, glauber = flip_probabilities(self.beta, self.update), ONES if self.update == "heat_bath" else np.uint64(0)
        if self.geometry is not None:
            from ..kernels import multispin_cuda

            kernel = multispin_cuda.sweep_strips if self.n_replicas == 1 else multispin_cuda.sweep_replicas
            key, done = self.work
            law = multispin_cuda.to_device(fractions(p))
            multispin_cuda.launch(kernel, self.packed, done, int(n_sweeps), key, law, glauber, *self.geometry)
            self.work[1] += np.uint64(n_sweeps)
            return self
        table = expansion(p)
        digits = digit_words(table.threshold, self.layout.odd)
        self.layout.sweep(self.packed, self.work, int(n_sweeps), digits, table.rate, table.value, glauber)
        return self

    def spins(self) -> NDArray[np.int8]:
        """Return the present configurations, int8 (n_replicas, *lattice.shape)."""
        packed = self.packed if self.geometry is None else self.packed.copy_to_host()
        return self.layout.unpack(packed, self.n_replicas)


def multispin_chain(
    lattice: Lattice,
    beta: float,
    n_sweeps: int,
    rng: Rng = None,
    update: Update = "metropolis",
    *,
    n_replicas: int = 1,
    state: ArrayLike | None = None,
    device: str = "cpu",
) -> MultispinChain:
    """Return a packed chain of p(s) ~ exp(beta sum_<ij> s_i s_j), J = 1, no field, after n_sweeps from `state`.

    Args:
        lattice: two-dimensional (replicas: also a chain); each axis periodic or open.
        update: "metropolis", which leaves out one proposal in 64 (ergodic in any order), or "heat_bath".
        n_replicas: 1 packs one lattice into 64 strips, which takes even sides, one of them a multiple of 64, and
            updates the checkerboard; 2 or more packs 64 independent replicas per word on any lattice and updates
            site after site (best speed from 512 on, in multiples of 64).
        state: spins -1, +1 to start from, lattice.shape or (n_replicas, *lattice.shape); by default random.
        device: "cpu", "cuda", whose random numbers are others, or "auto", the GPU where there is one. A GPU needs many
            words of 64 spins at once: a large lattice, or many replicas.

    Raises InputError for bad beta, update, n_sweeps, n_replicas or state, a lattice that the layout does not take, or a
    device that is not there, has too little memory, or lacks the extra `cuda`.
    """
    check_lattice(lattice)
    device = sampling_device(device)
    rng, n_replicas = np.random.default_rng(rng), check_n_samples(n_replicas, lattice.n_sites, "n_replicas")
    if lattice.ndim > 2 or lattice.n_sites < 2 or (n_replicas == 1 and lattice.ndim != 2):
        raise InputError(f"multi-spin coding takes 2D lattices of 2 or more sites, got shape {lattice.shape}")
    layout = Strips.of(lattice) if n_replicas == 1 else Replicas.of(lattice, -(-n_replicas // 64))
    shape = (n_replicas, *lattice.shape)
    packed = rng.integers(0, 2**64, layout.packed_shape, np.uint64)
    work = rng.integers(0, 2**64, random_bits.WORK, np.uint64)
    if state is not None:
        start = np.asarray(state)
        if start.shape not in (shape, lattice.shape) or not np.all(np.abs(start) == 1):
            raise InputError(f"state must hold spins -1, +1 of shape {lattice.shape} or {shape}, got {start.shape}")
        packed = layout.pack(np.broadcast_to(start, shape))
    geometry = None
    if device == "cuda":
        from ..kernels import multispin_cuda as gpu

        tables = layout.tables() if isinstance(layout, Strips) else layout.tables(lattice)
        n_bytes = packed.nbytes + sum(table.nbytes for table in tables)
        check_memory("lattice", n_bytes, "take a smaller one or fewer replicas", gpu.free_bytes())
        packed, geometry = gpu.to_device(packed), tuple(map(gpu.to_device, tables))
        work = np.array([work[0], 0], np.uint64)
    return MultispinChain(lattice, float(beta), update, shape[0], layout, packed, work, geometry).sweep(n_sweeps)


def sampling_device(device: str) -> str:
    """Return "cpu" or "cuda" of "auto" too. Raise InputError for other devices, and for a GPU that is not usable."""
    if device == "cpu":
        return device
    if device not in ("auto", "cuda"):
        raise InputError(f"device must be cpu, cuda or auto, got {shown(device)}; CUDA_VISIBLE_DEVICES chooses the GPU")
    from ..kernels import multispin_cuda

    if multispin_cuda.available():
        return "cuda"
    if device_of(device) == "cpu":
        return "cpu"
    raise InputError("device cuda of the samplers needs numba-cuda; pip install 'lattice-diffusion[cuda]'")


def heat_bath_replicas(
    lattice: Lattice, beta: float, rng: np.random.Generator, schedule: Schedule, device: str = "cpu"
) -> Chain:
    """Return a heat bath in 64 strips where the lattice allows it, else of replicas; samples have a fair sign.

    Replicas are 64, or on a GPU as many as hold 2^28 spins, but at most 4096; only a lattice that large is in strips.
    """
    burn_in, thin = check_schedule(lattice, schedule, exponent=2.0)
    many = 64 if device == "cpu" else min(max(2**28 // lattice.n_sites, 64), 4096) // 64 * 64
    n_replicas = 1 if Strips.takes(lattice) and many == 64 else many
    state = np.full(lattice.shape, schedule.start) if schedule.start else None
    how: Any = {"n_replicas": n_replicas, "state": state, "device": device}
    chain = multispin_chain(lattice, beta, burn_in, rng, "heat_bath", **how)
    signs = (n_replicas, *(1,) * lattice.ndim)

    def spins() -> NDArray[np.int8]:
        sign: NDArray[np.int8] = rng.integers(0, 2, signs, np.int8) * np.int8(2) - np.int8(1)
        return chain.spins() * sign

    return Chain(lattice.shape, chain.sweep, spins, burn_in, thin, n_replicas)
