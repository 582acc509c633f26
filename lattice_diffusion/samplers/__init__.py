"""Samplers of spins and Gaussian fields, and what their samples say.

Every sampler is called as f(lattice, parameters, n_samples, rng, *, field, options). `rng` is a Generator, a seed or
None; spins are int8 and fields float arrays of shape (n_samples, *lattice.shape).

Spins
    ising                   Ising samples by the best method for the lattice, from one or several chains
    ising_with_diagnostics  the same, with autocorrelation times, acceptance and advice
    stream                  the same in batches without end
    torch_dataset           the samples of any model as an endless torch data set
    multispin_chain         the fastest local updates: one large lattice or many replicas, one bit per spin
    swendsen_wang           cluster updates for any couplings and fields
    wolff                   single-cluster updates for any couplings
    heat_bath               local updates for any couplings, fields and clamped spins: spins given noisy data
    replica_exchange        heat baths over a ladder of temperatures
    coupling_from_the_past  perfect samples of ferromagnets of any size, where it ends within its budget
Tokens
    potts                   cluster updates of Potts models
Fields
    gaussian_field          the massive free field; any boundary, float32 or float64
    spectral_field          stationary fields of any power spectrum
    wave_vectors            the wave vectors of a periodic lattice
    conditional_field       the massive free field given values, exact or noisy, on a mask
    conditional_mean        its mean
Observables, with jackknife errors
    energy, magnetization, binder_cumulant, susceptibility, specific_heat, correlation, correlation_length
    energies, magnetizations    of each sample
    jackknife               any other function of mean values
Time series
    integrated_autocorrelation_time, effective_samples, autocorrelation, mser (burn-in)
"""

from typing import TYPE_CHECKING

from ..lazy import attach
from .autocorrelation import autocorrelation, effective_samples, integrated_autocorrelation_time, jackknife, mser
from .clusters import potts, swendsen_wang, wolff
from .conditional_fields import NotConvergedError, conditional_field, conditional_mean
from .diagnostics import CorrelatedError, Diagnostics
from .fields import gaussian_field, spectral_field, wave_vectors
from .heat_bath import Ladder, NotCoalescedError, coupling_from_the_past, heat_bath, replica_exchange
from .ising import ising, ising_with_diagnostics, stream
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

if TYPE_CHECKING:
    from .training_data import torch_dataset

# fmt: off
__all__ = [  # noqa: RUF022  grouped as above
    "ising", "ising_with_diagnostics", "stream", "torch_dataset", "multispin_chain", "swendsen_wang", "wolff",
    "heat_bath", "replica_exchange", "coupling_from_the_past", "potts",
    "gaussian_field", "spectral_field", "wave_vectors", "conditional_field", "conditional_mean",
    "energy", "magnetization", "binder_cumulant", "susceptibility", "specific_heat", "correlation",
    "correlation_length", "energies", "magnetizations", "jackknife",
    "integrated_autocorrelation_time", "effective_samples", "autocorrelation", "mser",
    "Diagnostics", "Ladder", "MultispinChain", "CorrelatedError", "NotCoalescedError", "NotConvergedError",
]
# fmt: on

__getattr__, __dir__ = attach(__name__, {"torch_dataset": "training_data"}, __all__)  # needs torch
