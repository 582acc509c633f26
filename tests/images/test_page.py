"""The probe's result and its page: what is derived against closed forms; text escaped, nothing from outside."""

import functools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from matplotlib import image
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from lattice_diffusion import results
from lattice_diffusion.channels import BitFlip, Gaussian
from lattice_diffusion.estimate import Curve
from lattice_diffusion.images import figures
from lattice_diffusion.images.calibration import beside_exact, calibration_verdict, comparison, distance, share_found
from lattice_diffusion.images.conclusions import probe_result
from lattice_diffusion.images.decisions import GLOBAL, probe_variables, read_costs, snr_weights
from lattice_diffusion.images.page import html_page, summary
from lattice_diffusion.noise_units import level
from lattice_diffusion.phases import nonlocality_window, speciation_window
from lattice_diffusion.plots.grids import plot_grids
from lattice_diffusion.results import Row
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.studies import STUDIES
from lattice_diffusion.studies.base import Analysis, Study

SHAPE = (12, 9)
T = np.linspace(0.06, 0.94, 12)
R = np.arange(1, 8)
XI = 0.8 + np.exp(-(((T - 0.4) / 0.2) ** 2))
GAMMA = 0.3 * np.exp(-(((T - 0.45) / 0.15) ** 2))
TRUTH = GAMMA[:, None] * np.exp(-R / XI[:, None])
STDERR, NULL = 1e-3, -0.004


def measured(rng: np.random.Generator | None = None, **changes: Any) -> dict[str, Any]:
    """Arguments of `probe_variables`: an exponential decay of known length, with noise if there is a generator."""
    noise = 0.0 if rng is None else STDERR * rng.standard_normal(TRUTH.shape)
    errors = np.full(TRUTH.shape, STDERR if rng is not None else 0.0)
    given: dict[str, Any] = {
        "t": T,
        "radius": R,
        "cmi": TRUTH + NULL + noise,
        "cmi_stderr": errors,
        "cmi_null": np.full(TRUTH.shape, NULL),
        "cmi_null_stderr": np.zeros(TRUTH.shape),
        "total_information": 1.0 - T,
        "total_information_stderr": np.full(T.size, 0.01),
        "image_shape": (1, *SHAPE),
        "channel": Gaussian("linear"),
    }
    return {**given, **changes}


def trained(**changes: Any) -> dict[str, Any]:
    """What is measured of a training that has converged."""
    folds = np.stack([TRUTH, TRUTH])
    given = {"cmi_held_out": TRUTH - 1e-3, "cmi_in_sample": TRUTH + 1e-3, "gain_to_come": [1e-3, 2e-3]}
    return {**given, "cmi_folds": folds, "cmi_folds_stderr": np.full(folds.shape, STDERR), **changes}


def labels() -> dict[str, Any]:
    known, buffer = np.log(2) / (1 + np.exp((T - 0.8) / 0.02)), 0.3 / (1 + np.exp((T - 0.3) / 0.02))
    return {
        "label_information": known,
        "label_information_stderr": np.full(T.size, 0.01),
        "label_information_b": buffer,
        "label_information_b_stderr": np.full(T.size, 0.01),
        "label_information_lost": 0.3 - buffer,
        "label_information_lost_stderr": np.full(T.size, 3e-4),
    }


def area_law(scale: float = 1e-2, stderr: float = 0.0) -> dict[str, Any]:
    return {"excess_mse": scale * TRUTH, "excess_mse_stderr": np.full(TRUTH.shape, stderr)}


EXACT_STDERR = 5e-4


def exact_curves() -> list[Curve]:
    """I(A;BC) and I(A;C|B) as they are, with an error."""
    covariance = EXACT_STDERR**2 * np.eye(1 + R.size)
    return [Curve(np.append(1.0 - t, row), covariance, 100) for t, row in zip(T, TRUTH, strict=True)]


def calibration(rng: np.random.Generator | None, **changes: Any) -> dict[str, xr.Variable]:
    return beside_exact(measured(rng, **changes), exact_curves())


@functools.cache
def calibration_of(seed: int) -> dict[str, xr.Variable]:
    """The calibration beside the probe of this seed, with the noise that follows that of the probe."""
    rng = np.random.default_rng(seed)
    rng.standard_normal(TRUTH.shape)
    return calibration(rng)


