"""Estimators of conditional mutual information: the protocol, what is refused, and what each must get right."""

import itertools
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from refusals import refusals
from scipy.special import entr, ndtr, xlogy
from scipy.stats import chi2, norm
from sklearn.base import clone as sklearn_clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.validation import check_is_fitted

import lattice_diffusion as ld
from lattice_diffusion import estimators as est
from lattice_diffusion import registry
from lattice_diffusion.estimators import tables
from lattice_diffusion.estimators.base import CapWarning, mean_estimate
from lattice_diffusion.estimators.benchmark import noisy_chain
from lattice_diffusion.estimators.classical import counts_by_distances, counts_by_tree, exact_log_ratios
from lattice_diffusion.estimators.tasks import Charges, measure

LINEAR = ld.channels.Gaussian("linear")


class LinearRegression(est.Estimator):
    """Cross-fitted by least squares of the one column of a: what a third party would write."""

    def __init__(self, folds=5, *, drop_conditioning=False):
        super().__init__(folds)
        self.drop_conditioning = drop_conditioning

    def _log_ratios(self, train, test, rng):
        def log_density(columns):
            x, y = [np.hstack([np.ones((len(s), 1)), *columns(s)]) for s in (train, test)]
            weights = np.linalg.lstsq(x, train.a, rcond=None)[0]
            variance = ((train.a - x @ weights) ** 2).mean()
            return -0.5 * ((test.a - y @ weights) ** 2 / variance + np.log(variance))[:, 0]

        if self.drop_conditioning:
            return log_density(lambda s: [s.c]) - log_density(lambda s: [])
        return log_density(lambda s: [s.b, s.c]) - log_density(lambda s: [s.b])


# -- truth -------------------------------------------------------------------------------------------------


def test_charges_have_the_covariance_their_fluxes_give():
    lattice = ld.Lattice((3, 4), periodic=(True, False))
    model = Charges(lattice, 0.2)
    covariance = np.zeros((12, 12))
    for i, j in lattice.bonds:
        covariance[i, i] += 1
        covariance[j, j] += 1
        covariance[i, j] -= 1
        covariance[j, i] -= 1
    covariance = (covariance + 0.2 * np.eye(12)) / 4.2
    np.testing.assert_allclose(model.solver.covariance(LINEAR, 0.0, np.ones((3, 4), bool)), covariance, atol=1e-12)
    n = 40_000
    x = model.sample(n, np.random.default_rng(1)).reshape(n, -1)
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / n)
    assert np.abs((x.T @ x / n - covariance) / error).max() < 5
    with pytest.raises(ValueError, match="mass_squared must be finite and > 0, got 0"):
        Charges(lattice, 0.0)


def test_closed_truths_are_ratios_of_determinants():
    for name in ("charges-3", "charges-0.5", "charges-1e-5", "field-critical"):
        task = est.tasks.find(name)
        covariance = task.model.solver.covariance(LINEAR, task.t, np.ones(task.parts.shape, bool))
        parts = task.parts

        def log_det(region, covariance=covariance):
            keep = np.flatnonzero(region)
            return np.linalg.slogdet(covariance[np.ix_(keep, keep)])[1]

        value = 0.5 * (log_det(parts.AB) + log_det(parts.BC) - log_det(parts.B) - log_det(parts.ABC))
        assert task.truth.value == pytest.approx(value, rel=1e-6, abs=1e-11)
        assert task.truth.stderr == 0
        assert task.dims == (1, 24, 56)


def test_the_tasks_span_five_orders_of_magnitude():
    truths = [est.tasks.find(name).truth for name in est.tasks.TASKS]
    assert min(truth.value for truth in truths) < 1.01e-5
    assert max(truth.value for truth in truths) > 2.99
    assert all(truth.method for truth in truths)
    for name, size in (("charges-3", 3.0), ("charges-0.5", 0.5)):
        assert est.tasks.find(name).truth.value == pytest.approx(size, abs=1e-4)
    # errors of the truth stay well below the floor of the largest fixed track
    assert all(t.truth.stderr < 0.2 * t.floor(60_000) for t in map(est.tasks.find, est.tasks.TASKS))


