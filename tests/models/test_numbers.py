"""Numbers of any NumPy dtype give what Python's give, bit by bit; values that are no spins are refused."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import lattice_diffusion as ld
import lattice_diffusion.exact.enumeration
import lattice_diffusion.exact.magnetisation
from lattice_diffusion.errors import InputError
from lattice_diffusion.exact.ising import TransferMatrix

M, C, X = ld.models, ld.channels, ld.exact
DTYPES = ["uint8", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "longdouble"]
SPINS = np.where(np.arange(40).reshape(4, 10) % 3 == 0, 1, -1)


def answers(real: Callable[[float], Any], whole: Callable[[int], Any]) -> Iterator[Any]:
    """Yield numbers from all constructors, with beta = 1, times 0 and 1, radii, sizes and numbers of samples."""
    line, grid, torus = ld.Lattice(whole(9)), ld.Lattice((whole(4), whole(5))), ld.Lattice((5, 6), True)
    site, n = (whole(2), whole(2)), whole(20)
    parts = grid.tripartition(site, whole(1))
    walls, loops = M.DomainWalls((whole(4), whole(5)), real(1)), M.DomainWalls((4, 5))
    mixtures = M.GaussianMixture(grid, real(40), real(30)), M.GaussianMixture(grid, real(40), mass_squared=real(1))
    mean_field = M.CurieWeiss.from_parameters(regions=(whole(50), whole(100), whole(120)), beta=real(2))
    yield X.cmi(M.IsingChain(line, real(1)), C.BitFlip(), 0.3, line.tripartition((whole(4),), whole(1)), n, 0).value
    yield X.cmi(M.Ising(grid, real(1)), C.BitFlip(), 0.3, parts, n, 0).value
    yield X.cmi(walls, C.BitFlip(), 0.3, walls.tripartition(whole(1)), n, 0).value
    yield X.cmi(loops, C.Erasure(), 0.3, loops.tripartition(whole(1), block=(whole(1), whole(1))), n, 0).value
    yield loops.solver.label_entropy(C.BitFlip(), 0.3, n, 0).value
    yield X.cmi(mean_field, C.BitFlip(), 0.3, mean_field.tripartition(regions=(40, 110, whole(120)))).value
    yield mean_field.transition(C.BitFlip()).time
    for model in (*mixtures, M.GaussianField(grid, real(1))):
        yield X.cmi(model, C.Gaussian(), 0.3, parts).value
        yield model.sample(whole(3), 0)
    yield mixtures[0].transition(C.Gaussian()).time
    yield M.GaussianField(grid, real(1)).markov_length(C.Gaussian(), real(0))
    yield M.Ising(grid, real(1)).sample(n, 0)
    yield torus.box((whole(0), whole(0)), whole(1), whole(2))
    yield X.magnetisation.magnetisation_law((whole(4), whole(70)), real(1))[1]
    yield X.magnetisation.patch_law((whole(4), whole(4)), real(1), whole(2))
    yield X.magnetisation.sign_log_weights(real(1), np.ones((2, 3, 3)))
    for channel in (C.BitFlip(), C.Erasure(), C.Gaussian("vp")):
        yield from (channel.snr(real(1)), channel.snr(real(0)), channel.time(real(3)))
        yield channel.corrupt(SPINS, real(1), 0)
        yield channel.add_noise(SPINS, real(0), real(1), 0)
        yield channel.bridge(SPINS, SPINS, real(1), real(0), 0)
        yield channel.output_law(real(1))
        yield channel.likelihood_field(SPINS, real(1))


@pytest.fixture(scope="module")
def python_answers() -> list[Any]:
    return list(answers(float, int))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_dtype(dtype: str, python_answers: list[Any]) -> None:
    kind = np.dtype(dtype).type
    whole = kind if np.dtype(dtype).kind in "ui" else int
    for k, (found, right) in enumerate(zip(answers(kind, whole), python_answers, strict=True)):
        np.testing.assert_array_equal(found, right, err_msg=f"answer {k}")


@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble"])
def test_fractions_of_every_dtype(dtype: str) -> None:
    """A coupling in single precision must not sit in the cache of solvers either, where it answers for the other."""
    grid = ld.Lattice((4, 5))
    parts, number, x = grid.tripartition((2, 2), 1), np.dtype(dtype).type, np.ones((3, 40))
    found, right = (
        (
            X.cmi(M.Ising(grid, y), C.BitFlip(), t, parts, 20, 0).value,
            X.cmi(M.GaussianField(grid, y), C.Gaussian(), t, parts).value,
            X.cmi(M.GaussianMixture(grid, y, y), C.Gaussian("vp"), t, parts).value,
            C.BitFlip().add_noise(x, t, y, 0).sum(),
            C.Erasure().add_noise(x, t, y, 0).sum(),
            C.Erasure().bridge(0 * x, x, y, t, 0).sum(),
            TransferMatrix(np.full((4, 4), y), np.full((3, 5), y)).log_evidence(np.full((1, 4, 5), 0.3))[0],
        )
        for y, t in ((number(0.4375), number(0.25)), (0.4375, 0.25))
    )
    assert found == right


BAD = [
    (C.BitFlip(), 0.3, 0.0),
    (C.BitFlip(), 0.3, 0.3),
    (C.BitFlip(), 0.0, 2.0),
    (C.Erasure(), 0.3, 0.5),
    (C.Gaussian(), 0.0, 0.3),
]


@pytest.mark.parametrize(("channel", "t", "value"), BAD)
def test_values_that_are_no_spins(channel: Any, t: float, value: float) -> None:
    model = M.IsingChain(ld.Lattice(9), 1.0)
    seen = model.sites.copy()
    seen[0] = False
    x_t = np.ones((2, 9))
    x_t[:, 0] = value  # not read
    X.posterior_mean(model, channel, t, x_t, seen)
    x_t[1, 4] = value
    site = np.arange(9) == 4
    for call in (
        lambda: X.log_marginal(model, channel, t, x_t, seen),
        lambda: X.posterior(model, channel, t, x_t, site, seen),
        lambda: X.posterior_mean(model, channel, t, x_t, seen),
        lambda: ld.denoisers.ExactDenoiser(model, channel, 1)(x_t[1:, None], t),
        lambda: ld.denoisers.ExactDenoiser(model, channel).blind(np.repeat(x_t[1:, None], 2, axis=0), [0.6 * t, t]),
    ):
        with pytest.raises(InputError, match=rf"^x_t must hold only -1, .*got {value:g}; convert 0/1 data by 2\*x"):
            call()


def test_values_that_are_spins() -> None:
    """0 is an erased spin and any real number a noisy one; unused entries of domain walls are 0 under any noise."""
    chain, loops = M.IsingChain(ld.Lattice(9), 1.0), M.DomainWalls((3, 3))
    assert X.posterior_mean(chain, C.Erasure(), 0.3, np.zeros((1, 9)), chain.sites) == pytest.approx(0.0)
    assert np.isfinite(X.log_marginal(chain, C.Gaussian(), 0.3, np.full((1, 9), 0.3), chain.sites)).all()
    noisy = C.BitFlip().corrupt(loops.sample(4, 0), 0.3, 0)
    assert np.isfinite(X.log_marginal(loops, C.BitFlip(), 0.3, noisy, np.ones(loops.lattice.shape, bool))).all()


def test_extreme_numbers_are_answered_or_refused() -> None:
    """At large beta all spins are alike: 30 copies of one coin, whose noisy versions are a mixture of two products."""
    model = M.CurieWeiss(ld.Lattice(5), 1000.0)
    p, t = 0.4, 0.8
    counts = np.bitwise_count(np.arange(32))
    table = 0.5 * (p**counts * (1 - p) ** (5 - counts) + (1 - p) ** counts * p ** (5 - counts)).reshape((2,) * 5)
    parts = ld.Tripartition.from_sizes(1, 2, 2)
    right = X.enumeration.conditional_information(table, parts.A, parts.B, parts.C)
    assert X.cmi(model, C.BitFlip(), t, parts).value == pytest.approx(right, rel=1e-9)
    assert set(np.abs(model.sample(20, 0).sum(axis=1))) == {5}
    for numbers in ({"mean": 1e155}, {"std": 1e-155}, {"mean": np.nan}):
        with pytest.raises(InputError, match=f"^{next(iter(numbers))} must be from .*; choose another unit$"):
            M.GaussianMixture(ld.Lattice(5), **numbers)
    far = M.GaussianMixture(ld.Lattice(5), 1e60)
    assert far.label_information(C.Gaussian(), 0.5, far.sites) == pytest.approx(np.log(2))


def test_no_label_no_transition() -> None:
    """A chain has no spontaneous magnetisation, the square lattice's is not that of three dimensions."""
    times = [M.Ising(ld.Lattice(shape), 0.6).transition(C.BitFlip()) for shape in (9, (1, 9), (4, 4, 4))]
    assert times == [None, None, None]
    assert M.Ising(ld.Lattice((4, 4)), 0.6).transition(C.BitFlip()) is not None
    assert M.GaussianMixture(ld.Lattice(9), 0.0, std=3.0).transition(C.Gaussian()) is None
