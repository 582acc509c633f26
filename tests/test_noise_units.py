"""Noise levels in all conventions: published values, definitions, round trips, and every refusal."""

import math

import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.estimate import Estimate
from lattice_diffusion.noise_units import UNITS, NoiseLevel, flow, schedule, steps, unit_of

COSINE = schedule(lambda t: math.cos(math.pi * t / 2), lambda t: math.sin(math.pi * t / 2))
EVERY = [*UNITS, "flow:3", "ddpm", COSINE, ld.channels.Gaussian("ve"), ld.channels.BitFlip(), ld.channels.Erasure()]


def test_published_windows_in_each_others_units():
    # DiT's t = 0.52 of the linear table of 1,000 steps, and a flow's 0.87: issue 18
    level = NoiseLevel.of(520, "ddpm")
    assert level.to("sigma") == pytest.approx(3.8, abs=0.05)
    assert level.to("linear") == pytest.approx(0.79, abs=0.005)
    assert NoiseLevel.of(0.87, "flow").to("sigma") == pytest.approx(0.87 / 0.13, rel=1e-14)


@pytest.mark.parametrize("unit", EVERY, ids=lambda unit: getattr(unit, "name", unit))
def test_round_trips_of_arrays_and_numbers(unit):
    level = NoiseLevel(np.linspace(-9.0, 6.0, 12).reshape(3, 4))
    value = level.to(unit)
    assert value.shape == (3, 4)
    np.testing.assert_allclose(NoiseLevel.of(value, unit).log_snr, level.log_snr, atol=1e-11)
    assert isinstance(NoiseLevel.of(value[1, 1], unit).to(unit), float)


@pytest.mark.parametrize("name", ["linear", "vp", "ve"])
@pytest.mark.parametrize("t", [1e-9, 0.2, 0.5, 0.93])
def test_times_are_those_of_the_channels(name, t):
    channel = ld.channels.Gaussian(name)
    level = NoiseLevel.of(t, name)
    assert math.exp(level.log_snr) == pytest.approx(channel.snr(t), rel=1e-13)
    assert unit_of(name).alpha(level.log_snr) == pytest.approx(channel.alpha(t), rel=1e-13)
    assert level.to(channel) == pytest.approx(t, rel=1e-13)
    assert level.to("sigma") == pytest.approx(channel.sigma(t) / channel.alpha(t), rel=1e-13)
    assert level.to("alpha_bar") == pytest.approx(1 / (1 + channel.sigma(t) ** 2 / channel.alpha(t) ** 2), rel=1e-13)


def test_flow_shift_moves_the_time():
    t = np.array([0.1, 0.5, 0.8])
    shifted = 3 * t / (1 + 2 * t)
    np.testing.assert_allclose(NoiseLevel.of(t, "flow:3").to("flow"), shifted, rtol=1e-14)
    np.testing.assert_allclose(NoiseLevel.of(shifted, "flow").to(flow(3.0)), t, rtol=1e-14)


def test_steps_are_those_of_the_table_and_between():
    table = np.array([0.9, 0.5, 0.1])
    np.testing.assert_allclose(NoiseLevel.of([0, 1, 2], steps(table)).to("alpha_bar"), table, rtol=1e-14)
    between = NoiseLevel(0.25 * math.log(9.0))
    assert between.to(steps(table)) == pytest.approx(0.75)
    assert NoiseLevel.of(1, steps([0.5, 0.0])).to("alpha_bar") == pytest.approx(2.0**-24)  # pure noise at the end


def test_ends_are_kept():
    assert NoiseLevel.of([0.0, 1.0], "vp").log_snr.tolist() == [math.inf, -math.inf]
    assert NoiseLevel.of([0.0, 1.0], "linear").to("sigma").tolist() == [0.0, math.inf]
    assert NoiseLevel(np.array([math.inf, -math.inf])).to(COSINE).tolist() == [0.0, 1.0]


def test_windows_are_said_in_any_unit_with_their_errors():
    window = ld.phases.Window(Estimate(0.4, 1e-3, 0), Estimate(0.8, 2e-3, 0))
    moved = window.to("sigma")  # sigma = t/(1-t), of slope (1-t)^-2
    for end, t, stderr in ((moved.start, 0.4, 1e-3), (moved.stop, 0.8, 2e-3)):
        assert end.value == pytest.approx(t / (1 - t), rel=1e-12)
        assert end.stderr == pytest.approx(stderr / (1 - t) ** 2, rel=1e-3)
    back = moved.to(ld.channels.Gaussian("linear"), "sigma")
    assert back.stop.value == pytest.approx(0.8, rel=1e-12)
    assert ld.phases.Window(None, window.stop).to("ddpm").start is None


test_refusals = refusals(
    (lambda: unit_of("sigmas"), "unit must be one of log_snr, snr, .* got 'sigmas'"),
    (lambda: unit_of("flow:x"), "such as flow:3, got 'flow:x'"),
    (lambda: flow(0.0), "must be > 0 and finite, got 0"),
    (lambda: NoiseLevel.of(1.2, "linear"), "in units of linear must be from 0 to 1, got 1.2"),
    (lambda: NoiseLevel.of(1e-4, "sigma").to("ddpm"), "outside the schedule of ddpm, which has log snr from"),
    (lambda: steps([0.5, 0.5]), "alphas_cumprod must fall strictly"),
)
