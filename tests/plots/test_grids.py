"""The figure of any result: every slice of every grid, what is chosen, what is hatched, pictures of samples."""

import itertools

import numpy as np
import pytest

from lattice_diffusion import plots, results
from lattice_diffusion.errors import InputError
from lattice_diffusion.plots.grids import panels, plot_grids

T, RADII, BETAS, SIDES, FIELDS = [0.2, 0.5, 0.8], [1, 2], [0.3, 0.44, 0.5, 0.6], [8, 16], [0.0, 0.1]
AXES = {"length": SIDES, "field": FIELDS, "beta": BETAS, "t": T, "radius": RADII}


def array(values, *dims, units="nat"):
    return results.variable(dims, values, units, "a quantity of long name")


def axes(**values):
    return {name: results.variable(name, x, "1", name) for name, x in values.items()}


def made(**grids):
    return results.tree(results.provenance("mine", "{}", 0, complete=True), grids)


@pytest.fixture
def result():
    """Two grids: one of five axes, whose CMI at every place is another number, and label entropies over two."""
    shape = tuple(map(len, AXES.values()))
    cmi = 1e-6 * np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    peak = np.full(shape[:3], 0.5)
    wide = {"cmi": array(cmi, *AXES), "cmi_stderr": array(0.1 * cmi, *AXES), "peak_time": array(peak, *[*AXES][:3])}
    entropy = {"label_entropy": array(np.arange(6.0).reshape(2, 3), "length", "t")}
    return made(wide={**axes(**AXES), **wide}, label={**axes(length=SIDES, t=T), **entropy})


def images(figure):
    """The maps of a figure by title."""
    return {
        ax.get_title(): np.asarray(mesh.get_array())
        for ax in figure.axes
        for mesh in ax.collections
        if type(mesh).__name__ == "QuadMesh" and ax.get_title()
    }


def test_every_slice_of_every_grid_is_drawn(result):
    figure = plot_grids(result)
    found, wide = images(figure), result["wide"].to_dataset()
    for side, field, radius in itertools.product(SIDES, FIELDS, RADII):
        title = f"L = {side}, field = {field:g}, r = {radius}"
        slice_ = wide["cmi"].sel(length=side, field=field, radius=radius)
        np.testing.assert_array_equal(found[title], slice_.transpose("beta", "t"))
    lines = [line for ax in figure.axes for line in ax.lines]
    curves = [tuple(line.get_ydata()) for line in lines]
    assert {(0.0, 1.0, 2.0), (3.0, 4.0, 5.0)} <= set(curves)  # label entropies, a curve for each side
    assert curves.count((0.5,) * 4) >= 4  # the peak against beta


def test_axes_and_values_are_chosen(result):
    wide = result["wide"].to_dataset()
    figure = plot_grids(result, "wide", at={"beta": 0.44, "length": 8}, over=("radius", "field"), quantity=["cmi"])
    found = images(figure)
    assert set(found) == {f"t = {t}, β = 0.44, L = 8" for t in T}
    chosen = wide["cmi"].sel(beta=0.44, length=8, t=0.5).transpose("field", "radius")
    np.testing.assert_array_equal(found["t = 0.5, β = 0.44, L = 8"], chosen)
    assert figure.axes[0].get_xlabel() == "radius r"
    curves = panels(result, "wide", over=["beta"], quantity=["cmi"])["wide"]
    assert len(curves) == len(SIDES) * len(FIELDS) * len(RADII)
    assert set(panels(result, over=["length"])) == {"wide", "label"}
    for wrong, sentence in [
        ({"grid": "narrow"}, "grid must be one of wide, label, got 'narrow'"),
        ({"at": {"beta": 0.45}}, "beta must be one of 0.3, 0.44, 0.5, 0.6, got 0.45"),
        ({"over": ["mass"]}, "no grid has such quantities and axes; there are wide: cmi, .*; label: label_entropy, "),
        ({"quantity": ["gap"]}, "no grid has such quantities"),
    ]:
        with pytest.raises(InputError, match=sentence):
            plot_grids(result, **wrong)