def probe(seed: int = 3, name: str = "digits.npz", **changes: Any) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    variables = probe_variables(**measured(rng, **{**labels(), **area_law(), **trained(), **changes}))
    data = {"file": name, "images": 5000, "shape": [1, *SHAPE]}
    plan = {"pixel": [6, 4], "steps": 1234, "radii": R.tolist()}
    levels = {"levels": 64, "unresolved": 0.0125}
    parameters = {"tolerance": 0.01, "channel": "gaussian", "schedule": "linear", "plan": plan, "pixel_levels": levels}
    known = {"calibration_ising": dict(calibration_of(seed))}
    return probe_result(variables, data, parameters, seed, calibrations=known)


good = functools.cache(probe)  # which is made once; what a test changes of it is changed in a copy


# -- what is derived -----------------------------------------------------------------------------------------


def test_markov_lengths_come_back_above_the_null() -> None:
    exact = probe_variables(**measured(prefactor=(0, 0)))
    np.testing.assert_allclose(exact["cmi_above_null"].values, TRUTH, atol=1e-15)
    inside = GAMMA > 1e-3  # where rounding of the null does not show
    np.testing.assert_allclose(exact["markov_length"].values[inside], XI[inside], rtol=1e-6)
    z = []
    for seed in range(5):
        noisy = probe_variables(**measured(np.random.default_rng(seed), prefactor=(0, 0)))
        xi, stderr = noisy["markov_length"].values, noisy["markov_length_stderr"].values
        assert np.isfinite(xi).sum() >= 4
        z += list(((xi - XI) / stderr)[np.isfinite(xi)])
        notes = noisy["markov_length_note"].values[np.isnan(xi)]
        assert all("are needed" in note or "no exponential window" in note for note in notes)
    assert np.abs(z).max() < 5, z
    # fits cut where the data sink into noise are biased a little, so not 1 exactly; a length 10% off gives above 5
    assert np.mean(np.square(z)) < 2.5, z
    assert np.mean(np.square(z)) > 0.2, z


def test_the_unknown_prefactor_is_part_of_the_error_of_a_length() -> None:
    """Of r^-p exp(-r/xi), whatever p from 0 to 1/2: both ends lie one systematic error from what is found."""
    given = measured(cmi=TRUTH, cmi_null=None, cmi_null_stderr=None)
    found = probe_variables(**given)
    low, high = (probe_variables(**given, prefactor=(p, p))["markov_length"].values for p in (0.0, 0.5))
    inside = np.isfinite(low + high)
    assert inside.sum() > 5
    np.testing.assert_array_equal(np.isfinite(found["markov_length"].values), inside)
    xi, error = (found[f"markov_length{end}"].values[inside] for end in ("", "_stderr"))
    np.testing.assert_allclose(1 / xi, (1 / low + 1 / high)[inside] / 2, rtol=1e-6)
    assert (error >= 0.999 * xi**2 * np.abs(1 / low - 1 / high)[inside] / 2).all()
    assert "the prefactor, which is not known" in found["markov_length_note"].values[inside][0]
    by_time = probe_variables(**given, prefactor=[(0, 0)] * 5 + [(0.5, 0.5)] * 7)["markov_length"].values
    np.testing.assert_array_equal(by_time, np.append(low[:5], high[5:]))


def test_the_null_counts_as_an_error() -> None:
    def found(**changes: Any) -> Any:
        return probe_variables(**measured(np.random.default_rng(0), prefactor=(0, 0), **changes))

    some = found(cmi_null_stderr=np.full(TRUTH.shape, 2 * STDERR))
    np.testing.assert_allclose(some["cmi_above_null_stderr"].values, np.sqrt(5) * STDERR)
    none = found(cmi_null=None, cmi_null_stderr=None)
    np.testing.assert_array_equal(none["cmi_above_null"].values, none["cmi"].values)
    whole = np.array([np.diag(row) for row in np.full(TRUTH.shape, STDERR**2)])
    same, plain, wide = found(cmi_covariance=whole), found(), found(cmi_covariance=4 * whole)
    np.testing.assert_allclose(same["markov_length_stderr"].values, plain["markov_length_stderr"].values)
    seen = np.isfinite(wide["markov_length_stderr"].values)
    assert (wide["markov_length_stderr"].values[seen] > 1.5 * plain["markov_length_stderr"].values[seen]).all()


