"""The toy phase diagrams that `reproduce` makes, by name, in the order of the table."""

from typing import TYPE_CHECKING, Any

from .. import registry

if TYPE_CHECKING:
    from .base import Study

STUDIES: dict[str, Any] = {  # a study, or "module:NAME" that is imported when it is asked for
    "gaussian-field": "lattice_diffusion.studies.gaussian_field:STUDY",
    "gaussian-mixture": "lattice_diffusion.studies.gaussian_mixture:STUDY",
    "ising-chain": "lattice_diffusion.studies.ising_chain:STUDY",
    "ising": "lattice_diffusion.studies.ising:STUDY",
    "curie-weiss": "lattice_diffusion.studies.curie_weiss:STUDY",
    "loops-erasure": "lattice_diffusion.studies.loops:ERASED",
    "loops-bitflip": "lattice_diffusion.studies.loops:FLIPPED",
    "loops-gaussian": "lattice_diffusion.studies.loops:NOISY",
    "domain-walls": "lattice_diffusion.studies.domain_walls:STUDY",
    "locality-gap": "lattice_diffusion.studies.locality_gap:STUDY",
    "recovery": "lattice_diffusion.studies.recovery:STUDY",
    "phases": "lattice_diffusion.studies.phases:STUDY",
    "hybrid-generation": "lattice_diffusion.studies.hybrid_generation:STUDY",
    "area-law": "lattice_diffusion.studies.area_law:STUDY",
    "receptive-field": "lattice_diffusion.studies.receptive_field:STUDY",
    "label-windows": "lattice_diffusion.studies.label_windows:STUDY",
    "potts": "lattice_diffusion.studies.potts:STUDY",
    "hierarchy": "lattice_diffusion.studies.hierarchy:STUDY",
    "parallel-unmasking": "lattice_diffusion.studies.parallel_unmasking:STUDY",
    "memorisation": "lattice_diffusion.studies.memorisation:STUDY",
}

__all__ = ["STUDIES", "find"]


def find(name: str) -> "Study":
    """Return a study by its name, or that of `file.py:STUDY`. Raises InputError, with the nearest name, for others."""
    return registry.load(name, STUDIES, "study", "lattice_diffusion.studies")
