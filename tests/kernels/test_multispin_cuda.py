"""The GPU's chain without a GPU: numba's simulator and the compiled CPU code of its kernels, against a plain twin."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from enumeration import all_states, ising_law
from numba import njit
from test_multispin import flips, local_fields

import lattice_diffusion as ld
from lattice_diffusion.errors import InputError
from lattice_diffusion.kernels import multispin_cuda as gpu
from lattice_diffusion.samplers import multispin
from lattice_diffusion.samplers.multispin import fractions, multispin_chain, sublattices, unpack_bits

UPDATES = ("metropolis", "heat_bath")
UPDATE = {2: njit(gpu.update_replicas.py_func), 3: njit(gpu.update_strips.py_func)}  # by the axes of packed spins
CASES = [
    ((64, 6), (True, True), 1),
    ((64, 4), (False, False), 1),
    ((6, 128), (True, False), 1),
    ((64, 2), (False, False), 1),
    ((3, 5), (True, True), 128),
    ((4, 3), (True, False), 64),
    ((3, 4), (False, False), 64),
    ((5,), (True,), 64),
]


class Twin:
    """Philox-4x32-10 and the numbers U of all words in plain NumPy; sweeps on ordinary arrays of spins."""

    def __init__(self, key):
        self.key, self.n = int(key), 0

    @staticmethod
    def philox(counter, key):
        c, k = [np.asarray(x, object) for x in counter], [key & 0xFFFFFFFF, key >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return c

    def uniform(self, words):
        """U of the 64 places of each word, to 52 digits, (len(words), 64)."""
        u = np.zeros((len(words), 64))
        for k in range(26):
            c = self.philox((words, k, self.n & 0xFFFFFFFF, self.n >> 32), self.key)
            for half in range(2):
                word = (c[2 * half] + (c[2 * half + 1] << 32)).astype(np.uint64)
                u += (unpack_bits(word) > 0) * 2.0 ** -(2 * k + half + 1)
        return u

    def sweep(self, spins, lattice, words, beta, update):
        """Sweep (n_replicas, *shape) in place; words: number of the word and place that hold each spin, sublattices."""
        p = multispin.flip_probabilities(beta, update)
        numbers, places, groups = words
        u = self.uniform(np.arange(numbers.max() + 1))[numbers, places]
        for group in groups:
            field, degree = local_fields(spins.reshape(len(spins), *lattice.shape[:1], -1), plane(lattice))
            parity = degree.ravel() % 2
            bits = [(u < p[parity, c]).reshape(field.shape) for c in range(3)]
            change = flips(field, degree, bits, update).reshape(len(spins), -1)
            spins.reshape(len(spins), -1)[:, group] *= np.where(change[:, group], -1, 1)
        self.n += 1


def plane(lattice):
    return (*lattice.periodic, False)[:2]


def places(chain):
    """Number of the word and the place in it of every spin, (n_replicas, N), and the sublattices in their order."""
    lattice, layout = chain.lattice, chain.layout
    if chain.n_replicas > 1:
        order, cuts = sublattices(lattice)
        replica, site = np.indices((chain.n_replicas, lattice.n_sites))
        groups = [order[a:b] for a, b in itertools.pairwise(cuts)]
        return site * (-(-chain.n_replicas // 64)) + replica // 64, replica % 64, groups
    rows, columns = np.indices(lattice.shape)[::-1] if layout.transposed else np.indices(lattice.shape)
    color = (rows + columns) % 2
    word = (color * layout.height + rows % layout.height) * layout.width + columns // 2
    return word.reshape(1, -1), (rows // layout.height).reshape(1, -1), [np.flatnonzero(color == c) for c in range(2)]


@pytest.fixture
def on_cpu(monkeypatch):
    """Run the kernels' functions, compiled for the CPU, three threads after each other in an odd order."""

    def launch(kernel, packed, start, n, key, law, glauber, *arrays):
        n_colors = 2 if packed.ndim == 3 else arrays[1].size - 1
        for k in range(n):
            for color in range(n_colors):
                for first in (1, 2, 0):
                    sweep = np.uint64(start) + np.uint64(k)
                    UPDATE[packed.ndim](packed, color, sweep, key, law, glauber, first, 3, *arrays)

    class Array(np.ndarray):
        copy_to_host = np.ndarray.copy

    monkeypatch.setattr(gpu, "launch", launch)
    monkeypatch.setattr(gpu, "to_device", lambda x: np.array(x).view(Array))
    monkeypatch.setattr(gpu, "available", lambda: True)
    monkeypatch.setattr(gpu, "free_bytes", lambda: np.inf)


def test_philox_gives_the_published_numbers():
    """Known answers of Random123 for philox4x32, 10 rounds."""
    known = {
        (0, 0, 0, 0, 0): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        (2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**64 - 1): "408f276d 41c83b0e a20bc7c6 6d5451fd",
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0x299F31D0A4093822): "d16cfe09 94fdcceb 5001e420 24126ea1",
    }
    for counter, answer in known.items():
        words = gpu.philox(*(np.uint64(c) for c in counter))
        assert [f"{int(w) >> s & 0xFFFFFFFF:08x}" for w in words for s in (0, 32)] == answer.split()
        assert [f"{int(c):08x}" for c in Twin.philox(counter[:4], counter[4])] == answer.split()


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(("shape", "periodic", "n_replicas"), CASES)
def test_kernels_agree_with_the_twin_bit_by_bit(on_cpu, shape, periodic, n_replicas, update):
    lattice = ld.Lattice(shape, periodic)
    chain = multispin_chain(lattice, 0.37, 0, 7, update, n_replicas=n_replicas, device="cuda")
    twin, spins = Twin(chain.work[0]), chain.spins().astype(int)
    for _ in range(3):
        twin.sweep(spins, lattice, places(chain), 0.37, update)
    assert np.array_equal(chain.sweep(1).sweep(2).spins(), spins)
    twin.sweep(spins, lattice, places(chain), 0.8, update)
    assert not np.array_equal(chain.sweep(1).spins(), spins)


