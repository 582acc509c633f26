"""What messages find of the information in loops, of the exact one, from one half of the samples about the other.

    python benchmarks/parities.py --noise erasure --times 0.4 0.5 0.6 --n 20000

Uniform loops on 14 x 14 faces, A the middle bond: I(A;C|B) beyond radius r, and I(A;BC) as "all", in nats, by the laws
that `ConditionalLikelihood(body="messages")` learns, with the errors of samples, over what the exact laws give of the
same samples.
"""

import argparse
import time

import numpy as np
import torch

import lattice_diffusion as ld
from lattice_diffusion.estimators.base import sample_of
from lattice_diffusion.estimators.laws import NoisySpin
from lattice_diffusion.estimators.messages import MessageLaw, taught
from lattice_diffusion.estimators.networks import by_chunks, places_of
from lattice_diffusion.estimators.neural import split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", choices=["erasure", "gaussian"], default="erasure")
    parser.add_argument("--times", type=float, nargs="+", default=[0.4, 0.5, 0.6])
    parser.add_argument("--radii", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--faces", type=int, default=14)
    parser.add_argument("--tested", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    channel = ld.channels.Erasure() if given.noise == "erasure" else ld.channels.Gaussian("linear")
    model, rng = ld.models.DomainWalls((given.faces, given.faces)), np.random.default_rng(given.seed)
    for t in given.times:
        measure(model, channel, t, given.radii, given.n, given.tested, rng)


def measure(model, channel, t, radii, n, n_tested, rng):
    parts = {"all": model.tripartition(0), **{f"r = {r}": model.tripartition(r) for r in radii}}
    x = channel.corrupt(model.sample(n, rng), t, rng)
    a, start = int(np.flatnonzero(parts["all"].A)[0]), time.process_time()
    sample = sample_of(x[: n // 2], None, None, parts["all"], channel, t, None)
    head, where = NoisySpin(channel, t), places_of(sample, "messages")
    sites = np.concatenate([where.b, where.c])
    fields = channel.likelihood_field(x.reshape(n, -1), t)

    def tensors(rows):
        seen, zero = np.tanh(fields[rows][:, sites]), np.zeros((len(fields[rows]), 1))
        return torch.as_tensor(seen), torch.as_tensor(head.target(x.reshape(n, -1)[rows, a])), torch.as_tensor(zero)

    n_b, rows = len(where.b), split(n // 2, rng)
    *_, large = taught(head, *tensors(slice(n // 2)), rows, sites, where.shape, a, n_b, rng)
    trained = time.process_time() - start
    seen, y, zero = tensors(slice(n // 2, n // 2 + n_tested))
    h = np.where(model.sites, fields.reshape(n, *model.sites.shape)[n // 2 : n // 2 + n_tested], 0.0)

    def both(mask):
        """Return -log q and -log p of every sample given the bonds of a mask."""
        used = np.flatnonzero(mask.reshape(-1)[sites])
        law = MessageLaw(head, large.net, sites[used], where.shape, a)
        exact = torch.as_tensor(np.clip(model.solver.log_odds(np.where(mask, h, 0.0), a), -30, 30)[:, None])
        return head.nats(by_chunks(law, seen[:, used], zero), y).numpy(), head.nats(exact, y).numpy()

    others = both(parts["all"].ABC & ~parts["all"].A)
    print(f"t = {t:g}: {n // 2} samples, {trained:.0f} CPU s, weights {np.round(large.net.weights.tolist(), 3)}")
    for name, part in parts.items():
        known = both(part.B) if part.B.any() else 2 * [head.nats(zero, y).numpy()]
        found, truth = (box - whole for box, whole in zip(known, others, strict=True))
        error, gap = found.std() / n_tested**0.5, (found - truth).std() / n_tested**0.5 / truth.mean()
        share = found.mean() / truth.mean()
        print(f"  {name:6s} {found.mean():.4f}({error:.4f}) of {truth.mean():.4f}, {share:.3f}({gap:.3f})", flush=True)


if __name__ == "__main__":
    main()
