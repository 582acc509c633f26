"""Denoisers, exact and learned, local and global, behind one interface: denoiser(x_t, t) -> posterior.

torch is imported only by the parts that need it, when they are first used.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .categorical import Categorical, GlobalImageNet, LocalImageNet
    from .exact import ExactDenoiser
    from .fitting import fit, load, save, train
    from .generated_law import gaussian_divergence, generated_covariance
    from .global_net import GlobalNet
    from .local import LocalNet
    from .nearest_patch import NearestPatch
    from .posterior import Bernoulli, Denoiser, Normal, Posterior
    from .reverse_process import Step, Switch, always, hybrid, pure_noise, reverse, reverse_steps
    from .training import CheckpointError, TrainingConfig, TrainingError, TrainingStep, minimise
    from .unmasking import Unmasked, unmask_loops, violated_vertices
    from .wiener import WienerFilter

_HOMES = {
    "Bernoulli": "posterior",
    "Categorical": "categorical",
    "Denoiser": "posterior",
    "ExactDenoiser": "exact",
    "GlobalImageNet": "categorical",
    "GlobalNet": "global_net",
    "LocalImageNet": "categorical",
    "LocalNet": "local",
    "NearestPatch": "nearest_patch",
    "Normal": "posterior",
    "Posterior": "posterior",
    "Step": "reverse_process",
    "Switch": "reverse_process",
    "CheckpointError": "training",
    "TrainingConfig": "training",
    "TrainingError": "training",
    "TrainingStep": "training",
    "Unmasked": "unmasking",
    "WienerFilter": "wiener",
    "always": "reverse_process",
    "fit": "fitting",
    "gaussian_divergence": "generated_law",
    "generated_covariance": "generated_law",
    "hybrid": "reverse_process",
    "load": "fitting",
    "minimise": "training",
    "pure_noise": "reverse_process",
    "reverse": "reverse_process",
    "reverse_steps": "reverse_process",
    "save": "fitting",
    "train": "fitting",
    "unmask_loops": "unmasking",
    "violated_vertices": "unmasking",
}
__all__ = [
    "Bernoulli",
    "Categorical",
    "CheckpointError",
    "Denoiser",
    "ExactDenoiser",
    "GlobalImageNet",
    "GlobalNet",
    "LocalImageNet",
    "LocalNet",
    "NearestPatch",
    "Normal",
    "Posterior",
    "Step",
    "Switch",
    "TrainingConfig",
    "TrainingError",
    "TrainingStep",
    "Unmasked",
    "WienerFilter",
    "always",
    "fit",
    "gaussian_divergence",
    "generated_covariance",
    "hybrid",
    "load",
    "minimise",
    "pure_noise",
    "reverse",
    "reverse_steps",
    "save",
    "train",
    "unmask_loops",
    "violated_vertices",
]

__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
