"""One figure for each model's page, drawn by the package itself in a few seconds each."""

import math

import matplotlib
import numpy as np
import xarray as xr

import lattice_diffusion as ld
from lattice_diffusion import exact, phases, plots
from lattice_diffusion.models.curie_weiss import mean_field_magnetization
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.noise_units import level
from lattice_diffusion.studies.ising import predicted_peak
from lattice_diffusion.studies.reproduce import save_figure

LINEAR = ld.channels.Gaussian("linear")


def draw(folder):
    """Every figure that is not there yet, as NAME.png in `folder`."""
    matplotlib.use("Agg")
    for figure in (
        gaussian_field,
        gaussian_mixture,
        ising_chain,
        ising,
        curie_weiss,
        domain_walls,
        potts,
        random_hierarchy,
    ):
        path = folder / f"{figure.__name__.replace('_', '-')}.png"
        if not path.exists():
            with plots.style():
                save_figure(figure(), path)


def noise_axis(ax, *times):
    """Label times of the linear schedule with t, sigma/alpha and log snr."""
    t = np.array(times)
    plots.noise_rows(ax, t, t, 2 * np.log((1 - t) / t))


def gaussian_field():
    """CMI of the middle of a chain against r, and its decay length against 1/(2 kappa)."""
    lattice = ld.Lattice((101,))
    figure, (left, right) = plots.new_figure(2)
    radii = list(range(1, 13))
    parts = [lattice.tripartition(lattice.center, r) for r in radii]
    for k, t in enumerate((0.5, 0.7, 0.85, 0.95)):
        model = ld.models.GaussianField(lattice, 0.1)
        values = exact.cmi_curve(model, LINEAR, t, parts).values
        xi = model.markov_length(LINEAR, t)
        plots.curve(left, k, radii, values, None, level(t, np.log(LINEAR.snr(t))))
        left.plot(radii, values[-1] * np.exp(-(np.array(radii) - radii[-1]) / xi), "k", lw=1)
    left.set(yscale="log", xlabel="radius r", ylabel=plots.CMI, title=r"Chain, $m^2 = 0.1$; black: $e^{-r/\xi}$")
    plots.legend(left, 2)
    times = np.linspace(0.3, 0.95, 14)
    for k, mass_squared in enumerate((0.01, 0.1, 1.0)):
        model = ld.models.GaussianField(lattice, mass_squared)
        fits = [phases.markov_length(radii, exact.cmi_curve(model, LINEAR, t, parts).values).xi for t in times]
        found = [(t, fit.value, fit.stderr) for t, fit in zip(times, fits, strict=True) if fit is not None]
        plots.curve(right, k, *np.array(found).T, f"$m^2 = {mass_squared:g}$")
        right.plot(times, [model.markov_length(LINEAR, t) for t in times], "k", lw=1)
    right.set(ylabel=r"Markov length $\xi$ (sites)", title=r"Markers: fits; black: $1/2\kappa$", yscale="log")
    plots.plain_log(right.yaxis)
    noise_axis(right, 0.3, 0.5, 0.7, 0.95)
    plots.legend(right)
    return figure


