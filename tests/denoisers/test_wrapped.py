"""Networks of torch, diffusers and azula as denoisers: against exact denoisers and the libraries' own arithmetic."""

import math
import types

import numpy as np
import pytest
import torch
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.denoisers import ExactDenoiser, from_azula, from_diffusers, scheduler_unit, wrap
from lattice_diffusion.errors import InputError
from lattice_diffusion.noise_units import NoiseLevel

LINEAR = ld.channels.Gaussian("linear")
MODEL = ld.models.GaussianField(ld.Lattice((3, 4)), mass_squared=0.4)
EXACT = ExactDenoiser(MODEL, LINEAR, 1)
TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def scheduler(prediction="epsilon", **attributes):
    config = {"prediction_type": prediction, "num_train_timesteps": 1000, "sigma_data": 0.5}
    return types.SimpleNamespace(config=types.SimpleNamespace(**config), **attributes)


class Model(torch.nn.Module):
    """An exact denoiser that answers as models of diffusers do, with the variance they learn."""

    def __init__(self, predict, level):
        super().__init__()
        self.predict, self.level, self.weight = predict, level, torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, sample, timestep, label=None):
        a, s = self.level(float(timestep[0]))
        mean = EXACT(sample / (a + s), s / (a + s)).mean
        answer = self.predict(sample, mean, a, s)
        return types.SimpleNamespace(sample=torch.cat([answer, 7 + answer], dim=1))


def steps_level(step):
    log_snr = np.interp(step, np.arange(1000), torch.logit(TABLE).numpy())
    return 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))


def flow_level(step):
    return 1 - step / 1000, step / 1000


CASES = {
    "epsilon": (scheduler(alphas_cumprod=TABLE), steps_level, lambda x, m, a, s: (x - a * m) / s),
    "sample": (scheduler("sample", alphas_cumprod=TABLE), steps_level, lambda x, m, a, s: m),
    "v": (scheduler("v_prediction", alphas_cumprod=TABLE), steps_level, lambda x, m, a, s: a * (x - a * m) / s - s * m),
    "flow": (scheduler(None, scale_noise=None), flow_level, lambda x, m, a, s: (x - a * m) / s - m),
}


