"""Fresh samples for training as a torch data set: every batch is new, and the seed decides all of them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import InputError
from ..lattice import Rng
from .chains import check_n_samples

Draw = Callable[[int, np.random.Generator], NDArray[Any]]


class Samples(Protocol):
    """A model of `ld.models`, or anything with its `sample`."""

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[Any]: ...


class SampleDataset(IterableDataset[torch.Tensor]):
    """Endless data set of batches float32 (batch_size, channel, *shape); made by `torch_dataset`."""

    def __init__(self, draw: Draw, batch_size: int, seed: np.random.SeedSequence, add_channel: bool) -> None:
        self.draw, self.batch_size, self.seed, self.add_channel = draw, batch_size, seed, add_channel

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for k in itertools.count(first, step):
            seed = np.random.SeedSequence(self.seed.entropy, spawn_key=(*self.seed.spawn_key, k))
            batch = torch.from_numpy(self.draw(self.batch_size, np.random.default_rng(seed))).to(torch.float32)
            yield batch[:, None] if self.add_channel else batch


def torch_dataset(
    source: Samples | Draw, batch_size: int, rng: Rng = None, *, add_channel: bool = True
) -> IterableDataset[torch.Tensor]:
    """Return an endless data set of fresh batches, for DataLoader(dataset, batch_size=None, num_workers=2).

    Batch k has its own generator, the k-th spawned from the seed, and worker w of W draws the batches w, w + W, ...:
    the loader returns the same batches in the same order for any number of workers, and again when started anew.

    Args:
        source: a model (its `sample` is called), or draw(n, rng) -> array (n, *shape), such as
            functools.partial of a sampler. A Markov chain burns in anew for every batch: make batches large.
        batch_size: configurations per batch, float32 (batch_size, 1, *shape).
        rng: the seed; a generator is spawned from once.
        add_channel: False for data that have channels already, such as domain walls (batch_size, 2, L, W).

    Raises InputError for a batch_size below 1, or a source that is neither.
    """
    draw = getattr(source, "sample", source)
    if not callable(draw):
        raise InputError(f"source must be a model with .sample or a function draw(n, rng), got {type(source).__name__}")
    if isinstance(rng, np.random.Generator):
        rng = rng.spawn(1)[0]
    seed: Any = np.random.default_rng(rng).bit_generator.seed_seq
    return SampleDataset(draw, check_n_samples(batch_size, name="batch_size"), seed, add_channel)