def test_windows_are_where_the_exponential_crosses_the_tolerance() -> None:
    found = probe_variables(**measured(tolerance=0.01))
    fine = np.linspace(T[0], T[-1], 20001)
    xi, gamma = np.interp(fine, T, XI), np.exp(np.interp(fine, T, np.log(GAMMA)))
    for j, r in enumerate(R):
        above = fine[gamma * np.exp(-r / xi) > 0.01]
        assert bool(found["n_nonlocal_times"].values[j]) == bool((TRUTH[:, j] > 0.01).any())
        if found["n_nonlocal_times"].values[j]:
            assert found["window_start"].values[j] == pytest.approx(above[0], abs=0.01)
            assert found["window_stop"].values[j] == pytest.approx(above[-1], abs=0.01)
        else:
            assert np.isnan(found["window_start"].values[j])


def test_window_ends_next_to_noise_keep_a_sensible_error() -> None:
    window = nonlocality_window([0.2, 0.4, 0.6], [-1e-3, 0.05, 1e-4], 0.01, [1e-3, 1e-3, 2e-3])
    assert window is not None
    assert window.start is not None
    assert window.stop is not None
    # Straight, or exponential into the noise: halfway, with half the distance and its scatter as error.
    times, curve, noise = np.array([0.2, 0.4, 0.6]), np.array([-1e-3, 0.05, 1e-4]), np.array([1e-3, 1e-3, 2e-3])
    rng, drawn = np.random.default_rng(5), []
    for _ in range(100):
        drawn.append(nonlocality_window(times, curve + noise * rng.standard_normal(3), 0.01, noise))
    for name, line, decay in (
        ("start", 0.2 + 0.2 * 11 / 51, 0.4 - 0.2 * np.log(5) / np.log(50)),
        ("stop", 0.4 + 0.2 * 0.04 / 0.0499, 0.4 + 0.2 * np.log(5) / np.log(25)),
    ):
        end = getattr(window, name)
        assert end.value == pytest.approx((line + decay) / 2)
        scatter = np.sqrt(end.stderr**2 - (decay - line) ** 2 / 4)
        assert scatter == pytest.approx(np.std([getattr(w, name).value for w in drawn]), rel=5 / np.sqrt(2 * 33))


def test_speciation_window_with_and_without_a_buffer() -> None:
    found = probe_variables(**measured(**labels(), tolerance=0.05))
    assert found["speciation_seen"].values == 1
    assert float(found["speciation_start"].values) == pytest.approx(0.3 - 0.02 * np.log(5), abs=0.04)
    assert float(found["speciation_stop"].values) == pytest.approx(0.8 + 0.02 * np.log(np.log(2) / 0.05 - 1), abs=0.02)
    lost = np.log(2) - labels()["label_information"]
    whole = {**labels(), "label_information_b": None, "label_information_lost": lost}
    start = float(probe_variables(**measured(**whole, tolerance=0.05))["speciation_start"].values)
    assert start == pytest.approx(0.8 - 0.02 * np.log(np.log(2) / 0.05 - 1), abs=0.05)
    assert "speciation_seen" not in probe_variables(**measured())
    rng, names = np.random.default_rng(8), ("label_information_lost", "label_information")

    def window(noise: float, scale: float = 1.0) -> Any:
        """Of values with noise, and errors times `scale`."""
        errors = [labels()[f"{name}_stderr"] for name in names]
        lost, known = (
            labels()[n] + noise * e * rng.standard_normal(T.size) for n, e in zip(names, errors, strict=True)
        )
        options = {"lost_stderr": scale * errors[0], "label_abc_stderr": scale * errors[1]}
        return speciation_window(T, 0.0, -lost, known, 0.05, **options)

    # At half the errors, where their propagation is linear. The part that grows with them is the scatter of a curve
    # through fixed points; noise also decides which points are followed, in a few draws: no outliers of the first, and
    # the change with one point fewer, which is in the whole error, for the second.
    drawn, n = [window(0.5, 0.5) for _ in range(150)], 150
    for name in ("start", "stop"):
        assert getattr(window(0.0), name).stderr == pytest.approx(float(found[f"speciation_{name}_stderr"].values))
        full, less = (getattr(window(0.0, scale), name).stderr for scale in (0.5, 0.45))
        ends = np.array([getattr(w, name).value for w in drawn])
        scatter = 1.4826 * np.median(np.abs(ends - np.median(ends)))  # relative error (2 n 0.37)^(-1/2)
        assert scatter == pytest.approx(np.sqrt((full**2 - less**2) / (1 - 0.9**2)), rel=5 / np.sqrt(2 * n * 0.37))
        assert np.std(ends) < full * (1 + 5 / np.sqrt(2 * n))