def test_values_that_rare_samples_carry_are_hatched():
    t = np.linspace(0.1, 0.9, 7)
    cmi = np.array([1e-6, 5e-6, 1e-3, 4e-2, 5e-2, 1e-2, 1e-3])
    stderr = np.array([1e-8, 1e-7, 9e-4, 4e-3, 2e-3, 1e-3, 1e-4])  # rare samples: half at t_2, missed before
    both = {"cmi": array(np.array([cmi, cmi / 2]), "radius", "t")}
    both["cmi_stderr"] = array(np.array([stderr, np.zeros(7)]), "radius", "t")
    data = made(grid={**axes(t=t, radius=[1, 2]), **both})["grid"].to_dataset()
    seen = plots.trusted(data, "cmi")
    assert seen.sel(radius=1).values.tolist() == [False, False, False, True, True, True, True]
    assert seen.sel(radius=2).all()  # exact
    ax = plots.cells(plots.new_figure()[1], data, "cmi")
    mesh, hatched = ax.collections[:2]
    assert np.ma.getmaskarray(mesh.get_array())[0].tolist() == [True, True, True, False, False, False, False]
    assert hatched.get_hatch() == "////"
    assert mesh.norm.vmin == cmi[0] / 2  # of the exact row: the scale knows no noise
    open_ = plots.curves(plots.new_figure()[1], data.sel(radius=1), "cmi", log=True).lines
    assert [len(line.get_xdata()) for line in open_ if line.get_markerfacecolor() == "white"] == [3]


def test_time_is_labelled_in_all_units_of_noise():
    t = np.array([0.2, 0.5, 0.8])
    log_snr = results.variable("t", 2 * np.log((1 - t) / t), "1", "log snr")
    cmi = array(np.arange(1.0, 13.0).reshape(4, 3), "beta", "t")
    result = made(grid={**axes(t=t, beta=BETAS), "log_snr": log_snr, "cmi": cmi, "xi": array(t, "t", units="sites")})
    labels = ["0.2\n0.25\n+2.8", "0.5\n1\n+0.0", "0.8\n4\n-2.8"]
    figure = plot_grids(result)
    along_t = [ax for ax in figure.axes if ax.get_xlabel() == "noise level"]
    assert len(along_t) == 3  # map and curves of the CMI, curve of xi; log snr is no panel of its own
    assert all([text.get_text() for text in ax.get_xticklabels()] == labels for ax in along_t)
    shared = plots.new_figure()[1]
    for few in (slice(1, 2), slice(0, 3), slice(1, 3)):
        plots.curves(shared, result["grid"].to_dataset().isel(t=few), "xi")
    assert [text.get_text() for text in shared.get_xticklabels()] == labels  # of the widest grid, once
    assert len(shared.texts) == 1
    upright = plot_grids(result, over=("beta", "t")).axes[0]
    assert upright.get_ylabel() == "noise level: t, σ/α, log snr"
    assert upright.get_yticklabels()[0].get_text() == "0.2, 0.25, +2.8"
    titles = [ax.get_title() for ax in plot_grids(result, at={"beta": 0.44}).axes]
    assert titles == ["β = 0.44", ""]  # xi has no beta
    titles = [ax.get_title() for ax in plot_grids(result, at={"t": 0.8}, quantity=["cmi"]).axes]
    assert titles == ["t = 0.8 (σ/α = 4, log snr = -2.8)"]
    by_time = plot_grids(result, over=("beta",), quantity=["cmi"]).axes[0].get_legend()
    assert by_time.get_texts()[0].get_text() == "t = 0.2 (σ/α = 0.25, log snr = +2.8)"


