"""How clean data are drawn, and how independent the draws are.

ising                   Ising configurations by the best method for the lattice
multispin_chain         the fastest local updates: one large lattice or many replicas, one bit per spin
swendsen_wang, wolff    cluster updates; any couplings and fields (Swendsen-Wang), ferromagnets (both)
posterior               heat bath with any couplings, fields and clamped spins: spins given noisy data
replica_exchange        the same over a ladder of temperatures
coupling_from_the_past  perfect samples of ferromagnets of any size, where it ends within its budget
gaussian_field          spectral samples of the massive free field
integrated_autocorrelation_time, effective_samples, autocorrelation
"""

from .autocorrelation import autocorrelation, effective_samples, integrated_autocorrelation_time
from .clusters import swendsen_wang, wolff
from .fields import gaussian_field
from .ising import ising
from .multispin import MultispinChain, multispin_chain
from .perfect import NotCoalescedError, coupling_from_the_past
from .posterior import Ladder, posterior, replica_exchange

__all__ = [
    "Ladder",
    "MultispinChain",
    "NotCoalescedError",
    "autocorrelation",
    "coupling_from_the_past",
    "effective_samples",
    "gaussian_field",
    "integrated_autocorrelation_time",
    "ising",
    "multispin_chain",
    "posterior",
    "replica_exchange",
    "swendsen_wang",
    "wolff",
]