SIMULATED = """
import sys, numpy as np
sys.path[:0] = ["tests", "tests/kernels"]
import lattice_diffusion as ld, test_multispin_cuda as here
from lattice_diffusion.samplers.multispin import multispin_chain
for shape, periodic, n_replicas in [here.CASES[k] for k in (0, 2, 4, 7)]:
    lattice = ld.Lattice(shape, periodic)
    for update in here.UPDATES:
        chain = multispin_chain(lattice, 0.37, 0, 7, update, n_replicas=n_replicas, device="cuda")
        twin, spins = here.Twin(chain.work[0]), chain.spins().astype(int)
        for _ in range(2):
            twin.sweep(spins, lattice, here.places(chain), 0.37, update)
        assert np.array_equal(chain.sweep(2).spins(), spins), (shape, update)
print(ld.samplers.ising(ld.Lattice((4, 4)), 0.4, 3, 1, device="cuda", burn_in=1, thin=1).shape)
"""


def test_numbas_simulator_runs_the_kernels_bit_by_bit():
    """A process of its own, since numba reads NUMBA_ENABLE_CUDASIM when it is imported."""
    root, env = Path(__file__).parents[2], {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, "-c", SIMULATED], env=env, cwd=root, capture_output=True, text=True)
    assert done.stdout == "(3, 4, 4)\n", done.stderr


def test_probabilities_have_64_digits():
    p = np.array([0.5, 63 / 64, np.exp(-8 * 0.44), 1e-9])
    assert fractions(p).astype(object) / 2**64 == pytest.approx(p, rel=1e-9, abs=0)
    assert fractions(np.array([0.5, 1 / 3])).tolist() == [2**63, int(1 / 3 * 2**64)]


@pytest.mark.parametrize("shape", [(3, 5), (4, 3), (6, 4), (7,), (4, 3, 5)])
@pytest.mark.parametrize("periodic", [True, False])
def test_sublattices_hold_every_site_once_and_no_neighbours(shape, periodic):
    lattice = ld.Lattice(shape, periodic)
    order, cuts = sublattices(lattice)
    assert sorted(order) == list(range(lattice.n_sites))
    color = np.empty(lattice.n_sites, int)
    color[order] = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
    assert np.all(color[lattice.bonds[:, 0]] != color[lattice.bonds[:, 1]])


def test_ising_samples_come_from_the_gpu(on_cpu):
    """The cross-correlation of ising's samples with the exact law of a 2 x 3 lattice; beta off by a half fails."""
    lattice = ld.Lattice((2, 3))
    spins = ld.samplers.ising(lattice, 0.43, 4096, 14, device="cuda", burn_in=60)
    mean = spins[:, 0, 0].astype(float) * spins[:, 1, 2]
    for beta, low, high in ((0.43, 0, 5), (0.645, 5, np.inf)):
        law = ising_law((2, 3), (False, False), beta).ravel()
        states = all_states(6)
        exact = law @ (states[:, 0] * states[:, 5])
        assert low <= abs(mean.mean() - exact) / (mean.std() / 64) < high


@pytest.fixture
def no_gpu(monkeypatch):
    """Neither numba nor torch finds a GPU, whatever this machine has."""

    def nothing(*arguments, **options):
        raise RuntimeError("no CUDA")

    monkeypatch.setattr(gpu, "available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "zeros", nothing)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "device must be one of cpu, auto, got 'cuda'; torch finds no GPU here"),
        ("tpu", "device must be cpu, cuda or auto, got 'tpu'"),
    ],
)
@pytest.mark.parametrize("sample", [multispin_chain, ld.samplers.ising])
def test_a_device_that_is_not_there(no_gpu, sample, device, sentence):
    with pytest.raises(InputError, match=sentence):
        sample(ld.Lattice((64, 64)), 0.4, 1, device=device)


def test_no_gpu_kernels_of_numba(monkeypatch):
    monkeypatch.setattr(gpu, "available", lambda: False)
    monkeypatch.setattr(multispin, "device_of", lambda device: "cuda")
    with pytest.raises(InputError, match=r"needs numba-cuda; pip install 'lattice-diffusion\[cuda\]'"):
        multispin_chain(ld.Lattice((64, 64)), 0.4, 1, device="cuda")


def test_what_the_gpu_does_not_take(on_cpu, monkeypatch):
    with pytest.raises(InputError, match="device cuda runs the method multispin, got 'wolff'"):
        ld.samplers.ising(ld.Lattice((4, 4)), 0.4, 1, method="wolff", device="cuda")
    monkeypatch.setattr(gpu, "free_bytes", lambda: 4000)
    with pytest.raises(InputError, match=r"lattice is too large: .*, the GPU has 3.73e-06 GiB available; take a"):
        multispin_chain(ld.Lattice((64, 256)), 0.4, 1, device="cuda")


def test_auto_is_the_cpu_where_there_is_no_gpu(no_gpu):
    lattice = ld.Lattice((64, 4))
    chains = [multispin_chain(lattice, 0.4, 3, 15, device=device).spins() for device in ("cpu", "auto")]
    assert np.array_equal(*chains)
