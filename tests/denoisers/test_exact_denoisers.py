"""The exact denoiser against brute force at every site, against dense Gaussian algebra, and against itself.

Two-valued data: all states are enumerated, weighted with the likelihood of what the box shows, and summed.
"""

import enumeration
import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.denoisers.exact import ExactDenoiser

CHANNELS = {"bitflip": ld.channels.BitFlip(), "erasure": ld.channels.Erasure(), "gaussian": ld.channels.Gaussian()}
MODELS = {
    "ising 3x4": ld.models.Ising(ld.Lattice((3, 4)), 0.43),
    "ising 5x2": ld.models.Ising(ld.Lattice((5, 2)), 0.7),
    "ising 1x7": ld.models.Ising(ld.Lattice((1, 7)), 0.9),
    "chain 9": ld.models.IsingChain(ld.Lattice((9,)), 0.7),
    "ring 8": ld.models.IsingChain(ld.Lattice((8,), periodic=True), 0.55),
    "curie-weiss 9": ld.models.CurieWeiss(ld.Lattice((9,)), 1.3),
    "loops 3x3": ld.models.DomainWalls((3, 3)),
    "loops 2x4": ld.models.DomainWalls((2, 4)),
    "loops 4x3": ld.models.DomainWalls((4, 3)),
    "walls 3x3": ld.models.DomainWalls((3, 3), beta=0.35),
    "walls 2x4": ld.models.DomainWalls((2, 4), beta=0.6),
}


def clean_states(model):
    """All states (S, *shape) of the data and their probabilities, written out from the definitions."""
    if isinstance(model, ld.models.DomainWalls):
        faces = enumeration.all_states(np.prod(model.faces)).reshape(-1, *model.faces)
        x = np.zeros((len(faces), 2, *model.faces))
        x[:, 0, :, :-1] = faces[:, :, :-1] * faces[:, :, 1:]
        x[:, 1, :-1] = faces[:, :-1] * faces[:, 1:]
        weight = np.exp(model.beta * x.sum(axis=(1, 2, 3)))
        return x, weight / weight.sum()
    lattice = model.lattice
    if isinstance(model, ld.models.CurieWeiss):
        law = enumeration.curie_weiss_law(lattice.n_sites, model.beta)
    else:
        law = enumeration.ising_law(lattice.shape, lattice.periodic, model.beta)
    return enumeration.all_states(lattice.n_sites).reshape(-1, *lattice.shape), law.ravel()


def log_likelihood(name, x, s, t):
    """log p(x|s) elementwise, from the definitions, linear schedule."""
    with np.errstate(divide="ignore"):
        if name == "gaussian":
            return -0.5 * ((x - (1 - t) * s) / t) ** 2
        if name == "bitflip":
            return np.log(np.where(x == s, 1 - t / 2, t / 2))
        return np.log(np.where(x == 0, t, np.where(x == s, 1 - t, 0.0)))


def box_around(model, site, radius):
    """Mask of what is seen: bonds whose two faces are within reach of both of the bond's own, or a box of sites."""
    if not isinstance(model, ld.models.DomainWalls):
        shape, periodic = model.lattice.shape, model.lattice.periodic
        seen = np.ones(shape, bool)
        for other in np.ndindex(*shape):
            for a, b, n, flag in zip(site, other, shape, periodic, strict=True):
                distance = min((a - b) % n, (b - a) % n) if flag else abs(a - b)
                seen[other] &= distance <= radius
        return seen
    channel, i, j = site
    rows, columns = (i - radius, i + channel + radius), (j - radius, j + 1 - channel + radius)
    seen = np.zeros(model.lattice.shape, bool)
    for c, a, b in np.argwhere(model.sites):
        seen[c, a, b] = rows[0] <= a and a + c <= rows[1] and columns[0] <= b and b + 1 - c <= columns[1]
    return seen


def brute_force_log_odds(model, name, x_t, t, radius, blind):
    states, law = clean_states(model)
    out = np.zeros(x_t.shape)
    log_joint = log_likelihood(name, x_t[:, None], states[None], t)  # (n, S, *shape)
    log_law = np.log(law)
    sites = model.sites if isinstance(model, ld.models.DomainWalls) else np.ones(model.lattice.shape, bool)
    for site in map(tuple, np.argwhere(sites)):
        seen = sites if radius is None else box_around(model, site, radius)
        seen = seen.copy()
        seen[site] &= not blind
        weight = log_law + log_joint[:, :, seen].sum(axis=2)
        plus = states[(slice(None), *site)] > 0
        up, down = (np.logaddexp.reduce(weight[:, which], axis=1) for which in (plus, ~plus))
        out[(slice(None), *site)] = up - down
    return out


