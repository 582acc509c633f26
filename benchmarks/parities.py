"""What messages find of the information in loops, of the exact one, from one half of the samples about the other.

    python benchmarks/parities.py --noise erasure --times 0.4 0.5 0.6 --n 20000
    python benchmarks/parities.py --noise gaussian --times 0.42 --radii 1 2 --faces 8 --n 5000 --figure parities.png

Uniform loops on 14 x 14 faces, A the middle bond: I(A;C|B) beyond radius r, and I(A;BC) as "all", in nats, by the laws
that `ConditionalLikelihood(body="messages")` learns, with the errors of samples, over what the exact laws give of the
same samples. The figure shows the share at the first time, learned from fewer samples, and in fewer steps: of Adam,
in boxes of radius 1, then of scoring, 8 with bonds hidden, 8 without, 8 in boxes of radius 2.
"""

import time

import numpy as np
import torch
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.estimators import messages
from lattice_diffusion.estimators.base import sample_of
from lattice_diffusion.estimators.heads import NoisySpin
from lattice_diffusion.estimators.networks import by_chunks
from lattice_diffusion.estimators.neural import split
from lattice_diffusion.plots import new_figure


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--noise", choices=["erasure", "gaussian"], default="erasure")
    command.add_argument("--times", type=float, nargs="+", default=[0.4, 0.5, 0.6])
    command.add_argument("--radii", type=int, nargs="+", default=[1, 2, 3])
    command.add_argument("--n", type=int, default=20_000)
    command.add_argument("--faces", type=int, default=14)
    command.add_argument("--tested", type=int, default=4000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--figure", help="draw the share found at the first time against samples and steps to this file"
    )
    given = command.parse_args()
    torch.set_num_threads(1)
    channel = ld.channels.Erasure() if given.noise == "erasure" else ld.channels.Gaussian("linear")
    model, rng = ld.models.DomainWalls((given.faces, given.faces)), np.random.default_rng(given.seed)
    numbers = {}
    for t in given.times:
        numbers |= measure(model, channel, t, given.radii, given.n, given.tested, rng)
    if given.figure:
        curves(given, model, channel, numbers, rng)
    report(numbers, given.json)


def curves(given, model, channel, numbers, rng):
    """Draw the share found of I(A;C|B) against samples and against steps."""
    n, steps, scored, per, found = given.n, messages.STEPS, messages.SCORED, messages.ITERATIONS, []
    ways = [(n // k, steps, scored) for k in (16, 4)] + [(n, k, ()) for k in (25, steps)]
    ways += [(n, steps, scored[:k]) for k in range(1, len(scored) + 1)]
    for used, messages.STEPS, messages.SCORED in ways[:-1]:
        found.append(measure(model, channel, given.times[0], given.radii, used, given.tested, rng))
    found.append(numbers)
    figure, axes = new_figure(2)
    for r, mark in zip(given.radii, "os^", strict=False):
        about = f"t = {given.times[0]:g}, r = {r}: "
        share, error = (
            np.array([one[about + what] for one in found]) for what in ("share found", "error of the share")
        )
        for ax, part in zip(axes, ([0, 1, -1], [*range(2, len(ways))]), strict=True):
            x = [ways[k][0] if ax is axes[0] else ways[k][1] + per * len(ways[k][2]) for k in part]
            ax.errorbar(x, share[part], error[part], marker=mark, capsize=2, label=f"r = {r}")
    axes[0].set(xscale="log", xlabel="samples, of which one half teaches", ylabel="I(A;C|B) found / exact")
    axes[0].minorticks_off()
    axes[0].set_xticks(used := [ways[k][0] for k in (0, 1, -1)], [f"{k:,}" for k in used])
    axes[1].set(xlabel=f"steps: {steps} of Adam, then of scoring")
    for ax in axes:
        ax.axhline(1, color="k")
        ax.set(ylim=(-0.3, 1.2))
    axes[0].legend()
    figure.savefig(given.figure, dpi=100)


def measure(model, channel, t, radii, n, n_tested, rng):
    """Return what is found at a time, its share of the exact value of the same samples, and what it took."""
    parts = {"all": model.tripartition(0), **{f"r = {r}": model.tripartition(r) for r in radii}}
    half, n = n // 2, n // 2 + n_tested
    x = channel.corrupt(model.sample(n, rng), t, rng)
    a, start = int(np.flatnonzero(parts["all"].A)[0]), time.process_time()
    sample = sample_of(x[:half], None, None, parts["all"], channel, t, None)
    head, where = NoisySpin(channel, t), messages.bonds_of(sample)
    sites = np.concatenate([where.b, where.c])
    fields = channel.likelihood_field(x.reshape(n, -1), t)

    def tensors(rows):
        seen, zero = np.tanh(fields[rows][:, sites]), np.zeros((len(fields[rows]), 1))
        return torch.as_tensor(seen), torch.as_tensor(head.target(x.reshape(n, -1)[rows, a])), torch.as_tensor(zero)

    n_b, rows = len(where.b), split(half, rng)
    *_, large = messages.taught(head, *tensors(slice(half)), rows, sites, where.shape, a, n_b, rng)
    trained = time.process_time() - start
    seen, y, zero = tensors(slice(half, n))
    h = np.where(model.sites, fields.reshape(n, *model.sites.shape)[half:], 0.0)

    def both(mask):
        """Return -log q and -log p of every sample given the bonds of a mask."""
        used = np.flatnonzero(mask.reshape(-1)[sites])
        law = messages.MessageLaw(head, large.net, sites[used], where.shape, a)
        exact = torch.as_tensor(np.clip(model.solver.log_odds(np.where(mask, h, 0.0), a), -30, 30)[:, None])
        return head.nats(by_chunks(law, seen[:, used], zero), y).numpy(), head.nats(exact, y).numpy()

    others = both(parts["all"].ABC & ~parts["all"].A)
    names = ("cosine of a full turn", "gain straight on", "gain of turns", "factor")
    numbers = {f"t = {t:g}, {name}": x for name, x in zip(names, large.net.weights.tolist(), strict=True)}
    numbers[f"t = {t:g}, CPU seconds of training on {half} samples"] = trained
    for name, part in parts.items():
        known = both(part.B) if part.B.any() else 2 * [head.nats(zero, y).numpy()]
        found, truth = (box - whole for box, whole in zip(known, others, strict=True))
        error, gap = found.std() / n_tested**0.5, (found - truth).std() / n_tested**0.5 / truth.mean()
        values = (found.mean(), error, truth.mean(), found.mean() / truth.mean(), gap)
        about = ("found", "its error", "exact", "share found", "error of the share")
        numbers |= {f"t = {t:g}, {name}: {what}": float(x) for what, x in zip(about, values, strict=True)}
    return numbers


if __name__ == "__main__":
    main()