@pytest.mark.parametrize("name", ["ising-bitflip", "curie-weiss-gaussian", "loops-bitflip", "loops-erasure"])
def test_stored_truths_are_found_again(name):
    task, again = est.tasks.find(name), measure(name, np.random.default_rng(5), 500, 800)
    assert name == "loops-erasure" or again["method"] == task.truth.method
    z = (again["value"] - task.truth.value) / np.hypot(again["stderr"], task.truth.stderr)
    assert abs(z) < 5
    assert again["spread"] == pytest.approx(task.spread, rel=0.3)


@pytest.mark.parametrize("name", [name for group in est.tasks.GROUPS.values() for name in group])
def test_tables_know_their_information(name):
    """Log ratios average to the quadrature, and ratios to 1 where C is another row's; numbers also by `Gaussian`."""
    task, n = est.tasks.find(name), 20_000
    x = task.sample(n, np.random.default_rng(3))
    answer = est.Oracle(task.model).fit(x, task.parts).estimate()
    assert abs(answer.z_score(task.truth.value)) < 5
    assert answer.stderr == pytest.approx(task.floor(n), rel=0.05)
    if isinstance(task.model, tables.Numbers):
        assert abs(est.Gaussian().fit(x, task.parts).estimate().z_score(task.truth.value)) < 5
    else:
        c = 1 + task.dims[1]
        ratios = np.exp(task.model.log_ratios(np.hstack([x[:, :c], x[::-1, c:]])))
        assert abs(ratios.mean() - 1) <= 5 * ratios.std() / n**0.5


def test_rectified_information_is_that_of_its_two_parts():
    """I(max(a, 0); c) of a Gaussian pair: that of (a > 0) and c, and of a and c where a > 0."""
    rho = 0.7
    c, weights = np.polynomial.hermite_e.hermegauss(200)
    weights /= weights.sum()
    inside = ndtr(rho * c / np.sqrt(1 - rho**2))  # P(a > 0 | c)
    sign = np.log(2) - weights @ (entr(inside) + entr(1 - inside))
    a = np.linspace(0, 12, 4001)[:, None]
    joint = norm.pdf(a, rho * c, np.sqrt(1 - rho**2))
    given = xlogy(joint, joint) - xlogy(joint, 2 * norm.pdf(a) * inside)
    expected = sign + weights @ np.trapezoid(given, a[:, 0], axis=0)
    assert est.tasks.find("atoms-rectified").truth.value == pytest.approx(expected, abs=1e-5)


def connection(rows, columns, f, g, keep):
    """P(f and g are connected) by the bonds of an open grid of faces but the one between them, by a transfer matrix.

    A state is the clusters of the last `columns` faces and of f and g, None before they come; each is a number.
    """
    states, connected = {((-1,) * columns, None, None): 1.0}, 0.0
    for i, j in np.ndindex(rows, columns):
        after = {}
        for (front, of_f, of_g), p in states.items():
            near = [(front[j], (i - 1, j))] if i else []
            near += [(front[j - 1], (i, j - 1))] if j else []
            near = [cluster for cluster, face in near if {face, (i, j)} != {f, g}]
            for kept in itertools.product((False, True), repeat=len(near)):
                joined = {cluster for cluster, here in zip(near, kept, strict=True) if here}
                seen = [*front[:j], 99, *front[j + 1 :], 99 if (i, j) == f else of_f, 99 if (i, j) == g else of_g]
                *now, x, y = [99 if cluster in joined else cluster for cluster in seen]
                q = p * np.prod([keep if here else 1 - keep for here in kept])
                if x == y is not None:
                    connected += q
                elif all(mark is None or mark in now for mark in (x, y)):  # else one of them can meet nothing any more
                    number = {-1: -1, None: None} | {c: k for k, c in enumerate(dict.fromkeys(now)) if c >= 0}
                    state = tuple(number[c] for c in now), number[x], number[y]
                    after[state] = after.get(state, 0.0) + q
        states = after
    return connected


def test_the_truth_of_erased_loops_is_that_of_percolation():
    """A is known from bonds kept that connect its faces: in C beside B, or in B alone, the 3 x 4 faces around it."""
    keep = 0.7
    path = keep * connection(1, 3, (0, 0), (0, 2), keep)  # of two bonds
    assert path == pytest.approx(keep**3)
    squares = connection(2, 2, (0, 0), (0, 1), keep)
    assert squares == pytest.approx(keep**3)
    gain = connection(7, 6, (3, 2), (3, 3), keep) - connection(3, 4, (1, 1), (1, 2), keep)
    assert est.tasks.find("loops-erasure").truth.value == pytest.approx(keep * np.log(2) * gain, abs=1e-12)


