"""The label of data beside its nonlocal information: exact laws, the chain rule, and windows inside windows."""

import enumeration
import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.exact.magnetisation import TERMS, label_terms, sign_log_weights
from lattice_diffusion.exact.spins import NoisySamples
from lattice_diffusion.images.conclusions import probe_result
from lattice_diffusion.images.decisions import probe_variables
from lattice_diffusion.phases import nonlocality_window, speciation_window
from lattice_diffusion.plots.label_windows import plot_probe_label_windows
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec, SpecError
from lattice_diffusion.studies.label_windows import STUDY, TOLERANCE, share_explained

BETA = 0.37


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (5, 3)])
def test_law_of_the_sign_is_that_of_all_states(shape):
    h = np.random.default_rng(3).standard_normal((4, *shape))
    h[0, 0, 0], h[1, 2, 1] = np.inf, -np.inf
    law, states = enumeration.ising_law(shape, (False, False), BETA).ravel(), enumeration.all_states(np.prod(shape))
    scaled = np.exp(np.minimum(h, 0)), np.exp(np.minimum(-h, 0))  # likelihoods of +1 and -1 in the usual scale
    likelihood = np.where(states > 0, *((w**2).reshape(4, 1, -1) for w in scaled)).prod(axis=2)
    weights = np.stack([(law * likelihood * (sign * states.sum(axis=1) > 0)).sum(axis=1) for sign in (-1, 1)], axis=1)
    difference = sign_log_weights(BETA, h) - np.log(weights)
    assert np.ptp(difference) < 1e-12  # one constant for all samples and both signs


def exact_terms(shape, t, parts):
    """Every term by sums over all states under bit flips, the label an axis of the law."""
    law = enumeration.ising_law(shape, (False, False), BETA)
    up = enumeration.all_states(law.ndim).sum(axis=1).reshape(law.shape) > 0
    matrix, _ = enumeration.channel_matrix("bitflip", t)
    joint = np.stack([enumeration.noisy_law(np.where(sign, law, 0.0), matrix) for sign in (~up, up)])

    def entropy(region, label):
        return enumeration.entropy(joint, [label, *np.ravel(region)])

    def cmi(label):
        A, B, C, every = parts.AB, parts.BC, parts.B, parts.ABC
        return entropy(A, label) + entropy(B, label) - entropy(C, label) - entropy(every, label)

    known = [np.log(2) + entropy(R, False) - entropy(R, True) for R in (parts.B, parts.AB, parts.BC, parts.ABC)]
    clean = np.stack([np.where(sign, law, 0.0) for sign in (~up, up)])
    whole, given = (enumeration.entropy(clean, [label, *np.ravel(parts.AB)]) for label in (False, True))
    return np.array([cmi(False), cmi(True), *known, np.log(2) + whole - given - known[0]])


def test_sampled_terms_meet_sums_over_all_states():
    lattice, channel, rng = ld.Lattice((3, 3)), ld.channels.BitFlip(), np.random.default_rng(5)
    parts, model = lattice.tripartition((0, 1), 1), ld.models.Ising(lattice, BETA)
    for t in (0.15, 0.4):
        noisy = NoisySamples(channel, t, model.sample, 4000, rng)
        terms, exact = label_terms(BETA, noisy, [parts]), exact_terms((3, 3), t, parts)
        for name, value in zip(TERMS, exact, strict=True):
            samples = getattr(terms, name)[:, 0]
            z = (samples.mean() - value) / (samples.std(ddof=1) / np.sqrt(samples.size))
            assert abs(z) < 5, (t, name, z)


def test_conditional_information_is_that_of_the_spin_solver():
    lattice, channel = ld.Lattice((5, 3)), ld.channels.Gaussian("linear")
    model, parts = ld.models.Ising(lattice, 0.5), [lattice.tripartition((2, 1), r) for r in (1,)]
    terms = label_terms(0.5, NoisySamples(channel, 0.6, model.sample, 50, np.random.default_rng(1)), parts)
    curve = ld.exact.cmi_curve(model, channel, 0.6, parts, 50, np.random.default_rng(1))
    assert terms.cmi.mean(axis=0) == pytest.approx(curve.values, rel=1e-9)