def as_data(denoiser, x_t):
    return x_t.reshape(len(x_t), *denoiser.shape)


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("blind", [False, True])
def test_spins_and_bonds_by_enumeration_at_every_site(key, name, blind):
    model, channel, rng = MODELS[key], CHANNELS[name], np.random.default_rng(11)
    for t in (0.25, 0.7):
        x_t = channel.corrupt(model.sample(2, rng), t, rng)
        for radius in (0, 1, 2, 9, None):
            denoiser = ExactDenoiser(model, channel, radius)
            answer = (denoiser.blind if blind else denoiser)(as_data(denoiser, x_t), t)
            expected = brute_force_log_odds(model, name, x_t, t, radius, blind)
            np.testing.assert_allclose(answer.log_odds, as_data(denoiser, expected), rtol=0, atol=2e-11)


@pytest.mark.parametrize("name", ["bitflip", "gaussian"])
def test_small_odds_keep_their_digits(name):
    """Log-odds far beyond where 1 - p rounds to 0: two strong bonds in series against a weak one."""
    channel, t = CHANNELS[name], 0.02 if name == "bitflip" else 0.08
    model = MODELS["loops 2x4"]
    x_t = model.sample(3, np.random.default_rng(3)).astype(float) * (1.0 if name == "bitflip" else 1 - t)
    for radius in (1, None):
        answer = ExactDenoiser(model, channel, radius)(x_t, t)
        assert np.abs(answer.log_odds).max() > (10 if name == "bitflip" else 250)
        expected = brute_force_log_odds(model, name, x_t, t, radius, blind=False)
        np.testing.assert_allclose(answer.log_odds, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CHANNELS)
def test_larger_lattices_against_the_solver_site_by_site(name):
    """Sizes that enumeration cannot reach, in kernels whose rows are longer than two columns of a pair."""
    channel, t, rng = CHANNELS[name], 0.4, np.random.default_rng(6)
    ising, loops = ld.models.Ising(ld.Lattice((9, 6)), 0.44), ld.models.DomainWalls((6, 9))
    for model, sites in ((ising, [(0, 0), (4, 3), (8, 1)]), (loops, [(0, 0, 0), (0, 3, 4), (1, 2, 8), (1, 4, 5)])):
        x_t = channel.corrupt(model.sample(3, rng), t, rng)
        for radius in (1, 3, 4, None):
            denoiser = ExactDenoiser(model, channel, radius)
            mean = denoiser(as_data(denoiser, x_t), t).mean.reshape(x_t.shape)
            for site in sites:
                one = np.zeros(model.lattice.shape, bool)
                one[site] = True
                seen = np.ones_like(one) if radius is None else box_around(model, site, radius)
                law = ld.exact.posterior(model, channel, t, x_t, one, seen)
                np.testing.assert_allclose(mean[(slice(None), *site)], law.mean[:, 0], rtol=0, atol=1e-9)


def test_boxes_of_a_torus_under_erasure():
    """A box that does not close round the torus is solved like one of an open grid, wherever it lies."""
    channel, t, rng = CHANNELS["erasure"], 0.5, np.random.default_rng(8)
    torus = ld.models.DomainWalls((7, 8), periodic=True)
    x_t = channel.corrupt(torus.sample(20, rng), t, rng)
    denoiser = ExactDenoiser(torus, channel, 2)
    answer = denoiser(x_t, t).log_odds
    moved = denoiser(np.roll(x_t, (3, 5), (2, 3)), t).log_odds
    np.testing.assert_array_equal(moved, np.roll(answer, (3, 5), (2, 3)))
    open_grid = ExactDenoiser(ld.models.DomainWalls((7, 8)), channel, 2)(x_t * ld.models.DomainWalls((7, 8)).sites, t)
    np.testing.assert_array_equal(answer[:, 0, 2:5, 2:5], open_grid.log_odds[:, 0, 2:5, 2:5])
    assert 0.0 < np.isinf(answer[x_t == 0]).mean() < 1.0
    with pytest.raises(ValueError, match=r"radius must be < 2.5 on this torus of 7x8 faces.*open the edges"):
        ExactDenoiser(torus, channel, 3)(x_t, t)


# -- fields -------------------------------------------------------------------------------------------------

FIELDS = {
    "open": ld.models.GaussianField(ld.Lattice((5, 4)), 0.3),
    "torus": ld.models.GaussianField(ld.Lattice((5, 4), periodic=True), 0.3),
    "cylinder": ld.models.GaussianField(ld.Lattice((4, 5), periodic=(True, False)), 0.15),
    "chain": ld.models.GaussianField(ld.Lattice((9,)), 0.2),
    "white mixture": ld.models.GaussianMixture(ld.Lattice((5, 4)), mean=0.7, std=0.6),
    "field mixture": ld.models.GaussianMixture(ld.Lattice((3, 5)), mean=0.7, mass_squared=0.4),
}


