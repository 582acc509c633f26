"""The probe's calibration from the command line to the page, and what it refuses."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion import Lattice, cli, exact, results
from lattice_diffusion.images import calibration
from lattice_diffusion.images.calibration import calibrate, exact_seconds, pictures, pictures_for, plan_for
from lattice_diffusion.images.probe import ProbePlan
from lattice_diffusion.models import Ising, PottsChain
from lattice_diffusion.noise_units import level

pytestmark = pytest.mark.usefixtures("judged_once")
PLAN = ProbePlan((0.4, 0.7), (1, 2), (3, 3), steps=8)


def test_calibrated_probe_holds_exact_answers_of_both_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    monkeypatch.setattr(calibration, "calibrate", functools.partial(calibrate, n_exact=100))
    images, out = tmp_path / "spins.npy", tmp_path / "p.h5"
    np.save(images, Ising(Lattice((6, 6)), beta=0.4).sample(500, np.random.default_rng(4)).astype(np.int8))
    options = ("--times", "0.4,0.7", "--radii", "1,2", "--steps", "8")
    assert cli.main(["probe", str(images), "--out", str(out), *options]) == 0
    known = pictures_for(np.load(images)[:, None], PLAN)
    nearest = next(iter(known))
    titles = f"{calibration.TITLES[nearest]} and uniform loops"
    assert f"and as many pictures of known truth ({titles}): about" in capsys.readouterr().err
    result = results.load(out)
    assert set(results.grids(result)) == {"probe", f"calibration_{nearest}", "calibration_loops"}
    for name, rendering in known.items():
        found = results.grids(result)[f"calibration_{name}"]
        assert rendering.shape == (8, 8)
        assert np.diff(found["cmi_exact"].values, axis=1).max() < 0  # falls with the radius
        assert (found["total_information_exact"].values >= found["cmi_exact"].values[:, 0]).all()
        rows = {row.quantity: row for row in results.rows(result) if row.experiment == f"calibration_{name}"}
        top = found["cmi_exact"].values[:, 0].max()
        place = int(found["cmi_exact"].values[:, 0].argmax())
        noise = level(found["t"].values[place], found["log_snr"].values[place])
        assert rows[f"I(A;C|B) at {noise}, r = 1"].analytic == top
        assert rows[f"I(A;BC) at {noise}"].z is not None
    assert cli.main(["report", str(out)]) == 0
    page = (tmp_path / "p.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "The probe finds" in page
    assert page.count("Their spectrum is nearest to that of the images.") == 1


def test_the_plan_is_that_of_the_images_but_for_a() -> None:
    plan = replace(PLAN, radii=(1, 2, 5, 12), steps=17, seed=4)
    large, small = pictures((28, 28)), pictures((8, 8))
    assert plan_for(plan, large["loops"]).radii == (1, 2, 5, 12)
    assert plan_for(plan, small["ising"]).radii == (1, 2)
    assert plan_for(ProbePlan((0.4,), (9,), (3, 3)), small["ising"]).radii == (1,)
    for rendering in (*large.values(), *small.values()):
        made = plan_for(plan, rendering)
        assert (made.pixel, made.steps, made.seed) == (rendering.pixel, 17, 4)
    assert exact_seconds(small["ising"], plan_for(plan, small["ising"]), n_exact=16) > 0
    with pytest.raises(ValueError, match=r"pixel must be that of the pictures, \(4, 4\), got \(3, 3\); use plan_for"):
        calibrate(small["ising"], 100, plan)


@pytest.mark.parametrize("name", ["ising", "grey", "smooth", "textures"])
def test_pictures_are_chosen_by_the_spectrum_of_the_images(name) -> None:
    """Other samples of every kind, in other units, are nearest to their own kind; loops come always."""
    images = pictures((16, 12))[name].sample(200, np.random.default_rng(8))
    assert list(pictures_for(3.0 * images[:, None] + 2.0, PLAN, labelled=name == "textures")) == [name, "loops"]


@pytest.mark.parametrize("name", ["colours", "smooth-colours"])
def test_pictures_in_colours_have_the_covariance_of_the_images_colours(name) -> None:
    mixed = np.array([[0.9, 0.2, 0.05], [1.0, 0.0, -0.1], [0.8, -0.3, 0.1]])
    images = pictures((16, 12), mixed)[name].sample(2000, np.random.default_rng(8))
    assert images.shape == (2000, 3, 16, 12)
    known = pictures_for(images, PLAN)
    assert list(known) == [name, "loops"]
    found = known[name].colours @ known[name].colours.T
    assert found / found[0, 0] == pytest.approx((mixed @ mixed.T) / (mixed @ mixed.T)[0, 0], abs=0.02)


@pytest.mark.parametrize(
    ("model", "options", "names"),
    [
        (PottsChain(Lattice((12,)), 2.0, 3), {"tokens": 3, "channel": "erasure"}, ["chains", "hierarchy"]),
        pytest.param(Ising(Lattice((8, 8)), 0.4), {"channel": "bitflip"}, ["ising", "loops"], marks=pytest.mark.slow),
    ],
)
def test_all_noise_is_calibrated(model, options, names, monkeypatch) -> None:
    """The exact values are those of the model on its own lattice; chains are as correlated as the tokens."""
    monkeypatch.setattr(calibration, "calibrate", functools.partial(calibrate, n_exact=400))
    x = model.sample(1000, np.random.default_rng(4))
    made = ld.probe(x, times=(0.4, 0.6), radii=(1, 2), steps=8, width=8, progress=False, **options)
    assert [name for name in results.grids(made) if name.startswith("calibration")] == [
        f"calibration_{n}" for n in names
    ]
    found, plan = made[f"calibration_{names[0]}"], replace(PLAN, **options)
    if names[0] == "chains":
        alike = float((np.diff(x.astype(int)) == 0).mean())
        model = PottsChain(Lattice((12,)), np.log(2 * alike / (1 - alike)), 3)
        assert model.coupling == pytest.approx(2.0, abs=0.1)
        wanted = exact.cmi_map(model, plan.noise(), (0.4, 0.6), (1, 2), 400, 3)
        gap = (found["cmi_exact"] - wanted["cmi"]).values
        assert (np.abs(gap) < 5 * np.hypot(found["cmi_exact_stderr"], wanted["cmi_stderr"]).values).all()
    assert (found["cmi_exact"].values > 0).all()


def test_chains_are_as_correlated_as_the_tokens() -> None:
    tokens = PottsChain(Lattice((12,)), 2.0, 3).sample(2000, np.random.default_rng(4))[:, None, None]
    chain = pictures_for(tokens, replace(PLAN, channel="erasure", tokens=3))["chains"].model
    assert chain.coupling == pytest.approx(2.0, abs=0.1)


def test_many_symbols_are_calibrated_on_fewer() -> None:
    """The exact answer for q symbols takes q^3 operations a site."""
    tokens = np.random.default_rng(1).integers(5000, size=(50, 1, 4, 12))
    plan = replace(PLAN, channel="erasure", tokens=5000)
    for name, drawn in pictures_for(tokens, plan).items():
        assert plan_for(plan, drawn).tokens == drawn.model.q == 32
        assert drawn.shape == ((4, 12) if name == "chains" else (4, 8))
        assert drawn.sample(3, np.random.default_rng(2)).max() < 32