def test_nothing_is_known_in_pure_noise_and_all_without():
    lattice, channel = ld.Lattice((3, 5)), ld.channels.Gaussian("linear")
    model, parts = ld.models.Ising(lattice, 0.4), [lattice.tripartition((1, 2), 1)]
    noise = label_terms(0.4, NoisySamples(channel, 1.0, model.sample, 20, np.random.default_rng(1)), parts)
    assert all(np.abs(getattr(noise, name)).max() < 1e-12 for name in TERMS if name != "lost")
    clean = label_terms(0.4, NoisySamples(channel, 0.0, model.sample, 20, np.random.default_rng(1)), parts)
    assert clean.abc == pytest.approx(np.log(2))


def small_spec():
    spec = STUDY.spec("quick")
    grids = {name: grid.model_dump(exclude_unset=True) for name, grid in spec.grids.items()}
    for grid in grids.values():
        grid["t"] = grid["t"][::3]
    grids["ising"] |= {"model": {"name": "ising", "shape": [5, 5], "beta": 0.6}, "n_samples": 400}
    return Spec(name=spec.name, grids=grids)


def test_nonlocality_window_lies_inside_the_speciation_window(tmp_path):
    result = run(small_spec(), tmp_path / "c.h5", workers=1, progress=False)
    analysis = STUDY.analyse(result)
    for name in ("mixture", "mixture-field", "ising"):
        grid, found = results.grids(result)[name], analysis.variables[name]
        chain, stderr = grid["chain_rule"].values, grid["chain_rule_stderr"].values
        assert np.all(np.abs(chain) <= 5 * stderr + 1e-12)
        start, stop, label_start, label_stop = found["end_time"].values
        assert label_start < start < stop < label_stop
        assert 0.1 < found["explained"].values <= 1
    white = results.grids(result)["mixture"]
    assert np.all(white["cmi_given_label"].values == 0)
    assert float(analysis.variables["mixture"]["explained"].values) == 1
    margins = [row for row in analysis.rows if row.source == ">= 0"]
    assert len(margins) == 6
    assert all(row.value > -5 * row.stderr for row in margins)


def test_containment_would_fail_for_a_label_that_explains_less_than_claimed():
    t = np.linspace(0.1, 0.9, 9)
    cmi, b, abc = np.full(9, 0.01), np.full(9, 0.6), np.full(9, 0.69)  # nonlocal while the label is known already
    explained = share_explained(cmi, 0.99 * cmi, TOLERANCE)
    assert explained == pytest.approx(0.01)
    assert nonlocality_window(t, cmi, TOLERANCE) is not None
    assert speciation_window(t, 0.6005, b, abc, TOLERANCE) is None
    assert speciation_window(t, 0.6005, b, abc, explained * TOLERANCE) is not None


def test_page_of_labelled_images_shows_where_the_label_is_decided(tmp_path, undrawn):
    t = [0.2, 0.4, 0.6, 0.8]
    measured = {
        "cmi": np.array([[0.02], [0.03], [0.02], [0.001]]),
        "total_information": np.ones(4),
        "label_information": np.array([0.69, 0.6, 0.4, 0.1]),
        "label_information_b": np.array([0.4, 0.3, 0.1, 0.01]),
        "label_information_lost": np.array([0.05, 0.15, 0.35, 0.44]),
    }
    errors = {f"{name}_stderr": np.zeros_like(values) + 1e-4 for name, values in measured.items()}
    known = {"t": t, "radius": [1], "image_shape": (9, 7), "channel": ld.channels.Gaussian("linear")}
    variables = probe_variables(**known, **measured, **errors)
    probe_result(variables, {"file": "x"}, {}, 0).report(tmp_path / "probe.html")
    assert "Where the label is decided" in (tmp_path / "probe.html").read_text(encoding="utf-8")
    lost = plot_probe_label_windows(variables).containers[2].lines[0].get_ydata()
    assert lost == pytest.approx(measured["label_information_lost"])


def test_refusals():
    with pytest.raises(ValueError, match="odd number of spins, got 4x4"):
        sign_log_weights(0.4, np.zeros((1, 4, 4)))
    even = {"model": {"name": "ising", "shape": [4, 4], "beta": 0.6}}
    grid = small_spec().grids["ising"].model_dump(exclude_unset=True) | even
    with pytest.raises((ValueError, SpecError), match="odd number of spins"):
        run(Spec(name="x", grids={"ising": grid}), "x.h5", workers=1)
    with pytest.raises(ValueError, match="without labels, or not converged, has no speciation window; probe again"):
        plot_probe_label_windows({})