def dense_law(model, x_t, t, radius, blind):
    """Mean and variance of every site from covariance matrices and normal densities, linear schedule."""
    lattice, alpha, sigma = model.lattice, 1 - t, t
    n = lattice.n_sites
    K = np.zeros((n, n))
    for a, b in lattice.bonds:
        K[[a, b], [a, b]] += 1.0
        K[[a, b], [b, a]] -= 1.0
    white = isinstance(model, ld.models.GaussianMixture) and model.mass_squared is None
    C = np.eye(n) * model.std**2 if white else np.linalg.inv(K + model.mass_squared * np.eye(n))
    mu = getattr(model, "mean", 0.0)
    x = x_t.reshape(len(x_t), n)
    mean, variance = np.empty(x.shape), np.empty(x.shape)
    for i in range(n):
        seen = np.ones(n, bool) if radius is None else lattice.box(np.unravel_index(i, lattice.shape), radius).ravel()
        seen[i] &= not blind
        R = np.flatnonzero(seen)
        noisy = alpha**2 * C[np.ix_(R, R)] + sigma**2 * np.eye(len(R))
        w = np.linalg.solve(noisy, alpha * C[R, i]) if len(R) else np.zeros(0)
        means, logs = [], []
        for s in (-1, 1):
            off = x[:, R] - s * alpha * mu
            means.append(s * mu + off @ w)
            logs.append(-0.5 * (off * np.linalg.solve(noisy, off.T).T).sum(axis=1) if len(R) else np.zeros(len(x)))
        p = 1 / (1 + np.exp(logs[0] - logs[1]))
        mean[:, i] = p * means[1] + (1 - p) * means[0]
        second = p * means[1] ** 2 + (1 - p) * means[0] ** 2
        variance[:, i] = C[i, i] - alpha * C[R, i] @ w + second - mean[:, i] ** 2
    return mean.reshape(x_t.shape), variance.reshape(x_t.shape)


@pytest.mark.parametrize("key", FIELDS)
@pytest.mark.parametrize("blind", [False, True])
def test_fields_against_dense_algebra(key, blind):
    model, channel, rng = FIELDS[key], CHANNELS["gaussian"], np.random.default_rng(4)
    for t in (0.05, 0.5, 0.9):
        x_t = channel.corrupt(model.sample(3, rng), t, rng)[:, None]
        for radius in (0, 1, 2, 7, None):
            denoiser = ExactDenoiser(model, channel, radius)
            answer = (denoiser.blind if blind else denoiser)(x_t, t)
            mean, variance = dense_law(model, x_t, t, radius, blind)
            np.testing.assert_allclose(answer.mean, mean, rtol=0, atol=1e-11)
            np.testing.assert_allclose(answer.variance, variance, rtol=0, atol=1e-11)


def test_fields_at_the_ends_of_time():
    """t = 0: the data themselves, and blind the field's own Markov prediction; t = 1: the prior."""
    model, rng = FIELDS["open"], np.random.default_rng(5)
    x_0 = model.sample(3, rng)[:, None]
    K = np.linalg.inv(np.linalg.inv(model.solver.precision.toarray()))
    for radius in (1, None):
        denoiser = ExactDenoiser(model, CHANNELS["gaussian"], radius)
        answer, blind = denoiser(x_0, 0.0), denoiser.blind(x_0, 0.0)
        np.testing.assert_array_equal(answer.mean, x_0)
        np.testing.assert_array_equal(answer.variance, 0.0)
        flat = x_0.reshape(3, -1)
        np.testing.assert_allclose(blind.mean.reshape(3, -1), flat - flat @ K / np.diag(K), atol=1e-12)
        np.testing.assert_allclose(blind.variance[0].ravel(), 1 / np.diag(K), atol=1e-12)
        prior = denoiser(x_0, 1.0)
        np.testing.assert_array_equal(prior.mean, 0.0)
        np.testing.assert_allclose(prior.variance[0].ravel(), np.diag(np.linalg.inv(K)), atol=1e-12)
    for t in (1e-5, 1 - 1e-5):  # both written forms of the global blind law
        x_t = CHANNELS["gaussian"].corrupt(x_0, t, rng)
        one, other = (ExactDenoiser(model, CHANNELS["gaussian"], r).blind(x_t, t) for r in (None, 3))
        np.testing.assert_allclose(one.mean, dense_law(model, x_t, t, None, True)[0], rtol=1e-9, atol=1e-11)
        assert np.all(other.variance >= one.variance - 1e-12)


def test_infinite_noise_leaves_the_prior():
    model, channel = FIELDS["torus"], ld.channels.Gaussian("ve")
    answer = ExactDenoiser(model, channel, 1)(np.ones((2, 1, 5, 4)), 1.0)
    np.testing.assert_array_equal(answer.mean, 0.0)
    np.testing.assert_allclose(answer.variance[0, 0, 0, 0], np.linalg.inv(model.solver.precision.toarray())[0, 0])