def test_weights_integrate_over_the_signal_to_noise_ratio() -> None:
    channel = Gaussian("vp")
    for last in (0.97, 1.0):
        t = np.linspace(0.05, last, 60)
        snr = np.array([channel.snr(x) for x in t])
        exact = np.exp(-snr[-1]) - np.exp(-snr[0])
        assert snr_weights(channel, t) @ np.exp(-snr) == pytest.approx(exact, rel=0.01)


def test_read_costs_count_pixels_of_boxes_cut_at_the_edges() -> None:
    rows, columns = np.indices(SHAPE).reshape(2, -1)
    for r, cost in zip((0, 1, 5, 20), read_costs(SHAPE, [0, 1, 5, 20]), strict=True):
        near = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns)) <= r
        assert cost == pytest.approx(near.sum(axis=1).mean(), rel=1e-12)


def test_the_recommended_schedule_is_the_cheapest_that_keeps_the_budget() -> None:
    """Two times and three radii, against all schedules; losses in bits per value, of two channels."""
    t, wanted = np.array([0.4, 0.6]), np.array([[0.9, 0.3, 0.02], [0.5, 0.05, 0.01]])
    half = 0.5 * snr_weights(Gaussian("linear"), t)[:, None] / (2 * np.log(2))
    few = {
        "t": t,
        "radius": [1, 2, 4],
        "image_shape": (2, *SHAPE),
        "cmi": wanted,
        "cmi_stderr": np.zeros((2, 3)),
        "cmi_null": None,
        "cmi_null_stderr": None,
        "total_information": np.ones(2),
        "total_information_stderr": np.zeros(2),
        "excess_mse": wanted / half,
        "excess_mse_stderr": np.full((2, 3), 0.01) / half,
    }
    read = np.append(read_costs(SHAPE, [1, 2, 4]) / 108, 1.0)
    padded, names = np.pad(wanted, ((0, 0), (0, 1))), [1, 2, 4, GLOBAL]
    found = probe_variables(**measured(**few, bits_per_dim=0.36))
    np.testing.assert_allclose(found["bits_lost"].values, wanted)
    pairs = [(i, j) for i in range(4) for j in range(4) if padded[0, i] + padded[1, j] <= 0.36]
    best = min(pairs, key=lambda pair: read[pair[0]] + read[pair[1]])
    assert found["recommended_radius"].values.tolist() == [names[best[0]], names[best[1]]]
    assert list(found["schedule"].values) == [
        *(f"r(t) for {bits} bits" for bits in (0.36, 0.036, 3.6)),
        *(f"r = {r} always" for r in (1, 2, 4)),
    ]
    lost = [padded[0, best[0]] + padded[1, best[1]], 0.03, 1.4, *wanted.sum(axis=0)]
    saved = [1 - (read[best[0]] + read[best[1]]) / 2, 1 - read[2], *(1 - read[[0, 0, 1, 2]])]
    np.testing.assert_allclose(found["schedule_bits"].values, lost)
    np.testing.assert_allclose(found["schedule_saving"].values, saved)
    np.testing.assert_allclose(found["schedule_bits_stderr"].values, 0.01 * np.sqrt(2))
    strict = probe_variables(**measured(**few, bits_per_dim=1e-3))
    assert strict["recommended_radius"].values.tolist() == [GLOBAL, GLOBAL]
    assert [strict[f"schedule_{name}"].values[0] for name in ("saving", "bits_stderr")] == [0.0, 0.0]
    lucky = wanted - [[0.0, 0.31, 0.0], [0.0, 0.0, 0.0]]  # below zero by chance
    found = probe_variables(**measured(**{**few, "excess_mse": lucky / half}, bits_per_dim=0.04))
    assert found["recommended_radius"].values.tolist() == [2, 4]
    assert found["schedule_bits"].values[0] == pytest.approx(0.01)


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="cmi must be finite, got nan"):
        probe_variables(**measured(cmi=np.where(TRUTH.max() > TRUTH, TRUTH, np.nan)))
    with pytest.raises(ValueError, match="must come with a Gaussian channel, got bitflip"):
        probe_variables(**measured(**area_law(), channel=BitFlip()))


