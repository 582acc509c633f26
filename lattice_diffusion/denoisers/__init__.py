"""Denoisers, exact and learned, local and global, behind one interface: denoiser(x_t, t) -> posterior.

    ExactDenoiser                   the true posterior of a model, local (radius) or global
    WienerFilter, NearestPatch      baselines made from a data set
    LocalNet, GlobalNet             networks for spins, fields and bonds
    LocalImageNet, GlobalImageNet   networks for images of a few grey levels
    Bernoulli, Normal, Categorical  the posteriors they return
    train, fit                      fit a network to clean data, step by step or to the end
    save, load                      networks on disk
    minimise, TrainingConfig        the training loop of every network of the package
    reverse, reverse_steps          from noise back to data, along a schedule of denoisers
    always, hybrid, Switch          schedules: one denoiser, or another one inside a window
    pure_noise                      where generation starts
    generated_covariance, gaussian_divergence   the law that is generated from a Gaussian field, in closed form
    unmask_loops, violated_vertices             masked generation of closed loops, and its errors

torch is imported only by the parts that need it, when they are first used.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .baselines import NearestPatch, WienerFilter
    from .exact import ExactDenoiser
    from .fitting import fit, load, save, train
    from .global_net import GlobalNet
    from .image_nets import GlobalImageNet, LocalImageNet
    from .local_net import LocalNet
    from .posterior import Bernoulli, Categorical, Denoiser, Normal, Posterior
    from .reverse_process import (
        Step,
        Switch,
        Unmasked,
        always,
        gaussian_divergence,
        generated_covariance,
        hybrid,
        pure_noise,
        reverse,
        reverse_steps,
        unmask_loops,
        violated_vertices,
    )
    from .training import CheckpointError, TrainingConfig, TrainingError, TrainingStep, minimise

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

_HOMES = {
    **dict.fromkeys(["NearestPatch", "WienerFilter"], "baselines"),
    **dict.fromkeys(["GlobalImageNet", "LocalImageNet"], "image_nets"),
    **dict.fromkeys(["Bernoulli", "Categorical", "Denoiser", "Normal", "Posterior"], "posterior"),
    **dict.fromkeys(["fit", "load", "save", "train"], "fitting"),
    **dict.fromkeys(["CheckpointError", "TrainingConfig", "TrainingError", "TrainingStep", "minimise"], "training"),
    "ExactDenoiser": "exact",
    "GlobalNet": "global_net",
    "LocalNet": "local_net",
}
_HOMES = {name: _HOMES.get(name, "reverse_process") for name in __all__}
__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
