"""Distributions p_0 with known answers: each knows its parameters, sampler, solver and predicted transition.

A model is a frozen dataclass whose fields are its geometry and its own numbers, in one file: here, with a line in
`MODELS`, or in a file of the user's own, which specs and the command line take as `file.py:Class`. It has

    name                    how specs and the command line call it, for instance "ising"
    data                    "real", "spins" (two values, -1 and +1) or "tokens" (integers 0..q-1, with an attribute q)
    lattice                 shape of the data, lattice.shape
    sites                   boolean mask of that shape, True where an entry is a site
    image_shape, axes       (channels, *shape) as networks see it; names of the data's axes
    sample(n_samples, rng)  independent samples, or well thinned ones, (n_samples, *lattice.shape)
    solver                  exact answers, made when first asked for; see `lattice_diffusion.exact`
    transition(channel)     a `Transition`, or None where none is known
    prefactor_exponent(channel, t)  lowest and highest p of I(r) ~ r^-p exp(-r/xi), for `phases.markov_length`
    box(site, radius)       mask of the sites that a denoiser of this radius sees around a site
    tripartition(radius, **placement)  A, B and C, where `placement` says where A is

and, for specs and the command line, which know a model by plain numbers only,

    from_parameters(**)     the model from its geometry, for instance shape=(5, 4), periodic=[False, False], and its
                            own numbers, for instance beta=0.4; `geometry` lists the keys of the geometry
    numbers()               its own numbers by name, with their defaults (dataclasses.MISSING: none)
    dimension               the number of axes of `shape`, where it is fixed; else None
    placement_keys          the keywords of `tripartition` besides the radius
    placement(**given)      the same with their defaults filled in, as plain numbers
    sampling                what else `sample` takes, with defaults, for instance {"method": "auto"}
    sampling_options(**given)  the same checked and resolved

`OnLattice` has defaults of all but `name`, `lattice`, `solver` and `sample`: inherit it, or define them all.
"""

from typing import Any

from .. import registry
from .base import OnLattice, Transition
from .curie_weiss import CurieWeiss
from .domain_walls import DomainWalls, homology
from .gaussian_field import GaussianField
from .gaussian_mixture import GaussianMixture
from .hierarchy import RandomHierarchy
from .ising import Ising, IsingChain
from .potts import Potts, PottsChain

__all__ = ["CurieWeiss", "DomainWalls", "GaussianField", "GaussianMixture", "Ising", "IsingChain"]
__all__ += ["Potts", "PottsChain", "RandomHierarchy"]
__all__ += ["MODELS", "OnLattice", "Transition", "find", "homology"]

MODELS: list[Any] = [CurieWeiss, DomainWalls, GaussianField, GaussianMixture, Ising, IsingChain]
MODELS += [Potts, PottsChain, RandomHierarchy]


def find(name: str) -> Any:
    """Return the class of a model by its name, as `file.py:Class`, or by an entry point; InputError if unknown."""
    return registry.find(name, MODELS, "model", "lattice_diffusion.models")