# -- the file, the figure, the page --------------------------------------------------------------------------


def test_a_probe_survives_its_file(tmp_path: Path) -> None:
    made = good()
    results.write(tmp_path / "a.h5", made)
    again = results.load(tmp_path / "a.h5")
    assert again.identical(made)
    errors = {f"{name}_stderr" for name in ("cmi", "total_information", "markov_length", "window_start", "bits_lost")}
    assert errors <= set(again["probe"].data_vars)


def test_figure_shows_every_measured_point() -> None:
    made = good()
    figure = figures.plot_probe_panels(made)
    heat, curves, lengths, radius = (ax for ax in figure.axes if ax.get_title())
    shown = heat.collections[0].get_array()
    probe_group = results.grids(made)["probe"]
    seen = probe_group["cmi_above_null"].values.T
    assert (np.ma.getmaskarray(shown) == (seen <= 2 * probe_group["cmi_above_null_stderr"].values.T)).all()
    assert len(curves.containers) == 6
    assert len(lengths.containers[0][0].get_xdata()) == np.isfinite(probe_group["markov_length"].values).sum()
    assert radius.get_yticklabels()[-1].get_text() == "global"
    shown = {text.get_text() for text in radius.get_legend().get_texts()}
    assert shown == {"nonlocality window, r = 1", "speciation window", "recommended r(t)"}
    whole = figures.plot_probe(made)
    assert len([ax for ax in whole.axes if ax.get_title()]) == 4 + 3


def test_panels_with_nothing_in_them_are_left_out() -> None:
    made = good().copy(deep=True)
    for group in ("probe", "calibration_ising"):
        for name in ("markov_length", "markov_length_exact"):
            if name in made[group]:
                made[group][name].values[:] = np.nan
    figure = figures.plot_probe(made)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(titles) == 3 + 2
    assert "How far information reaches" not in titles
    made["probe"]["cmi_above_null"].values[:] = 0.0
    grey = figures.plot_probe_panels(made)
    assert len(grey.axes) == 3  # a map without a colour has no scale of colours


def test_a_page_without_markov_lengths_has_no_empty_columns(undrawn: None) -> None:
    made = good().copy(deep=True)
    made["probe"]["markov_length"].values[:] = np.nan
    text = Page(html_page(made, "a.h5")).text
    assert "At no time is there a Markov length ξ" in text
    assert "about ξ" not in text
    assert "about ξ" in Page(html_page(good(), "a.h5")).text


def black(ax: Any) -> list[list[float]]:
    """Heights of the solid black lines."""
    lines = [line for line in ax.lines if to_hex(line.get_color()) == "#000000" and line.get_linestyle() == "-"]
    return [list(line.get_ydata()) for line in lines if len(line.get_ydata()) > 1]


def test_figure_of_a_calibration_shows_what_is_exact() -> None:
    made = good()
    curves, lengths, windows = figures.plot_calibration(made, "calibration_ising").axes
    assert black(curves) == [list(1.0 - T), *(list(TRUTH[:, j]) for j in (0, 3, 6))]
    found = results.grids(made)["calibration_ising"]
    np.testing.assert_array_equal(black(lengths), [found["markov_length_exact"].values])
    seen = (TRUTH > 0.01).any(axis=0)
    assert len(black(windows)) == seen.sum()
    band = next(c for c in curves.collections if isinstance(c, PolyCollection)).get_paths()[0].vertices  # of I(A;BC)
    assert np.ptp(band[np.isclose(band[:, 0], T[3]), 1]) == pytest.approx(2 * EXACT_STDERR)