def gaussian_mixture():
    """CMI and label informations of one image, and the CMI of growing ones, which peaks at speciation."""
    figure, (left, right) = plots.new_figure(2)
    times = np.linspace(0.6, 0.99, 79)
    for k, length in enumerate((20, 40, 80)):
        lattice = ld.Lattice((length, length))
        model = ld.models.GaussianMixture(lattice)
        parts = lattice.tripartition(lattice.center, length // 5, length // 5)
        cmi = [exact.cmi(model, LINEAR, t, parts).value for t in times]
        right.plot(times, cmi, color=plots.COLORS[k], label=f"L = {length}")
        right.axvline(model.transition(LINEAR).time, color=plots.COLORS[k], ls=":")
        if length == 20:
            known = [
                [model.label_information(LINEAR, t, x) for t in times] for x in (parts.AB, parts.B, parts.ABC, parts.BC)
            ]
            ab, b, abc, bc = np.array(known)
            left.plot(times, cmi, "k", label="$I(A;C|B)$")
            left.plot(times, ab - b, color=plots.COLORS[0], label="$I(S;A|B)$")
            left.plot(times, abc - bc, color=plots.COLORS[1], label="$I(S;A|BC)$")
    left.set(ylabel="information (nats)", title="L = 20, |A| = 16: the CMI is the difference")
    right.set(ylabel=plots.CMI, title="Growing images; dotted: speciation")
    for ax in (left, right):
        noise_axis(ax, 0.6, 0.7, 0.8, 0.9, 0.98)
        plots.legend(ax)
    return figure


def ising_chain():
    """Markov length under erasure: local slopes of the closed form on 1/log(coth^2 beta / eps)."""
    figure, (left, right) = plots.new_figure(2)
    lattice, channel = ld.Lattice((81,)), ld.channels.Erasure()
    radii = list(range(1, 25))
    parts = [lattice.tripartition(lattice.center, r) for r in radii]
    for k, beta in enumerate((0.5, 1.0, 1.5)):
        model = ld.models.IsingChain(lattice, beta)
        plots.curve(left, k, radii, exact.cmi_curve(model, channel, 0.7, parts).values, None, f"β = {beta}")
        times = np.linspace(0.1, 0.95, 18)
        curves = [exact.cmi_curve(model, channel, t, parts).values for t in times]
        xi = [1 / np.log(values[-2] / values[-1]) for values in curves]
        plots.curve(right, k, times, xi, None, f"β = {beta}")
        right.plot(times, 1 / np.log(1 / (np.tanh(beta) ** 2 * times)), "k", lw=1)
    left.set(yscale="log", xlabel="radius r", ylabel=plots.CMI, title="Masked fraction t = 0.7")
    right.set(yscale="log", xlabel="masked fraction t", ylabel=r"Markov length $\xi$ (sites)")
    plots.plain_log(right.yaxis)
    right.set_title(r"Markers: last two radii; black: $1/\log(\coth^2\!\beta\,/\,t)$", fontsize=10)
    for ax in (left, right):
        plots.legend(ax)
    return figure


def ising():
    """A small phase diagram, CMI over (beta, t) at r = 2, with the peak of the mixture that the label makes."""
    lattice, rng = ld.Lattice((9, 9)), np.random.default_rng(1)
    parts = [lattice.tripartition(lattice.center, r) for r in (1, 2, 3)]
    betas, times = np.linspace(0.2, 0.7, 11), np.linspace(0.3, 0.97, 12)
    maps = [exact.cmi_map(ld.models.Ising(lattice, b), LINEAR, times, (1, 2, 3), n_samples=400, rng=rng) for b in betas]
    figure, (left, right) = plots.new_figure(2)
    plots.cells(left, xr.concat(maps, xr.Variable("beta", betas)).sel(radius=2), "cmi", y="beta", vmin=1e-6)
    ordered = BETA_CRITICAL + np.geomspace(1e-3, betas[-1] - BETA_CRITICAL, 16)
    left.plot([predicted_peak(9, beta) for beta in ordered], ordered, "k", label="peak of the label's mixture")
    left.axhline(BETA_CRITICAL, color="k", ls="--", lw=1)
    noise_axis(left, 0.3, 0.5, 0.7, 0.95)
    left.set(
        ylabel="β",
        ylim=(betas[0] - 0.02, betas[-1] + 0.02),
        title="L = 9, r = 2; hatched: rare samples",
    )
    plots.legend(left)
    for k, i in enumerate((0, 5, 10)):
        curve = exact.cmi_curve(ld.models.Ising(lattice, betas[i]), LINEAR, 0.7, parts, 2000, rng)
        plots.curve(right, k, (1, 2, 3), curve.values, curve.stderr, f"β = {betas[i]:.2f}")
    right.set(yscale="log", xlabel="radius r", ylabel=plots.CMI, xticks=(1, 2, 3))
    right.set_title(level(0.7, np.log(LINEAR.snr(0.7))))
    plots.legend(right)
    return figure


def curie_weiss():
    """CMI under bit flips, in closed form, below and above beta = 1; the peak moves to t = 1 as 1/sqrt(N)."""
    figure, (left, right) = plots.new_figure(2)
    channel, times = ld.channels.BitFlip(), np.linspace(0.3, 0.99, 47)
    for k, beta in enumerate((0.8, 1.0, 1.3, 1.8)):
        model = ld.models.CurieWeiss(ld.Lattice((128,)), beta)
        left.plot(times, _counts(model, channel, times), color=plots.COLORS[k], label=f"β = {beta}")
    left.set(
        xlabel="time t = 2p", ylabel=plots.CMI, title="N = 128, |A| = 1, |B| = N/4", yscale="log", ylim=(1e-6, None)
    )
    for k, size in enumerate((32, 64, 128)):
        model = ld.models.CurieWeiss(ld.Lattice((size,)), 1.8)
        values = _counts(model, channel, times)
        scaled = np.sqrt([size * mean_field_magnetization(1.8) ** 2 * channel.snr(t) for t in times])
        right.plot(scaled, values / values.max(), color=plots.COLORS[k], label=f"N = {size}")
    right.axvline(1.0, color="k", lw=1)
    right.set(
        xlabel=r"$(g N m_0^2)^{1/2}$", ylabel="CMI over its peak", xlim=(0, 6), title="β = 1.8; black: speciation"
    )
    for ax in (left, right):
        plots.legend(ax)
    return figure


def _counts(model, channel, times):
    n = model.lattice.n_sites
    parts = ld.Tripartition.from_sizes(1, n // 4, n - 1 - n // 4)
    return np.array([exact.cmi(model, channel, t, parts).value for t in times])


def domain_walls():
    """Masked loops: the CMI at growing radii, and label entropies of growing grids, which cross at t* = 1/2."""
    figure, (left, right) = plots.new_figure(2)
    channel, rng = ld.channels.Erasure(), np.random.default_rng(1)
    model, radii = ld.models.DomainWalls((64, 64)), (1, 2, 4, 8, 16)
    parts = [model.tripartition(bond=((31, 31), (31, 32)), radius=r) for r in radii]
    times = np.linspace(0.1, 0.9, 33)
    curves = [exact.cmi_curve(model, channel, t, parts, 40000, rng) for t in times]
    for k, r in enumerate(radii):
        plots.curve(left, k, times, [c.values[k] for c in curves], [c.stderr[k] for c in curves], f"r = {r}")
    left.set(
        yscale="log",
        ylim=(1e-4, 0.7),
        xlabel="masked fraction t",
        ylabel=plots.CMI,
        title="64 x 64 faces; black: t* = 1/2",
    )
    times = np.linspace(0.4, 0.6, 11)
    for k, length in enumerate((16, 32, 64)):
        solver = ld.models.DomainWalls((length, length + 1)).solver
        found = [solver.label_entropy(channel, t, 4000, rng) for t in times]
        values, errors = (np.array([getattr(e, key) for e in found]) / math.log(2) for key in ("value", "stderr"))
        plots.curve(right, k, times, values, errors, f"L = {length}")
    right.axhline(0.5, color="0.7", lw=1)
    right.set(xlabel="masked fraction t", ylabel="label entropy (bits)", title="All sizes cross at t* = 1/2")
    for ax in (left, right):
        ax.axvline(0.5, color="k", lw=1)
        plots.legend(ax)
    return figure


def potts():
    """CMI under uniform noise: a chain against r, and a small square lattice of three symbols over time."""
    figure, (left, right) = plots.new_figure(2)
    channel, radii = ld.channels.Uniform(), list(range(1, 9))
    model = ld.models.PottsChain(ld.Lattice((41,)), 2.0, 4)
    curves = exact.cmi_map(model, channel, (0.1, 0.3, 0.5), radii, 2000, 1)
    for k, t in enumerate(curves.t.values):
        plots.curve(left, k, radii, curves.cmi.values[k], curves.cmi_stderr.values[k], f"t = {t}")
    left.set(yscale="log", xlabel="radius r", ylabel=plots.CMI, title="Chain of q = 4, J = 2")
    times = np.linspace(0.1, 0.95, 12)
    for k, coupling in enumerate((0.8, 1.0, 1.2)):
        model = ld.models.Potts(ld.Lattice((5, 5)), coupling, 3)
        curve = exact.cmi_map(model, channel, times, (1,), 300, 2)
        plots.curve(right, k, times, curve.cmi.values[:, 0], curve.cmi_stderr.values[:, 0], f"J = {coupling}")
    right.set(xlabel="time t", ylabel=plots.CMI, title=r"5 x 5 sites, q = 3, r = 1; $J_c = 1.005$")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def random_hierarchy():
    """What noisy leaves leave open of the root of deeper and deeper trees, and the CMI of a leaf with subtrees as B."""
    figure, (left, right) = plots.new_figure(2)
    channel, times = ld.channels.Uniform(), np.linspace(0.1, 0.9, 17)
    for k, depth in enumerate((3, 5, 7)):
        model = ld.models.RandomHierarchy(depth, 2, 8, 2)
        found = [model.solver.root_entropy(channel, t, 400, 1) for t in times]
        open_ = np.array([(f.value, f.stderr) for f in found]) / np.log(8)
        plots.curve(left, k, times, *open_.T, f"depth {depth}")
    left.axvline(model.transition(channel).time, color="k", lw=1)
    left.set(xlabel="time t", ylabel=r"$H(\mathrm{root}\,|\,x_t) / \log v$", title="v = 8, m = 2, s = 2; black: t*")
    model = ld.models.RandomHierarchy(5, 2, 8, 2)
    parts = [model.tripartition(h, subtree=True) for h in (1, 2, 3, 4)]
    curves = [exact.cmi_curve(model, channel, t, parts, 1000, 2) for t in times]
    for k, height in enumerate((1, 2, 3, 4)):
        found = np.array([(curve.values[k], curve.stderr[k]) for curve in curves])
        plots.curve(right, k, times, *found.T, f"height {height}")
    right.set(xlabel="time t", ylabel=plots.CMI, title="Depth 5: a leaf, beyond its subtree")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
