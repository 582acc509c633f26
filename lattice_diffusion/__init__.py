"""Where along a diffusion can a denoiser be local, and where must it be global? Exact answers on the lattice.

Natural logarithms (nats) and J = k_B = 1 everywhere; arrays are (sample, *lattice); times t are in [0, 1],
0 clean and 1 pure noise. Submodules are imported when first used.
"""

from typing import TYPE_CHECKING

from .lazy import attach

if TYPE_CHECKING:
    from . import (
        channels,
        denoisers,
        estimators,
        exact,
        images,
        models,
        phases,
        plots,
        results,
        runs,
        samplers,
        studies,
    )
    from .denoisers.comparison import compare
    from .images.hybrid import hybrid
    from .images.probe import probe
    from .lattice import Lattice, Tripartition
    from .noise_units import NoiseLevel
    from .results import load

__version__ = "0.1.0"

__all__ = ["Lattice", "NoiseLevel", "Tripartition", "compare", "hybrid", "load", "probe"]
__all__ += ["channels", "denoisers", "exact", "images", "models", "samplers"]
__all__ += ["estimators", "phases", "plots", "results", "runs", "studies"]

_HOMES = {
    "Lattice": "lattice",
    "Tripartition": "lattice",
    "NoiseLevel": "noise_units",
    "load": "results",
    "compare": "denoisers.comparison",
    "probe": "images.probe",
    "hybrid": "images.hybrid",
}
__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