# -- beside the truth ----------------------------------------------------------------------------------------


def test_a_perfect_probe_is_where_the_truth_is() -> None:
    """The mean of what is measured with errors: every exact length and window comes back."""
    found = beside_exact(measured(cmi_stderr=np.full(TRUTH.shape, EXACT_STDERR)), exact_curves(), tolerance=0.02)
    for name in ("cmi", "total_information", "markov_length", "window_start", "window_stop"):
        z = distance(found, name)
        assert np.isfinite(z).any()
        assert np.nanmax(np.abs(z)) < 1e-6, name  # equal errors, by which the points that curve an end are chosen
    assert share_found(found) == pytest.approx(1.0)
    _, missed = calibration_verdict(found)
    assert not missed


def test_distances_are_in_errors_of_both(undrawn: None) -> None:
    """Unbiased: z of unit variance. A probe that misses 10% of the information lies far from exact, and is said to."""
    found = [calibration(np.random.default_rng(seed)) for seed in range(4)]
    z = np.array([distance(one, "cmi") for one in found])
    shared = np.sqrt(STDERR**2 / (STDERR**2 + EXACT_STDERR**2))  # the exact values of this test have no scatter
    assert abs((z / shared).std() - 1) < 5 / np.sqrt(2 * z.size)
    assert abs((z / shared).mean()) < 5 / np.sqrt(z.size)
    assert np.nanmax(np.abs([distance(one, "markov_length") for one in found])) < 5
    low = calibration(np.random.default_rng(0), cmi=0.9 * TRUTH + NULL)
    assert share_found(low) == pytest.approx(0.9)
    assert distance(low, "cmi").min() < -5
    sentence, missed = calibration_verdict(low)
    assert missed
    assert "The probe finds 90% of I(A;C|B) beyond r = 1" in sentence
    page = Page(html_page(probe_result(low, {}, {}, 0, calibrations={"calibration_loops": low}), "a.h5"))
    assert "misses what is there" in page.text
    assert "misses what is there" not in Page(html_page(good(), "a.h5")).text


def test_table_of_a_calibration_is_exact_beside_measured() -> None:
    found = calibration(np.random.default_rng(1))
    rows = {row.quantity: row for row in comparison("calibration_ising", found)}
    top = int(TRUTH[:, 0].argmax())
    noise = level(T[top], np.log(Gaussian("linear").snr(T[top])))
    row = rows[f"I(A;C|B) at {noise}, r = 1"]
    assert row.analytic == TRUTH[top, 0]
    assert row.stderr == pytest.approx(np.hypot(STDERR, EXACT_STDERR))
    assert row.z == pytest.approx(distance(found, "cmi")[top, 0])
    lengths = [name for name in rows if name.startswith("Markov length")]
    assert len(lengths) == np.isfinite(distance(found, "markov_length")).sum() > 3
    for word, end in (("start", "start"), ("end", "stop")):
        t = float(found[f"window_{end}"].values[0])
        noise = level(t, np.log(Gaussian("linear").snr(t))).partition(" (")[2]
        assert rows[f"{word} of the nonlocality window, r = 1 ({noise}"].value == t


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that are left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


ATTACK = "<script>alert('x');\"><img src=x onerror=alert(1)>"  # nodes and variables cannot have / in their names


def hostile() -> xr.DataTree:
    made = probe(name=ATTACK)
    variables = {
        ATTACK: results.variable(("k",), np.zeros(2), ATTACK, ATTACK),
        **results.grids(made)["probe"],
        "markov_length_note": results.variable(("t",), np.full(T.size, ATTACK, object), "1", ATTACK),
    }
    attributes = {**made.attrs, "created": ATTACK, ATTACK: ATTACK, "complete": False}
    rows = [Row(ATTACK, ATTACK, 1.0, 1.1, 0.1, ATTACK)]
    return results.tree(attributes, {"probe": variables, ATTACK: variables}, rows)