@pytest.mark.parametrize(
    ("values", "labels"), [([0.3, 0.5, 0.6], ["0.3", "0.5", "0.6"]), ([0.1, 0.15, 1.0, 2.0], None)]
)
def test_labels_of_values_do_not_collide(values, labels):
    data = made(grid={**axes(mean=values, side=SIDES), "xi": array(np.ones((2, len(values))), "side", "mean")})[
        "grid"
    ].to_dataset()
    ax = plots.cells(plots.new_figure()[1], data, "xi", x="mean", y="side")
    ax.figure.draw_without_rendering()
    shown = ax.get_xticklabels()
    assert labels is None or [text.get_text() for text in shown] == labels
    boxes = [text.get_window_extent() for text in shown if text.get_text()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_times_of_peaks_are_labelled_in_all_units_of_noise():
    t = np.array([0.2, 0.4, 0.5, 0.6, 0.8])
    log_snr = results.variable("t", 2 * np.log((1 - t) / t), "1", "log snr")
    peaks = array(np.array([[0.45, 0.5, 0.52, 0.55], [0.41, 0.5, 0.52, 0.58]]), "side", "beta", units="1")
    drawn = {"cmi": array(np.ones(5), "t"), "peak_time": peaks}
    result = made(grid={**axes(t=t, beta=BETAS, side=SIDES), "log_snr": log_snr, **drawn})
    labels = ["0.4, 0.67, +0.8", "0.5, 1, +0.0", "0.6, 1.5, -0.8"]  # 0.4 and 0.6 bracket the peaks
    curve = plot_grids(result, quantity=["peak_time"], over=("beta",)).axes[0]
    bar = plot_grids(result, quantity=["peak_time"], over=("beta", "side")).axes[1]
    for ax in (curve, bar):
        assert [text.get_text() for text in ax.get_yticklabels()] == labels
        assert ax.get_ylabel() == "peak time: t, σ/α, log snr"
    curves = plots.new_figure()[1]
    for k, shift in enumerate((0.0, 0.3)):  # a second set, which lies elsewhere, is not cut off
        moved = result["grid"].to_dataset().isel(side=k) + shift
        plots.curves(curves, moved.assign(log_snr=log_snr).assign_coords(t=t), "peak_time", "beta", k=k)
    low, high = curves.get_ylim()
    assert low < 0.45
    assert high > 0.87


def test_what_is_empty_says_so():
    nothing = {"markov_length": array(np.full(3, np.nan), "t"), "cmi": array(np.zeros(3), "t")}
    figure = plot_grids(made(grid={**axes(t=T), **nothing}))
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any(text.endswith("none found") for text in texts)
    assert any(text.endswith("zero everywhere") for text in texts)


@pytest.mark.parametrize("shape", [(9,), (4, 5), (2, 4, 5), (3, 3, 3)])
def test_samples_are_shown_with_the_law_of_their_mean(shape):
    spins = np.where(np.random.default_rng(1).random((50, *shape)) < 0.7, 1, -1)
    tree = made(samples={"samples": array(spins, "sample", *(f"axis{k}" for k in range(len(shape))))})
    found = panels(tree)["samples"]
    assert len(found) == (2 if len(shape) == 1 else 8)
    figure = plot_grids(tree)
    assert sum(patch.get_height() for patch in figure.axes[len(found) - 1].patches) == 50
    assert figure.axes[-1].get_xlabel() == "mean of a sample (magnetisation)"


def test_walls_of_loops_are_lines():
    bonds = np.ones((3, 2, 3, 3), int)
    bonds[:, 0, 1, :2] = bonds[:, 1, :2, 1] = -1  # a loop around the face in the middle
    samples = {"samples": array(bonds, "sample", "direction", "row", "column")}
    attributes = results.provenance("samples", '{"model": "domain-walls"}', 0, complete=True)
    figure = plot_grids(results.tree(attributes, {"samples": samples}))
    segments = figure.axes[0].collections[0].get_segments()
    assert len(segments) == 4
    assert {tuple(point) for segment in segments for point in segment.tolist()} == {
        (0.5, 0.5), (0.5, 1.5), (1.5, 0.5), (1.5, 1.5)
    }  # fmt: skip


def test_a_talk_has_larger_fonts():
    sizes = []
    for name in ("paper", "talk"):
        with plots.style(name):
            figure, ax = plots.new_figure()
            sizes.append(ax.xaxis.label.get_size() / figure.get_figwidth())
    assert sizes[1] > 1.15 * sizes[0]
    with pytest.raises(InputError, match="style must be paper or talk, got 'poster'"), plots.style("poster"):
        pass
