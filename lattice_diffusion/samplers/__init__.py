"""How clean data are drawn, and how independent the draws are.

ising                   Ising configurations by the best method for the lattice; parallel chains, diagnostics
stream, torch_dataset   the same (and any model's samples) without end, in batches
multispin_chain         the fastest local updates: one large lattice or many replicas, one bit per spin
swendsen_wang, wolff    cluster updates; any couplings and fields (Swendsen-Wang), ferromagnets (both)
posterior               heat bath with any couplings, fields and clamped spins: spins given noisy data
replica_exchange        the same over a ladder of temperatures
coupling_from_the_past  perfect samples of ferromagnets of any size, where it ends within its budget
gaussian_field          the massive free field; any boundary, float32 or float64
spectral_field          stationary fields of any power spectrum, a function of wave_vectors
conditional_field       the massive free field given values, exact or noisy, on a mask; conditional_mean
energy, magnetization, binder_cumulant, susceptibility, specific_heat, correlation, correlation_length
                        what samples say about the Ising model, with errors; jackknife for any other function
integrated_autocorrelation_time, effective_samples, autocorrelation, mser
"""

from typing import TYPE_CHECKING

from ..lazy import attach
from .autocorrelation import autocorrelation, effective_samples, integrated_autocorrelation_time, mser
from .clusters import swendsen_wang, wolff
from .conditional_fields import NotConvergedError, conditional_field, conditional_mean
from .diagnostics import CorrelatedError, Diagnostics
from .fields import gaussian_field, spectral_field
from .ising import ising
from .jackknife import jackknife
from .laplacian import wave_vectors
from .multispin import MultispinChain, multispin_chain
from .observables import (
    binder_cumulant,
    correlation,
    correlation_length,
    energies,
    energy,
    magnetization,
    magnetizations,
    specific_heat,
    susceptibility,
)
from .perfect import NotCoalescedError, coupling_from_the_past
from .posterior import Ladder, posterior, replica_exchange
from .stream import stream

if TYPE_CHECKING:
    from .training_data import torch_dataset

__all__ = [
    "CorrelatedError",
    "Diagnostics",
    "Ladder",
    "MultispinChain",
    "NotCoalescedError",
    "NotConvergedError",
    "autocorrelation",
    "binder_cumulant",
    "conditional_field",
    "conditional_mean",
    "correlation",
    "correlation_length",
    "coupling_from_the_past",
    "effective_samples",
    "energies",
    "energy",
    "gaussian_field",
    "integrated_autocorrelation_time",
    "ising",
    "jackknife",
    "magnetization",
    "magnetizations",
    "mser",
    "multispin_chain",
    "posterior",
    "replica_exchange",
    "specific_heat",
    "spectral_field",
    "stream",
    "susceptibility",
    "swendsen_wang",
    "torch_dataset",
    "wave_vectors",
    "wolff",
]

__getattr__, __dir__ = attach(__name__, {"torch_dataset": "training_data"}, __all__)  # needs torch