@pytest.mark.parametrize("kind", ["probe", "plain", "broken JSON"])
def test_text_of_a_file_cannot_become_code(kind: str, undrawn: None) -> None:
    made = hostile()
    if kind != "probe":
        grids = {ATTACK: {ATTACK: results.grids(made)["probe"][ATTACK]}}
        made = results.tree({**made.attrs, "name": ATTACK}, grids, results.rows(made))
    if kind == "broken JSON":
        made.attrs["parameters"] = ATTACK
    page = Page(html_page(made, ATTACK))
    assert ATTACK in page.text
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "div", "table", "tr"}
    assert {tag for tag, _ in page.tags} <= allowed | {"th", "td", "img", "pre"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("href", "style") for name in attributes), (tag, attributes)
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_page_of_a_probe_says_what_was_found(undrawn: None) -> None:
    made = good()
    text = Page(html_page(made, "a.h5")).text
    assert re.search(r"pixel A\s*6, 4\s*training steps of a network\s*1234\s*radii\s*1, 2, 3", text)
    assert "64, which leave 0.0125 of its variance open" in text
    found = results.grids(made)["probe"]
    start = float(found["window_start"].values[0])
    units = re.escape(f"(σ/α = {start / (1 - start):.3g}, log snr = {2 * np.log((1 - start) / start):+.1f})")
    assert re.search(rf"beyond r = 1 from t = {start:.2f}\d* ± [\d.]+ {units}", text)
    assert "there I(A;C|B) exceeds 0.01 nats" in text
    assert "The label is decided from t = " in text
    assert f"reads {found['schedule_saving'].values[0]:.0%} fewer pixels than a global network" in text
    assert "x_t = (1 - t) x_0 + t z" in text
    assert f"r = 2 always{found['schedule_bits'].values[4]:.6g}{found['schedule_saving'].values[4]:.0%}" in text
    assert "Calibration on known truth: Ising spins as blocks of 2x2 pixels" in text
    order = ["What was found", "Trade-offs", "How sure is it?", "How it was done", "provenance"]
    assert [text.index(title) for title in order] == sorted(text.index(title) for title in order)
    assert "NOT CONVERGED" not in text
    assert "not finished" not in text
    assert "ends of windows may be noise" not in text
    noisy = Page(html_page(probe(tolerance=0.0045, cmi_stderr=np.full(TRUTH.shape, 2 * STDERR)), "a.h5")).text
    assert "The tolerance of 0.0045 nats is below three standard errors" in noisy
    local = Page(html_page(probe(tolerance=0.5), "a.h5")).text
    assert "a local network suffices at every time" in local