# -- identities of all denoisers ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ising 3x4", "open"])
def test_times_per_sample_and_torch_in_kind(key):
    torch = pytest.importorskip("torch")
    model, channel, rng = {**MODELS, **FIELDS}[key], CHANNELS["gaussian"], np.random.default_rng(13)
    x_t = channel.corrupt(model.sample(4, rng), 0.5, rng)[:, None]
    times = np.array([0.5, 0.2, 0.5, 0.8])
    denoiser = ExactDenoiser(model, channel, 1)
    together = denoiser(x_t, times)
    for k, t in enumerate(times):
        np.testing.assert_array_equal(together.mean[k], denoiser(x_t[k : k + 1], t).mean[0])
    for dtype in (torch.float64, torch.float32):
        answer = denoiser(torch.as_tensor(x_t, dtype=dtype), torch.as_tensor(times))
        assert answer.mean.dtype == answer.variance.dtype == dtype
        np.testing.assert_allclose(answer.mean.numpy(), together.mean, atol=1e-14 if dtype == torch.float64 else 1e-5)
    assert isinstance(together.mean, np.ndarray)
    blind = denoiser.blind(torch.as_tensor(x_t), 0.5)
    np.testing.assert_allclose(blind.mean.numpy(), denoiser.blind(x_t, 0.5).mean, rtol=0, atol=1e-14)


def test_generated_loops_that_contradict_themselves():
    """Refused as data, but answered on request: by the shorter of two paths that disagree."""
    model, channel = ld.models.DomainWalls((4, 6)), CHANNELS["erasure"]
    x_t = np.where(model.sites, 1.0, 0.0)[None]
    x_t[0, 0, 1, 2] = 0.0  # asked: the right bond of face (1, 2)
    x_t[0, 1, 1, 2], x_t[0, 1, 0, 2] = -1.0, 0.0  # the path below says -1, that above is cut off next to it
    with pytest.raises(ValueError, match="x_t cannot come from domain walls: bonds known for certain contradict"):
        ExactDenoiser(model, channel)(x_t, 0.5)
    for radius in (1, None):
        assert ExactDenoiser(model, channel, radius, strict=False)(x_t, 0.5).log_odds[0, 0, 1, 2] == -np.inf


# -- what does not fit --------------------------------------------------------------------------------------


def ask(name, x_t, t=0.5, radius=1):
    return ExactDenoiser(MODELS["ising 3x4"], CHANNELS[name], radius)(x_t, t)


ZERO = np.zeros((2, 1, 3, 4))
test_what_does_not_fit = refusals(
    (lambda: ask("bitflip", ZERO), "x_t must hold only -1, 1 under bitflip noise at t = 0.5, got 0; convert"),
    (lambda: ask("erasure", ZERO + 0.5), "x_t must hold only -1, 0, 1 under erasure noise .*, got 0.5"),
    (lambda: ask("gaussian", ZERO[:, 0]), r"x_t must have shape \(batch, 1, 3, 4\), channel axis included, got \(2"),
    (lambda: ask("gaussian", ZERO * np.nan), "x_t must be finite, got NaN or infinity"),
    (lambda: ask("gaussian", [1.0]), "x_t must be a NumPy array or a torch tensor, got list"),
    (lambda: ask("gaussian", ZERO, [0.5, 1.5]), r"t must be in \[0, 1\], 0 clean and 1 pure noise, got 1.5"),
    (lambda: ask("gaussian", ZERO, np.full(3, 0.5)), r"t must be one time or one per sample \(2\), got shape \(3,\)"),
    (lambda: ask("gaussian", ZERO, radius=1.5), r"radius must be an integer >= 0, got 1\.5"),
    (lambda: ExactDenoiser(FIELDS["open"], CHANNELS["erasure"]), "real-valued data take the gaussian channel, got er"),
    (lambda: ExactDenoiser(ld.models.Ising(ld.Lattice((3, 3, 3)), 0.3), CHANNELS["gaussian"]), "needs a 2D lattice"),
)


def test_entries_beyond_open_edges_are_not_read():
    unused = np.ones((1, 2, 3, 3))
    unused[0, 0, :, -1] = 7.0
    assert np.all(ExactDenoiser(MODELS["loops 3x3"], CHANNELS["bitflip"])(unused, 0.2).log_odds[0, 0, :, -1] == 0.0)


def test_reads_the_entries_of_its_boxes():
    assert ExactDenoiser(MODELS["ising 3x4"], CHANNELS["gaussian"], 1).multiply_adds((1, 3, 4)) == 7 * 10
    assert ExactDenoiser(MODELS["ising 3x4"], CHANNELS["gaussian"]).multiply_adds((1, 3, 4)) == 144
