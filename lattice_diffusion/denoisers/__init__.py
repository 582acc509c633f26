"""Denoisers, exact and learned, local and global, behind one interface: denoiser(x_t, t) -> posterior.

    ExactDenoiser                   the true posterior of a model, local (radius) or global
    WienerFilter, NearestPatch      baselines made from a data set
    LocalNet, GlobalNet             networks for spins, fields and bonds; network_arguments(model) for a model's data
    MessageNet                      messages between faces, for the parities of bonds
    LocalImageNet, GlobalImageNet   networks for images of a few grey levels
    wrap, from_diffusers, from_azula   anyone's network, whatever it predicts, on any noise schedule
    Bernoulli, Normal, Categorical, Dirac   the posteriors they return
    train, fit                      fit a network to clean data, step by step or to the end
    save, load                      networks on disk
    minimise, TrainingConfig        the training loop of every network of the package
    reverse, reverse_steps          from noise back to data, along a schedule of denoisers
    always, hybrid, Switch          schedules: one denoiser, or another one inside a window
    pure_noise                      where generation starts
    generated_covariance, gaussian_divergence   the law that is generated from a Gaussian field, in closed form
    unmask_loops, violated_vertices             masked generation of closed loops, and its errors

Networks and their training import torch when they are first used.
"""

from typing import TYPE_CHECKING

from ..lazy import attach
from .baselines import NearestPatch, WienerFilter
from .exact import ExactDenoiser
from .posterior import Bernoulli, Categorical, Denoiser, Dirac, Normal, Posterior
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

if TYPE_CHECKING:
    from .checkpoints import CheckpointError
    from .fitting import fit, load, save, train
    from .global_net import GlobalNet
    from .image_nets import GlobalImageNet, LocalImageNet
    from .local_net import LocalNet
    from .message_net import MessageNet
    from .network import network_arguments
    from .training import TrainingConfig, TrainingError, TrainingStep, minimise
    from .wrapped import WrappedDenoiser, from_azula, from_diffusers, scheduler_unit, wrap

_HOMES = {
    **dict.fromkeys(["fit", "load", "save", "train"], "fitting"),
    **dict.fromkeys(["GlobalImageNet", "LocalImageNet"], "image_nets"),
    **dict.fromkeys(["TrainingConfig", "TrainingError", "TrainingStep", "minimise"], "training"),
    "CheckpointError": "checkpoints",
    "GlobalNet": "global_net",
    "LocalNet": "local_net",
    "MessageNet": "message_net",
    "network_arguments": "network",
    **dict.fromkeys(["WrappedDenoiser", "from_azula", "from_diffusers", "scheduler_unit", "wrap"], "wrapped"),
}
__all__ = ["ExactDenoiser", "NearestPatch", "WienerFilter"]
__all__ += ["Bernoulli", "Categorical", "Denoiser", "Dirac", "Normal", "Posterior"]
__all__ += ["Step", "Switch", "always", "hybrid", "pure_noise", "reverse", "reverse_steps"]
__all__ += ["Unmasked", "gaussian_divergence", "generated_covariance", "unmask_loops", "violated_vertices"]
__all__ += ["GlobalImageNet", "GlobalNet", "LocalImageNet", "LocalNet", "MessageNet", "network_arguments"]
__all__ += ["CheckpointError", "TrainingConfig", "TrainingError", "TrainingStep", "minimise"]
__all__ += ["fit", "load", "save", "train"]
__all__ += ["WrappedDenoiser", "from_azula", "from_diffusers", "scheduler_unit", "wrap"]

__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