FAILURES: dict[str, dict[str, Any]] = {
    "training goes on": {"gain_to_come": [1e-3, 0.011]},
    "unknown": {"gain_to_come": [np.inf]},
    "errors": {"cmi_stderr": np.full(TRUTH.shape, 0.011)},
    "null": {"cmi_null": np.where(np.arange(R.size) == 2, 0.011, NULL) * np.ones(TRUTH.shape)},
    "held out": {"cmi_in_sample": TRUTH + 0.011 * (T[2] == T)[:, None] + TRUTH / 2},
    "folds": {"cmi_folds": np.stack([TRUTH - 0.02, TRUTH + 0.0211])},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_nothing_is_concluded_without_convergence(failure: dict[str, Any]) -> None:
    """One check that fails is enough: no window, length, schedule or saving, and the page and the table say so."""
    bad = probe(**failure)
    found, whole = results.grids(bad)["probe"], results.grids(good())["probe"]
    assert (int(whole["converged"]), int(found["converged"])) == (1, 0)
    assert (found["check_value"] > found["check_limit"]).sum() == 1
    words = ("window", "speciation", "markov", "schedule", "recommended", "bits_lost", "budget", "nonlocal")
    assert all(any(word in name for name in whole.variables) for word in words)
    assert not [name for name in found.variables if any(word in name for word in words)]
    doubts, findings = summary(bad)
    assert doubts[0].startswith("NOT CONVERGED: nothing is recommended. The information that is shown may be too large")
    assert findings == []
    mine = [row.quantity for row in results.rows(bad) if row.experiment == "probe"]
    assert len(mine) == 1
    assert mine[0].startswith("not converged: I(A;C|B)")


def test_page_without_convergence_carries_the_banner_and_recommends_nothing(undrawn: None) -> None:
    page = html_page(probe(**FAILURES["training goes on"]), "a.h5")
    assert '<p class="warn">NOT CONVERGED' in page
    text = Page(page).text
    assert "failed" in text
    for word in ("Recommended", "recommended r", "fewer pixels", "suffices", "Trade-offs", "must see", "is decided"):
        assert word not in text


def test_times_of_the_table_come_with_other_units_of_noise() -> None:
    found = probe_variables(**measured())
    rows = {row.quantity: row.value for row in results.rows(probe_result(found, {}, {}, 0)) if "time" in row.quantity}
    ((quantity, peak),) = rows.items()
    assert peak == float(found["peak_time"].values[0])
    noise = level(peak, 2 * np.log((1 - peak) / peak)).partition(" (")[2]
    assert quantity == f"time at which I(A;C|B) is largest, r = 1 ({noise}"


def test_noise_levels_in_words() -> None:
    assert level(0.4, np.log(Gaussian("linear").snr(0.4))) == ("t = 0.4 (σ/α = 0.667, log snr = +0.8)")


@pytest.mark.usefixtures("undrawn")
def test_command_report(shell: Callable[[str], tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    results.write("a.h5", good())
    assert shell("report a.h5")[:2] == (0, "")
    assert Path("a.html").read_text().count("data:image/png;base64,") == 3
    for line, sentence in (
        ("report a.h5", "a.html exists; use --force to overwrite it, or another name"),
        ("report a.h5 --out b.txt", "must end in .html, got 'b.txt'"),
        ("report none.h5", "no such file: none.h5"),
    ):
        code, _, err = shell(line)
        assert code == 2
        assert sentence in err
    assert not Path("none.html").exists()
    assert shell("plot a.h5")[0] == 0
    assert image.imread("a.png")[..., :3].std() > 0.05
    monkeypatch.setattr("lattice_diffusion.images.page.html_page", lambda result, name: name + result.attrs["seed"])
    results.load("a.h5").report("again.html")
    assert Path("again.html").read_text() == "3"
    assert shell("report a.h5 --force")[0] == 0
    assert Path("a.html").read_text() == "a.h53"


def test_any_result_file_has_a_page(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {
        "t": results.variable(("t",), T, "1", "time"),
        "radius": results.variable(("radius",), R, "sites", "radius"),
        "cmi": results.variable(("t", "radius"), TRUTH, "nat", "conditional mutual information"),
    }
    rows = [Row("toy", "peak <time>", 0.45, 0.46, 0.01, "by construction"), Row("toy", "height", None, 0.1, 0.0, "")]
    attributes = results.provenance("toy", "{}", 0, complete=True)
    plain = html_page(results.tree(attributes, {"square": grid}, rows), "a.h5")
    text = Page(plain).text
    assert plain.count("data:image/png;base64,") == 1
    assert "grid square" in text
    for cell in ("peak <time>", "0.460 ± 0.010", "+1.0", "by construction", "height"):
        assert cell in text
    figure = mock.Mock(wraps=plot_grids)
    monkeypatch.setitem(STUDIES, "toy", Study("toy", "A toy & its title", "It is small.", Spec, Analysis, figure))
    named = html_page(results.tree(attributes, {"square": grid}, rows), "a.h5")
    figure.assert_called_once()
    assert "<h1>A toy &amp; its title</h1>" in named
    samples = {"samples": results.variable(("sample", "row", "column"), np.ones((2, 3, 3)), "1", "samples")}
    nothing = html_page(results.tree({**attributes, "name": "samples"}, {"samples": samples}), "a.h5")
    assert nothing.count("<img") == 1  # the samples and the histogram of their means
    assert "sample: 2, row: 3, column: 3" in Page(nothing).text


def test_window_ends_outside_the_times_are_said_to_be_outside(undrawn: None) -> None:
    late = labels() | {f"label_information{name}": np.full(T.size, x) for name, x in (("", 0.6), ("_lost", 0.3))}
    made = probe_result(probe_variables(**measured(np.random.default_rng(1), **late)), {}, {}, 0)
    text = Page(html_page(made, "a.h5")).text
    outside = "from before t = 0.06 (σ/α = 0.0638, log snr = +5.5) to after t = 0.94 (σ/α = 15.7, log snr = -5.5)"
    assert f"The label is decided {outside}." in text