@pytest.mark.parametrize("case", CASES)
def test_diffusers_models_have_the_mean_of_the_exact_denoiser_in_them(case):
    made, level, predict = CASES[case]
    net = from_diffusers(Model(predict, level), made, radius=1)
    x_t = np.random.default_rng(1).standard_normal((5, 1, 3, 4))
    for t in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(net(x_t, t).mean, EXACT(x_t, t).mean, rtol=1e-9, atol=1e-12)
    times = np.array([0.3, 0.3, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(net(x_t, times).mean, EXACT(x_t, 0.3).mean, rtol=1e-9, atol=1e-12)
    middle = 500 if case == "flow" else 257.4
    assert NoiseLevel.of(0.5, "linear").to(scheduler_unit(made)) == pytest.approx(middle, abs=1)


@pytest.mark.parametrize(("prediction", "sign"), [("epsilon", 1), ("v_prediction", -1)])
def test_edm_schedulers_precondition_the_network(prediction, sign):
    def level(c_noise):
        return 1.0, math.exp(4 * c_noise)

    class Raw(Model):
        def forward(self, sample, timestep):
            _, s = self.level(float(timestep[0]))
            x = sample * math.hypot(s, 0.5)
            mean = EXACT(x / (1 + s), s / (1 + s)).mean
            return (sign * (mean - 0.25 / (s**2 + 0.25) * x) * math.hypot(s, 0.5) / (0.5 * s),)

    net = from_diffusers(Raw(None, level), scheduler(prediction, precondition_inputs=None))
    x_t = np.random.default_rng(2).standard_normal((3, 1, 3, 4))
    np.testing.assert_allclose(net(x_t, 0.6).mean, EXACT(x_t, 0.6).mean, rtol=1e-9)


test_a_scheduler_that_lacks_something_is_told_what = refusals(
    (types.SimpleNamespace(), "must have alphas_cumprod .* got a SimpleNamespace with none of them"),
    (types.SimpleNamespace(alphas_cumprod=TABLE), r"must have config\.prediction_type, got a SimpleNamespace"),
    (types.SimpleNamespace(scale_noise=None), r"must have config\.num_train_timesteps"),
    (scheduler("noise", alphas_cumprod=TABLE), "prediction_type must be one of epsilon, sample, .* got 'noise'"),
    (scheduler("sample", precondition_inputs=None), "EDM scheduler must have prediction_type epsilon or v_pred"),
    of=lambda made: from_diffusers(Model(None, None), made),
)


def test_other_objects_are_refused():
    with pytest.raises(InputError, match="model must take a keyword timestep, got one of input"):
        from_diffusers(torch.nn.Linear(1, 1), scheduler(alphas_cumprod=TABLE))
    with pytest.raises(InputError, match="denoiser must have a schedule, as those of azula, got a Linear"):
        from_azula(torch.nn.Linear(1, 1))


class Small(torch.nn.Module):
    """A convolution that is told the step and a label."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x, step, *, label=None, scale=1.0):
        assert step.dtype in (torch.float32, torch.int64)
        shift = 0 if label is None else label[:, None, None]
        return scale * self.convolution(x) + shift + step[:, None, None] / 1000


def test_modules_take_sequences_tensors_times_of_every_sample_and_conditions():
    net = Small()
    denoiser = wrap(net, "x0", "ddpm", condition="label", arguments={"scale": 2.0}, radius=1)
    x = np.random.default_rng(3).standard_normal((6, 2, 10))
    t = np.array([0.2, 0.4, 0.6, 0.2, 0.8, 0.6])
    mixed = denoiser(x, t).mean
    for row, time in enumerate(t):
        np.testing.assert_allclose(denoiser(x[row : row + 1], time).mean[0], mixed[row], rtol=1e-5, atol=1e-6)
    tensor = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    answer = denoiser(tensor, t).mean
    np.testing.assert_allclose(answer.detach().numpy(), mixed, rtol=1e-5, atol=1e-6)
    answer.sum().backward()
    assert tensor.grad.abs().sum() > 0
    labels = np.arange(6, dtype=np.float32)
    told = denoiser.on(labels)(x, t).mean
    np.testing.assert_allclose(told - mixed, np.broadcast_to(labels[:, None, None], x.shape), atol=1e-5)
    np.testing.assert_allclose(denoiser.on(labels[3:4])(x, t).mean - mixed, 3.0, atol=1e-5)
    assert denoiser.multiply_adds((2, 10)) == 10 * 2 * 2 * 3
    whole = wrap(net, "x0", "ddpm", time=lambda step: np.rint(step).astype(int))
    level = NoiseLevel.of(300, "ddpm").to("linear")
    np.testing.assert_allclose(whole(x, level).mean * 2, denoiser(x, level).mean + 0.3, atol=1e-4)


def test_long_batches_are_cut_and_conditions_with_them(monkeypatch):
    monkeypatch.setattr("lattice_diffusion.denoisers.network.CHUNK_SITES", 40)
    denoiser = wrap(Small(), "x0", "ddpm", condition="label").on(np.arange(6, dtype=np.float32))
    x = np.random.default_rng(3).standard_normal((6, 2, 10))
    parts = [denoiser.on(np.float32([k]))(x[k : k + 1], 0.5).mean for k in range(6)]
    np.testing.assert_allclose(denoiser(x, 0.5).mean, np.concatenate(parts), rtol=1e-5, atol=1e-6)


def test_denoisers_of_azula():
    azula_denoise, noise = pytest.importorskip("azula.denoise"), pytest.importorskip("azula.noise")
    from azula.linalg.covariance import DiagonalCovariance

    mean, variance = torch.full((1, 6), 0.3, dtype=torch.float64), torch.linspace(0.2, 2, 6, dtype=torch.float64)[None]
    made = azula_denoise.GaussianDenoiser(mean, DiagonalCovariance(variance), noise.CosineSchedule())
    denoiser = from_azula(made)
    x = np.random.default_rng(5).standard_normal((4, 1, 6))
    for t in (0.3, 0.7):
        gain = (1 - t) * variance.numpy() / ((1 - t) ** 2 * variance.numpy() + t**2)
        np.testing.assert_allclose(denoiser(x, t).mean, 0.3 + gain * (x - (1 - t) * 0.3), rtol=1e-8)
    with pytest.raises(InputError, match="outside the schedule of azula"):
        denoiser(x, 1e-9)


@pytest.mark.slow
def test_the_real_library_diffusers_agrees_with_its_own_schedulers():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ).double()  # fmt: skip
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=1, out_channels=2, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=11,
    ).double()  # fmt: skip
    sequence = diffusers.UNet1DModel(
        sample_size=32, in_channels=1, out_channels=1, block_out_channels=(32, 32), extra_in_channels=64,
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D"), up_block_types=("UpBlock1D", "UpBlock1DNoSkip"),
    ).double()  # fmt: skip
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    labels = {"class_labels": torch.tensor([1, 4, 7])}
    for model, sample, given in ((unet, x, {}), (dit, x, labels), (sequence, torch.randn(3, 1, 32).double(), {})):
        model.eval()
        for kind in ("epsilon", "sample", "v_prediction"):
            made = diffusers.DDPMScheduler(prediction_type=kind, clip_sample=False)
            wrapped = from_diffusers(model, made, arguments=given)
            step = 400
            with torch.no_grad():
                out = model(sample, timestep=torch.full((3,), float(step), dtype=torch.float64), **given).sample
            theirs = made.step(out[:, :1], step, sample).pred_original_sample
            t = NoiseLevel.of(step, scheduler_unit(made)).to("linear")
            scale = (1 - t) / made.alphas_cumprod[step].double() ** 0.5
            np.testing.assert_allclose(wrapped(sample.numpy() * float(scale), t).mean, theirs, rtol=2e-4, atol=2e-4)
    for made in (diffusers.EDMEulerScheduler(), diffusers.FlowMatchEulerDiscreteScheduler()):
        made.set_timesteps(10)
        k, wrapped = 4, from_diffusers(unet, made)
        sigma, step = float(made.sigmas[k]), made.timesteps[k]
        edm = hasattr(made, "precondition_inputs")
        shown = made.scale_model_input(x, step) if edm else x
        with torch.no_grad():
            out = unet(shown, step.double()).sample
        moved = made.step(out, step, x)
        theirs = moved.pred_original_sample if edm else x - sigma * out
        t = NoiseLevel.of(sigma, "sigma" if edm else "flow").to("linear")
        scale = (1 - t) if edm else (1 - t) / (1 - sigma)
        np.testing.assert_allclose(wrapped(x.numpy() * scale, t).mean, theirs, rtol=1e-4, atol=1e-4)


class Blur(torch.nn.Module):
    """One convolution in a precision of its own."""

    def __init__(self, dtype):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1, dtype=dtype)

    def forward(self, x, t):
        return self.layer(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_tensors_are_answered_in_their_type_whatever_the_weights_are(dtype):
    net, x = Blur(dtype), torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = wrap(net, "x0", "linear")(x, 0.5).mean
    assert found.dtype == torch.float32
    assert torch.equal(found, net(x.to(dtype), None).float())
