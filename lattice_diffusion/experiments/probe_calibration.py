"""A probe of samples whose I(A;C|B) is known, by the same code and from as many of them as there are images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import exact
from ..channels import Gaussian
from .probe import ProbePlan, field_of_array, measure
from .probe_schema import Variables, probe_variables


def calibrate(
    model: Any,
    n_images: int,
    plan: ProbePlan,
    *,
    n_exact: int = 1000,
    device: str = "cpu",
    parts: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
    **options: Any,
) -> Variables:
    """`probe_variables` with `cmi_exact`, for the argument `calibrations` of `probe_result`.

    Args:
        model: of two axes, with an exact solution, such as `models.Ising`; A is `plan.pixel`.
        n_exact: noisy samples that the exact answer is averaged over.
        options: `tolerance` and `budget` of `probe_variables`.
    """
    if plan.pixel is None:
        raise ValueError("pixel must be given for a calibration, got None; exact answers are for one pixel")
    samples, truth = (np.random.default_rng(s) for s in np.random.SeedSequence([plan.seed, 1]).spawn(2))
    field = field_of_array(model.sample(n_images, samples))
    measured = measure(field, plan, device=device, parts=parts, on_step=on_step)
    divisions = [model.lattice.tripartition(plan.pixel, r) for r in plan.radii]
    curves = [exact.cmi_curve(model, Gaussian("linear"), t, divisions, n_exact, truth).values for t in plan.times]
    return probe_variables(**measured, cmi_exact=np.array(curves), **options)