def test_the_truth_of_erased_tokens_is_that_of_their_nearest_neighbours():
    """A token that was kept is told by the nearest kept ones on its left and right, of B alone or of B and C."""
    q, t, weight = 3, 0.6, np.exp(3.0)
    step = (np.ones((q, q)) + (weight - 1) * np.eye(q)) / (weight + q - 1)

    def entropy(left, right):
        """H(a | nearest kept tokens) of sides with so many sites."""
        total = 0.0
        for i, j in itertools.product(range(1, left + 2), range(1, right + 2)):  # the last: none is kept
            shares = [t ** (k - 1) * (1 - t if k <= n else 1) for k, n in ((i, left), (j, right))]
            far = [np.linalg.matrix_power(step, k if k <= n else 999) for k, n in ((i, left), (j, right))]
            joint = np.einsum("xa,ay->xay", *far) / q
            total += np.prod(shares) * (entr(joint).sum() - entr(joint.sum(axis=1)).sum())
        return total

    truth = est.tasks.find("potts-erasure").truth
    assert abs(truth.value - (1 - t) * (entropy(2, 2) - entropy(7, 8))) < 5 * truth.stderr


def test_the_oracle_scatters_as_it_says():
    """z-scores over all tasks: their sum of squares is chi-squared, so an error 1.5 times off would show."""
    z = []
    for name in est.tasks.TASKS:
        task = est.tasks.find(name)
        for seed in (1, 2):
            rng = est.benchmark.generator("test", name, seed)
            x_t = task.sample(600, rng)
            answer = est.Oracle(task.model).fit(x_t, task.parts, channel=task.channel, t=task.t).estimate()
            z.append((answer.value - task.truth.value) / np.hypot(answer.stderr, task.truth.stderr))
    z = np.array(z)
    assert np.abs(z).max() < 5
    low, high = chi2.ppf([1e-3, 1 - 1e-3], len(z))
    assert low < (z**2).sum() < high


def test_the_oracle_averages_the_ratio_of_the_law():
    """Where A, B and C are all spins and few, log p(a|b,c)/p(a|b) by enumeration."""
    lattice, channel, t = ld.Lattice((2, 3)), ld.channels.BitFlip(), 0.3
    model, parts = ld.models.Ising(lattice, 0.5), lattice.tripartition((0, 0), 1)
    x_t = channel.corrupt(model.sample(50, np.random.default_rng(0)), t, np.random.default_rng(1))
    from enumeration import channel_matrix, ising_law, noisy_law

    law = noisy_law(ising_law((2, 3), (False, False), 0.5), channel_matrix("bitflip", t)[0])
    bits = ((x_t + 1) / 2).astype(int).reshape(50, 6)

    def log_p(region):
        gone = tuple(np.flatnonzero(~region.ravel()))
        return np.log(law.sum(axis=gone)[tuple(bits[:, region.ravel()].T)])

    expected = log_p(parts.ABC) - log_p(parts.BC) - log_p(parts.AB) + log_p(parts.B)
    np.testing.assert_allclose(exact_log_ratios(model, channel, t, x_t, parts), expected, atol=1e-12)


# -- estimators --------------------------------------------------------------------------------------------


def test_gaussian_is_unbiased_where_there_are_few_samples_for_many_columns():
    task, n = est.tasks.find("charges-0.5"), 150
    answers = []
    for seed in range(60):
        x_t = task.sample(n, est.benchmark.generator("few", seed))
        answers.append(est.Gaussian().fit(x_t, task.parts).estimate().value)
    error = np.std(answers, ddof=1) / np.sqrt(len(answers))
    assert abs(np.mean(answers) - task.truth.value) < 4 * error
    assert error < 0.03  # without the correction it would be off by about 0.35


def test_gaussian_knows_its_error_on_fields():
    z = []
    for name in ("charges-3", "charges-0.5", "charges-0.05", "charges-chain", "field-critical"):
        task = est.tasks.find(name)
        for seed in range(6):
            x_t = task.sample(3000, est.benchmark.generator("z", name, seed))
            z.append(est.Gaussian().fit(x_t, task.parts).estimate().z_score(task.truth.value))
    assert np.abs(z).max() < 5
    low, high = chi2.ppf([1e-3, 1 - 1e-3], len(z))
    assert low < (np.array(z) ** 2).sum() < high


def gaussian_triple(n, rng):
    """a, b, c of one column each, the partial correlation of a and c given b equal to 0.6."""
    b = rng.standard_normal(n)
    z = rng.standard_normal((2, n))
    return b + z[0], b, 0.5 * b + 0.6 * z[0] + 0.8 * z[1]


def test_frenzel_pompe_is_right_in_few_dimensions():
    truth, z = -0.5 * np.log(1 - 0.6**2), []
    for seed in range(8):
        a, b, c = gaussian_triple(2000, np.random.default_rng(seed))
        z.append(est.FrenzelPompe(k=3, blocks=20).fit(a, c, b).estimate().z_score(truth))
    assert np.abs(z).max() < 5
    assert 0.1 < np.mean(np.square(z)) < 4  # the bias left at this n is about one error


def test_frenzel_pompe_collapses_in_many_dimensions():
    task = est.tasks.find("charges-0.5")
    answer = est.FrenzelPompe().fit(task.sample(1500, np.random.default_rng(3)), task.parts).estimate()
    assert answer.value + 5 * answer.stderr < 0.1 * task.truth.value


def test_nearest_neighbours_that_tell_nothing_are_refused():
    law = tables.Numbers(100)
    with pytest.raises(ValueError, match=r"MesnerShalizi needs columns of a and c that decide .*, got 101 columns"):
        est.MesnerShalizi().fit(law.sample(300, 0), law.parts)


def test_neighbours_by_tree_and_by_distances_are_the_same():
    a, b, c = (np.random.default_rng(seed).standard_normal((300, d)) for seed, d in ((1, 1), (2, 2), (3, 2)))
    for given in (b, b[:, :0]):
        for closed in (False, True):
            both = (count(a, given, c, 4, closed) for count in (counts_by_tree, counts_by_distances))
            for one, other in zip(*both, strict=True):
                np.testing.assert_array_equal(one, other)


def entropies(table, axes):
    """H of the marginal of a table of probabilities over these axes."""
    marginal = table.sum(axis=tuple(i for i in range(table.ndim) if i not in axes))
    return -(marginal[marginal > 0] * np.log(marginal[marginal > 0])).sum()


def test_nearest_neighbours_with_ties_are_right():
    """Categories by enumeration, atoms and a continuum by quadrature, integers that know nothing of one another."""
    rng, n = np.random.default_rng(0), 3000
    table = rng.dirichlet(np.ones(12)).reshape(3, 2, 2)  # of a, b, c
    a, b, c = np.unravel_index(rng.choice(12, n, p=table.ravel()), table.shape)
    truth = entropies(table, (0, 1)) + entropies(table, (1, 2)) - entropies(table, (1,)) - entropies(table, (0, 1, 2))
    assert abs(est.MesnerShalizi().fit(a, c, b, rng=rng).estimate().value - truth) < 0.03
    law = est.tasks.find("atoms-rectified")
    x, z = law.sample(n, rng).T
    assert abs(est.MesnerShalizi().fit(x, z, rng=rng).estimate().value - law.truth.value) < 0.05
    i, j = rng.integers(0, 10, (2, n))
    assert abs(est.MesnerShalizi().fit(i, j, rng=rng).estimate().value) < 0.05
    for tied in ((i, j), (z.round(1), j)):
        with pytest.raises(ValueError, match=r"FrenzelPompe needs values without ties, .*use MesnerShalizi"):
            est.FrenzelPompe().fit(*tied)
    repeated = est.MesnerShalizi().fit(np.repeat(i[:300], 8), np.repeat(j[:300], 8), rng=rng).estimate()
    assert np.isfinite([repeated.value, repeated.stderr]).all()


def test_an_estimate_at_its_cap_says_so():
    a, c = np.random.default_rng(0).standard_normal((2, 2000))
    for one in (est.FrenzelPompe(), est.MesnerShalizi()):
        with pytest.warns(CapWarning, match="gives at most about .* nats here and is near it"):
            one.fit(a, a + 1e-7 * c)


def test_singular_covariances_are_seen_at_every_seed():
    """I(A;C|B) is infinite where A = C, 0 where C is inside B; copies and constants beside B and C change nothing."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        a, b, c = gaussian_triple(100, rng)
        with pytest.raises(ValueError, match="got a singular covariance"):
            est.Gaussian().fit(a, np.c_[b, a], c)
        with pytest.raises(ValueError, match="c must tell something beyond b"):
            est.Gaussian().fit(a, b - c, np.c_[b, c])
        plain = est.Gaussian().fit(a, c, b).estimate()
        again = est.Gaussian().fit(a, np.c_[c, np.ones(100), b - c], np.c_[np.zeros(100), b, b]).estimate()
        assert again.value == pytest.approx(plain.value, abs=1e-9)


@pytest.mark.parametrize("name", ["Gaussian", "FrenzelPompe", "MesnerShalizi"])
def test_units_and_offsets_change_nothing(name):
    a, b, c = gaussian_triple(300, np.random.default_rng(2))
    plain = est.find(name)().fit(a, c, b, rng=0).estimate()
    moved = est.find(name)().fit(1e-9 * a + 3, 1e6 * c + 1.7e13, 1e200 * b, rng=0).estimate()
    assert moved.value == pytest.approx(plain.value, abs=1e-5)


def test_a_cross_fitted_estimator_is_right_and_may_be_negative():
    task = est.tasks.find("charges-0.5")
    x_t = task.sample(4000, np.random.default_rng(7))
    answer = LinearRegression().fit(x_t, task.parts, rng=np.random.default_rng(0)).estimate()
    assert abs(answer.value - task.truth.value + 80 / 8000) < 5 * answer.stderr  # held out: low by d/2n
    flat = LinearRegression().fit(x_t[:, task.parts.A], x_t[:, task.parts.C], x_t[:, task.parts.B], rng=0)
    assert flat.estimate() == answer
    named = LinearRegression().fit(x_t, parts=task.parts, rng=0)
    assert named.estimate() == answer
    null = [LinearRegression().fit(*np.random.default_rng(s).standard_normal((3, 200)), rng=s) for s in range(20)]
    assert min(one.estimate().value for one in null) < 0


def test_groups_stay_together_and_make_the_error():
    rng = np.random.default_rng(0)
    values, groups = np.repeat(rng.standard_normal(400), 5), np.repeat(np.arange(400), 5)
    assert mean_estimate(values, groups, "").stderr == pytest.approx(values[::5].std(ddof=1) / 20)
    single = mean_estimate(values[::5], np.arange(400), "")
    assert single.stderr == pytest.approx(mean_estimate(values, groups, "").stderr)

    class Spy(est.Estimator):
        def _log_ratios(self, train, test, rng):
            assert not set(train.a[:, 0]) & set(test.a[:, 0])  # copies of one value share a group
            return test.a[:, 0]

    c = rng.standard_normal(2000)
    answer = Spy(folds=7).fit(values, c, groups=groups, rng=rng).estimate()
    assert answer.stderr == pytest.approx(single.stderr)
    with pytest.raises(ValueError, match="5 folds need at least as many groups, got 4; lower folds"):
        Spy().fit(values, c, groups=np.arange(2000) % 4, rng=rng)


def test_copies_of_samples_need_groups():
    class Spy(est.Estimator):
        def _log_ratios(self, train, test, rng):
            return test.a[:, 0]

    rng = np.random.default_rng(1)
    a, c, z = rng.standard_normal((3, 200))
    drawn = rng.integers(200, size=300)  # a bootstrap
    text = f"{300 - len(np.unique(drawn))} of 300 samples are copies of others"
    with pytest.warns(UserWarning, match=text):
        Spy().fit(a[drawn], c[drawn], z[drawn] > 0, rng=0)
    Spy().fit(a[drawn], c[drawn], groups=drawn, rng=0)
    Spy().fit(np.repeat(a[:3], 2), np.tile(c[:3], 2), np.ones(6), rng=0)
    gated = np.where(z > 0, a, 0.0)
    for values in (gated, z > 0, rng.integers(8, size=200), rng.poisson(1000, 200), np.round(a, 1)):
        Spy().fit(values, values, rng=0)  # equal samples, and no copies
        Spy().fit(values, np.stack([values, c.round(1)], axis=1), rng=0)


def test_channels_of_a_lattice_all_belong_to_its_sites():
    rng = np.random.default_rng(0)
    parts = ld.Lattice((2, 3)).tripartition((0, 0), 1)
    x = rng.standard_normal((50, 2, 2, 3))
    seen = []

    class Spy(est.Estimator):
        def _log_ratios(self, train, test, rng):
            seen.append(test)
            return np.arange(len(test), dtype=float)

    Spy().fit(x, parts, channel=LINEAR, t=0.5, rng=rng)
    assert [s.a.shape[1] for s in seen] == [2] * 5
    assert [s.b.shape[1] for s in seen] == [6] * 5
    assert seen[0].x_t.shape == (10, 2, 2, 3)
    assert seen[0].parts is parts
    assert seen[0].t == 0.5
    np.testing.assert_array_equal(seen[0].a, seen[0].x_t[:, :, 0, 0])


# -- conventions, registry ---------------------------------------------------------------------------------


def test_parameters_follow_scikit_learn():
    one = est.FrenzelPompe(k=7)
    assert one.get_params() == {"k": 7, "blocks": 10}
    assert est.clone(one).get_params() == one.get_params()
    assert est.clone(one) is not one
    assert one.set_params(k=4) is one
    assert repr(one) == "FrenzelPompe(k=4, blocks=10)"
    assert LinearRegression(3).get_params() == {"folds": 3, "drop_conditioning": False}
    assert sklearn_clone(est.FrenzelPompe().set_params(k=np.int64(3))).k == 3
    assert one.__sklearn_tags__().estimator_type is None
    grid = GridSearchCV(one, {"k": [2, 3]}, scoring=lambda one, a, c: one.estimate().value, cv=2)
    check_is_fitted(grid.fit(X, X[::-1]).best_estimator_)
    with pytest.raises(ValueError, match="FrenzelPompe has no parameter 'q'; it has "):
        one.set_params(q=1)
    with pytest.raises(ValueError, match="k must be an integer >= 1, got 0"):
        one.set_params(k=0)
    assert one.k == 4


def test_estimators_are_found_by_name_in_a_file_and_by_entry_point(monkeypatch, tmp_path):
    points = [EntryPoint(name, f"{__name__}:LinearRegression", est.GROUP) for name in ("Mine", "Oracle")]
    for module in (registry, est):
        monkeypatch.setattr(module, "entry_points", lambda group: points if group == est.GROUP else [])
    assert {"Mine", "Oracle", "Gaussian", "MINE-in-sample"} <= set(est.names())
    assert est.find("Mine")(folds=3).folds == 3
    assert isinstance(est.find("Oracle")(), est.Oracle)  # an installed package does not replace ours
    assert all(type(est.find(one.name)()).__name__ == one.where.partition(":")[2] for one in est.ESTIMATORS)
    text = "from lattice_diffusion.estimators import Estimator\nclass Mine(Estimator):\n    pass\n"
    (tmp_path / "mine.py").write_text(text)
    assert est.find(f"{tmp_path}/mine.py:Mine")(folds=3).get_params() == {"folds": 3}


# -- consistency -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [est.Gaussian(), est.FrenzelPompe(k=3), LinearRegression()], ids=repr)
def test_good_estimators_are_consistent(estimator):
    checks = est.consistency(estimator, np.random.default_rng(11), n=1000)
    assert [check.name for check in checks] == ["independent", "chain rule", "monotone", "sign"]
    assert all(abs(check.z) < 5 for check in checks)


def test_estimators_without_the_conditioning_break_the_chain_rule():
    """The parts of C tell the same of A, which only conditioning on one of them takes account of."""
    checks = est.consistency(LinearRegression(drop_conditioning=True), np.random.default_rng(11), n=4000)
    assert abs(checks[1].z) > 5


def test_an_estimator_of_the_wrong_sign_is_not_monotone():
    class Inverted(LinearRegression):
        def _log_ratios(self, train, test, rng):
            return -super()._log_ratios(train, test, rng)

    checks = est.consistency(Inverted(), np.random.default_rng(12), n=20_000)
    assert checks[2].z < -5
    with pytest.raises(ValueError, match="draw must give at least two columns in c"):
        est.consistency(est.Gaussian(), RNG, draw=lambda n, rng: [x[:, :1] for x in noisy_chain(n, rng)])


# -- what is refused ---------------------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((100, 3))
SPINS = np.where(X > 0, 1, -1)
PARTS = ld.Lattice((2, 3)).tripartition((0, 0), 1)
LATTICE = np.random.default_rng(1).standard_normal((100, 2, 3))
NAN = np.where(np.arange(100)[:, None] == 4, np.nan, X)
RNG = np.random.default_rng(0)


test_bad_input_is_refused_in_one_sentence = refusals(
    (lambda: est.Gaussian().fit(X, X[:99]), "a, b and c must hold the same samples, got 100, 100 and 99"),
    (lambda: est.Gaussian().fit(X, X, X[:7]), "a, b and c must hold the same samples, got 100, 7 and 100"),
    (lambda: est.Gaussian().fit(X, np.ones((100, 2))), "c must vary, got 1 throughout column 0"),
    (lambda: est.Gaussian().fit(X, NAN), "c must be finite, got nan in sample 4, column 0"),
    (lambda: est.Gaussian().fit(X[:1], X[:1]), "at least 2 samples are needed to give an error, got 1"),
    (lambda: est.Gaussian().fit(X, LATTICE), r"c must have shape \(n, d\) or \(n,\), got \(100, 2, 3\)"),
    (lambda: est.Gaussian().fit(X, X[:, :0]), "C must hold at least one column or site, got none"),
    (lambda: est.Gaussian().fit(X), r"C is missing; call fit\(a, c, b\) with flat arrays"),
    (lambda: est.Gaussian().fit(LATTICE, X, parts=PARTS), "give either parts or the flat arrays c and b, not both"),
    (lambda: est.Gaussian().fit(X, PARTS), r"x_t must have shape \(n, 2, 3\) or \(n, channel, 2, 3\)"),
    (lambda: est.Gaussian().fit(X, X, groups=[1, 2]), r"groups must hold one label per sample, shape \(100,\)"),
    (lambda: est.Gaussian().fit(X, X, groups=NAN[:, 0]), "groups must hold a label for every sample, got nan"),
    (lambda: est.Gaussian().fit(X, X, threads=4), "threads must be 1, or None for those"),
    (lambda: est.Gaussian().fit(X, X), "independent of one another, b and c, got a singular covariance"),
    (lambda: est.Gaussian().fit(X, np.ma.masked_less(X, 0)), "c must not have masked entries, got"),
    (lambda: est.Gaussian().fit(X[:5], X[5:10]), "more samples than the 6 columns .* at least 8, got 5"),
    (lambda: est.Gaussian().fit(SPINS, X), "Gaussian needs continuous data, got 2 .* column 0 of a"),
    (lambda: est.FrenzelPompe().fit(X, SPINS), "FrenzelPompe needs continuous data, got 2 .* column 0 of c"),
    (lambda: est.FrenzelPompe(k=0).fit(X, X), "k must be an integer >= 1, got 0"),
    (lambda: est.FrenzelPompe(blocks=1).fit(X, X), "blocks must be an integer >= 2, got 1"),
    (lambda: est.FrenzelPompe(k=10).fit(X, X[::-1]), "10 blocks with k = 10 need more than 10 samples"),
    (lambda: LinearRegression(1).fit(X, X, rng=RNG), "folds must be an integer >= 2, got 1"),
    (lambda: LinearRegression(7).fit(X[:6], X[6:12], rng=RNG), "7 folds need at least as many samples, got 6"),
    (lambda: est.Oracle().fit(LATTICE, PARTS), "Oracle needs the law of the data; pass a model"),
    (lambda: est.Oracle(1).fit(X, X), "Oracle needs lattice samples and their noise"),
    (lambda: est.Gaussian().estimate(), r"Gaussian has not been fitted; call fit\(a, c, b\)"),
    (lambda: est.find("Gausian"), "unknown estimator 'Gausian'; did you mean 'Gaussian'?"),
    (lambda: est.tasks.find("isng"), "unknown task 'isng'; known: tables, atoms, functions, charges-3, "),
)  # fmt: skip


def test_a_seed_gives_the_same_numbers_every_time():
    y = X + 0.5 * np.random.default_rng(8).standard_normal(X.shape)
    first, again = (LinearRegression().fit(X, y, rng=rng).estimate() for rng in (7, np.random.default_rng(7)))
    assert first == again
    assert first != LinearRegression().fit(X, y).estimate()


def test_a_fit_says_what_it_does_where_it_is_asked(capsys):
    LinearRegression(3).fit(X[:, :1], X[:, 1:])
    assert capsys.readouterr().err == ""
    LinearRegression(3).fit(X[:, :1], X[:, 1:], verbose=True, threads=None)
    assert "LinearRegression, 1 s: fold 3 of 3 is fitted" in capsys.readouterr().err
