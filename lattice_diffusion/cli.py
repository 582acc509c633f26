"""The command line, thin: it reads options, calls the package, and prints user errors as one sentence.

Results go to stdout; logs, progress and errors to stderr. Exit codes: 0, 2 for bad input, 130 when stopped. An error
that is neither InputError nor OSError is a bug, and shows its traceback. Everything heavy is imported inside the
commands, so that --help answers at once.
"""

import contextlib
import importlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from .threads import cores

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
benchmark_app = typer.Typer(rich_markup_mode="rich")
app.add_typer(benchmark_app, name="benchmark")
# panels of options in the help of every command
What, Noise, Effort, Output = (partial(Option, rich_help_panel=n) for n in ("What", "Noise", "Effort", "Output"))


# -- completion: names of the registries, imported when TAB asks for them -----------------------------------


def _complete(registry: str, *, several: bool = False) -> dict[str, Callable[[str], list[str]]]:
    """Return, as an option, the completion to a name of a registry, or to the last of `several` a,b,..."""

    def complete(incomplete: str) -> list[str]:
        room, _, attribute = registry.partition(":")
        known = getattr(importlib.import_module(f".{room}", __package__), attribute)
        names = known() if callable(known) else [entry if isinstance(entry, str) else entry.name for entry in known]
        given, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [given + comma + name for name in names if name.startswith(last) and name not in given.split(",")]

    return {"autocompletion": complete}


MODELS, CHANNELS, STUDIES = map(_complete, ("models:MODELS", "channels:CHANNELS", "studies:STUDIES"))
TASKS, ESTIMATORS = (_complete(f"estimators{room}:names", several=True) for room in (".tasks", ""))

# -- options of several commands ----------------------------------------------------------------------------

ScheduleName = Literal["linear", "vp", "ve"]
Result = Annotated[Path, Argument(help="Result file to read.", metavar="FILE.h5")]
Model = Annotated[str, What(help="Model, such as ising or gaussian-field, or file.py:Class.", **MODELS)]
Shape = Annotated[str | None, What(help="Sites (or faces) along each axis, such as 11x11 or 100.")]
Beta = Annotated[float | None, What(help="Inverse temperature of spin models.")]
MassSquared = Annotated[float | None, What(help="Mass squared of the Gaussian field.")]
Mean = Annotated[float | None, What(help="Mean of one class of gaussian-mixture; the other has its negative.")]
Std = Annotated[float | None, What(help="Standard deviation within a class of gaussian-mixture.")]
Periodic = Annotated[
    str | None, What(help="Use periodic boundaries along all axes, or those given, such as 0 or 0,2.", metavar="[AXES]")
]
Others = Annotated[list[str] | None, What("--set", help="Parameter without an option of its own, such as field=0.3.")]
ImagesPath = Annotated[Path, Argument(help="File of images (.npy, .npz, .h5, IDX), or a folder.", metavar="IMAGES")]
Key = Annotated[str | None, What(help="Name of the array in a .npz or .h5 file.")]
Labels = Annotated[Path | None, What(help="File of labels (default: those beside the images).")]
NMax = Annotated[int | None, What(help="Largest number of images to use.")]
ValueRange = Annotated[
    str | None, What(help="Values of black and white, for example 0,255 (not needed for uint8).", metavar="LOW,HIGH")
]
Channel = Annotated[str, Noise(help="Channel: gaussian, bitflip, erasure, uniform or file.py:Class.", **CHANNELS)]
Schedule = Annotated[ScheduleName | None, Noise(help="Schedule of gaussian noise (default linear).")]
Seed = Annotated[int, Effort(min=0, help="Seed of all random numbers.")]
Device = Annotated[str, Effort(help="Device of torch: cpu, cuda, cuda:1, auto, ...")]
Workers = Annotated[int | None, Effort(min=1, max=4096, help="Points measured at a time (default: one per core).")]
Out = Annotated[Path, Output(help="Result file to write (HDF5).", metavar="FILE.h5")]
Resume = Annotated[bool, Output("--resume", help="Continue an interrupted run; reuse what is finished.")]
Force = Annotated[bool, Output("--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, Output("--json", help="Print one JSON object.")]


# -- commands -----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; unexpected exceptions pass through."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for k in range(len(arguments) - 1, -1, -1):  # an option whose value may be left out, which typer has not
        if arguments[k] == "--periodic" and (k + 1 == len(arguments) or arguments[k + 1].startswith("-")):
            arguments.insert(k + 1, "all")
    try:
        code = app(arguments, prog_name="lattice-diffusion", standalone_mode=False)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(sentence.split()))
        print(f"error: {line}", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


def _version(asked: bool) -> None:
    if asked:
        from . import __version__

        typer.echo(f"lattice_diffusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Where along a diffusion can a denoiser be local, and where must it be global?"""


def _command(example: str, on: typer.Typer = app, name: str | None = None) -> Any:
    """Register a command, whose help ends with an example."""
    return on.command(name, epilog=f"Example: lattice-diffusion {example}")


@_command("reproduce loops-erasure --workers 2")
def reproduce(
    experiments: Annotated[
        list[str] | None, Argument(help="Names of studies (default: all).", metavar="STUDY", **STUDIES)
    ] = None,
    preset: Annotated[
        Literal["quick", "full"], Effort(help="Size: about 7 CPU minutes (4 minutes on two cores), or hours.")
    ] = "quick",
    out: Annotated[Path, Output(help="Folder of the result files, figures and tables.")] = Path("results"),
    workers: Workers = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Compute the phase diagrams of the toy models, their figures, and a table that compares them with theory."""
    with _long_run():
        from .report import text_table
        from .studies.reproduce import reproduce as reproduce_all
        from .studies.reproduce import summary

        rows = reproduce_all(experiments or [], preset, out, workers=workers or cores(), resume=resume, force=force)
    typer.echo(f"{text_table(rows)}\n{summary(rows)}\nSee {out / 'index.html'}.")


@_command("run docs/specs/ising-square.toml --out ising.h5 --workers 2")
def run(
    spec: Annotated[Path, Argument(help="TOML file that says what to measure.", metavar="SPEC.toml")],
    out: Out,
    workers: Workers = None,
    scheduler: Annotated[
        str | None, Effort(help="Dask scheduler tcp://HOST:PORT, or mpi, instead of --workers.")
    ] = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Measure the grids of a spec and write one result file."""
    if scheduler is not None and workers is not None:
        raise typer.BadParameter("give --workers or --scheduler, which has workers of its own", param_hint="--workers")
    with _long_run():
        from .runs.runner import run as run_spec
        from .runs.spec import load

        run_spec(load(spec), out, scheduler=scheduler, workers=workers or cores(), resume=resume, force=force)
    _see(out)


@_command("cmi --model ising --shape 5x4 --beta 0.4 --channel bitflip --t 0.3 --radius 1 --n-samples 1000")
def cmi(
    model: Model,
    t: Annotated[float, Noise("--t", help="Diffusion time in [0, 1]; bit flips have probability t/2.")],
    shape: Shape = None,
    beta: Beta = None,
    mass_squared: MassSquared = None,
    mean: Mean = None,
    std: Std = None,
    periodic: Periodic = None,
    regions: Annotated[str | None, What(help="Sizes a,b,c of A, B and C for curie-weiss.")] = None,
    center: Annotated[str | None, What(help="Site of A, such as 2,1 (default: the middle).")] = None,
    bond: Annotated[str | None, What(help="A of domain-walls: the bond between faces i,j,k,l.")] = None,
    block: Annotated[str | None, What(help="A of domain-walls: bonds of the 2x2 faces from i,j.")] = None,
    radius: Annotated[int | None, What(help="Width of the buffer B around A.")] = None,
    patch: Annotated[int | None, What(help="Side length of A (default 1).")] = None,
    channel: Channel = "gaussian",
    schedule: Schedule = None,
    others: Others = None,
    n_samples: Annotated[
        int, Effort("--n-samples", "--samples", min=2, help="Number of noise samples where there is no closed form.")
    ] = 1000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compute the conditional mutual information I(A;C|B) of the noisy data, in nats, with its standard error."""
    from .runs.cmi import assigned, measure_one, options

    given = {
        "shape": shape, "periodic": periodic, "center": center, "bond": bond, "block": block,
        "radius": radius, "patch": patch, "beta": beta, "mass_squared": mass_squared, "mean": mean, "std": std,
        "regions": regions, **assigned(others or []),
    }  # fmt: skip
    answer = measure_one({**options(model, given, channel, schedule), "t": t, "n_samples": n_samples}, seed)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    error = f" ± {answer['stderr']:.2g}" if answer["stderr"] else ""
    counted = f"{answer['n_samples']} samples" if answer["n_samples"] else "exact"
    typer.echo(f"I(A;C|B) = {answer['value']:.6g}{error} nat  ({answer['method']}; {counted})")


@_command("sample --model ising --shape 64x64 --beta 0.44 --periodic --n-samples 1000 --out samples.h5")
def sample(
    model: Model,
    n_samples: Annotated[int, Effort(min=1, help="Number of samples.")],
    out: Out,
    shape: Shape = None,
    beta: Beta = None,
    mass_squared: MassSquared = None,
    mean: Mean = None,
    std: Std = None,
    others: Others = None,
    periodic: Periodic = None,
    method: Annotated[
        Literal["auto", "transfer_matrix", "swendsen_wang", "wolff", "heat_bath", "multispin", "coupling_from_the_past"]
        | None,
        Effort(help="Sampling algorithm of ising."),
    ] = None,
    burn_in: Annotated[int | None, Effort(help="Updates before the first sample of a batch.")] = None,
    thin: Annotated[int | None, Effort(help="Updates between samples.")] = None,
    dtype: Annotated[Literal["float64", "float32"] | None, Output(help="Precision of gaussian-field.")] = None,
    seed: Seed = 0,
    batch: Annotated[int | None, Effort(min=1, help="Samples per batch, an independent chain.")] = None,
    workers: Annotated[int, Effort(min=1, max=4096, help="Batches drawn at a time.")] = 1,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Draw samples of a model into an HDF5 file, in bounded memory; an interrupted run continues with --resume."""
    with _long_run():
        from .runs.cmi import assigned, integers
        from .runs.sampling import recipe, sample_to_file

        given = {
            "shape": shape and integers(shape, "shape", "64x64", "x"), "periodic": periodic,
            "beta": beta, "mass_squared": mass_squared, "mean": mean, "std": std, **assigned(others or []),
            "dtype": dtype, "method": method, "burn_in": burn_in, "thin": thin,
        }  # fmt: skip
        plan = recipe(model, given)
        sample_to_file(plan, n_samples, seed, out, batch=batch, workers=workers, resume=resume, force=force)
    _see(out)


@_command("plot ising.h5 --at beta=0.44 --over t,radius --style talk")
def plot(
    file: Result,
    grid: Annotated[str | None, What(help="Grid to draw (default: all).")] = None,
    quantity: Annotated[str | None, What(help="Variables to draw, such as cmi,markov_length (default: all).")] = None,
    at: Annotated[list[str] | None, What(help="Value of an axis, such as beta=0.5 (once for each axis).")] = None,
    over: Annotated[str | None, What(help="Axes of the maps, such as t,beta, or the one of curves, such as t.")] = None,
    style: Annotated[
        Literal["paper", "talk"], Output(help="Fonts and lines: for a page or for a projector.")
    ] = "paper",
    out: Annotated[Path | None, Output(help="Figure to write: png, pdf or svg (default: FILE.png).")] = None,
    force: Force = False,
) -> None:
    """Draw the figure of a result file, or the grids, quantities and slices that are asked for."""
    out = _output(file, out, (".png", ".pdf", ".svg"), force)
    from .studies.reproduce import draw

    pairs = [word.partition("=") for word in at or []]
    if wrong := [word for word, (name, _, value) in zip(at or [], pairs, strict=True) if not (name and value)]:
        raise typer.BadParameter(f"must look like beta=0.5, got '{wrong[0]}'", param_hint="--at")
    axes = {"at": {name: value for name, _, value in pairs}, "over": over.split(",") if over else ()}
    draw(file, out, style, grid=grid, quantity=quantity.split(",") if quantity else (), **axes)
    _see(out)


@_command("show ising.h5")
def show(file: Result) -> None:
    """Print what a result file holds: its origin, grids and table."""
    from .report import describe
    from .results import load

    typer.echo(describe(load(file)), nl=False)


@_command("report ising.h5 --out ising.html")
def report(
    file: Result,
    out: Annotated[Path | None, Output(help="Page to write (default: FILE.html).", metavar="FILE.html")] = None,
    force: Force = False,
) -> None:
    """Write one static HTML page of a result file, or of the rows of a benchmark: figures, tables, parameters."""
    out = _output(file, out, (".html",), force)
    from .images.page import benchmark_page, write_page
    from .results import load
    from .store import atomic_write

    if file.suffix == ".jsonl":
        page = benchmark_page(file)
        with atomic_write(out) as partial:
            partial.write_text(page, encoding="utf-8")
    else:
        write_page(load(file), out, file.name)
    _see(out)


@_command("probe images.npy --times 11 --radii 1..12 --out probe.h5")
def probe(
    images: ImagesPath,
    out: Out = Path("probe.h5"),
    times: Annotated[str, Noise(help="Number of times in (0, 1), or their list 0.2,0.3.")] = "11",
    radii: Annotated[str | None, What(help="Widths of B, such as 1..12 or 1,2,4 (default: up to 12).")] = None,
    pixel: Annotated[str, What(help="Pixel A: center, row,column, or average over all pixels.")] = "center",
    channel: Annotated[
        str, Noise(help="Channel: bitflip and erasure for two values, erasure and uniform for tokens.", **CHANNELS)
    ] = "gaussian",
    schedule: Annotated[ScheduleName, Noise(help="Schedule of gaussian noise.")] = "linear",
    key: Key = None,
    labels: Labels = None,
    n_max: NMax = None,
    value_range: ValueRange = None,
    tokens: Annotated[int | None, What(help="Number of symbols, where values are tokens 0, 1, ...")] = None,
    calibrate: Annotated[bool, Effort("--calibrate/--no-calibrate", help="Also probe pictures of known truth.")] = True,
    tolerance: Annotated[float, What(help="Nats that the CMI exceeds inside the windows.")] = 0.01,
    bits_per_dim: Annotated[
        float, What(help="KL that the recommended r(t) may cost, in bits per value of a pixel.")
    ] = 0.001,
    body: Annotated[
        Literal["auto", "mlp", "gated", "conv"],
        Effort(
            help="Body of the networks; gated: where texture varies; conv: a U-Net (auto: of large images on a GPU)."
        ),
    ] = "auto",
    steps: Annotated[int | None, Effort(help="Training steps of every network (default: 2000, of conv 1000).")] = None,
    budget: Annotated[float | None, Effort(help="Seconds that all of it may take, instead of --steps.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Map I(A;C|B) of images over times and radii: where must networks be global, and how wide?"""
    options = dict(locals())
    with _long_run(torch=True), _image_warnings():
        from .images.probe import probe

        result = probe(options.pop("images"), rng=options.pop("seed"), **options)
        _print_table(result)
    _see(out)


@_command("hybrid images.npy --probe probe.h5 --by error --out hybrid.h5")
def hybrid(
    images: ImagesPath,
    out: Out = Path("hybrid.h5"),
    denoiser: Annotated[
        list[str] | None,
        What(help="Trained network as RADIUS=file.py:FUNCTION, the global one as global=.. (default: train all)."),
    ] = None,
    probe: Annotated[
        Path | None, What(help="Probe of these images; it or --window is required.", metavar="PROBE.h5")
    ] = None,
    window: Annotated[str | None, What(help="Times t1,t2 between which networks are global.")] = None,
    by: Annotated[Literal["cmi", "error"], What(help="What the probe's window is taken from.")] = "cmi",
    tolerance: Annotated[float | None, What(help="Tolerance of that window.")] = None,
    radius: Annotated[int, What(min=1, help="Radius of the local network in the schedules.")] = 2,
    radii: Annotated[str, What(help="Radii of all local networks, such as 1..6 or 1,2,4.")] = "1..6",
    levels: Annotated[int, What(help="Number of values that pixels, or each colour, are rounded to.")] = 8,
    shrink: Annotated[int, What(help="Side of the blocks of pixels that are averaged.")] = 1,
    n_samples: Annotated[int, Effort(help="Number of images generated by every schedule.")] = 1000,
    steps: Annotated[int, Effort(help="Number of reverse steps from noise to image.")] = 60,
    key: Key = None,
    labels: Labels = None,
    n_max: NMax = None,
    value_range: ValueRange = None,
    budget: Annotated[float, Effort(help="Seconds that all of it may take, about.")] = 1800.0,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Generate images by local networks, global ones and both: is global inside the window alone as good?"""
    options = dict(locals())
    from .store import beside, check_output

    picture = beside(out, ".png")
    check_output(picture, resume=resume, force=force)
    with _long_run(torch=True), _image_warnings():
        from .denoisers.comparison import denoisers_in
        from .images.hybrid import hybrid
        from .studies.reproduce import draw

        given = options.pop("denoiser")
        options["networks"] = dict(denoisers_in(given)) if given else None
        result = hybrid(options.pop("images"), rng=options.pop("seed"), **options)
        draw(out, picture)
        _print_table(result)
    _see(out, picture)


@_command("compare images.npy --denoiser mine=net.py:load --denoiser local=net.py:small --out compare.h5")
def compare(
    images: ImagesPath,
    denoiser: Annotated[
        list[str],
        What(help="Network as NAME=file.py:FUNCTION, a function that returns a denoiser (once for each network)."),
    ],
    out: Out = Path("compare.h5"),
    levels: Annotated[str, Noise(help="Number of noise levels, or their list in --unit.")] = "16",
    unit: Annotated[str, Noise(help="Unit of noise levels: linear, vp, sigma, log_snr, flow:3, ddpm, ...")] = "linear",
    budget: Annotated[float | None, What(help="Nats per image that the schedule may cost.")] = None,
    batch_size: Annotated[int, Effort(min=1, help="Number of images denoised at a time.")] = 64,
    condition: Annotated[
        bool, What("--condition", help="Give the labels of images to networks that take one.")
    ] = False,
    key: Key = None,
    labels: Labels = None,
    n_max: NMax = None,
    value_range: ValueRange = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Compare networks at every noise level: errors, costs, and the cheapest schedule."""
    from .store import beside, check_output

    picture = beside(out, ".png")
    check_output(picture, resume=resume, force=force)
    with _long_run(torch=True), _image_warnings():
        from .denoisers.comparison import compare, denoisers_in, levels_in
        from .images import open_images
        from .studies.reproduce import draw

        opened = open_images(images, key=key, labels=labels, n_max=n_max, value_range=value_range)
        data, given = opened.read(range(len(opened))), opened.labels if condition else None
        how: dict[str, Any] = {"unit": unit, "budget": budget, "batch_size": batch_size, "rng": seed, "device": device}
        files: dict[str, Any] = {"out": out, "resume": resume, "force": force, "progress": True}
        found = compare(denoisers_in(denoiser), data, levels_in(levels), condition=given, **how, **files)
        draw(out, picture)
        _print_table(found.result)
    _see(out, picture)


@_command("doctor")
def doctor(as_json: AsJson = False) -> None:
    """Show versions, threads and optional parts, and check known values for ten seconds; exit code 1 if one is off."""
    from .doctor import examine, show

    found = examine()
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show(found)
    if not found["healthy"]:
        raise typer.Exit(1)


@benchmark_app.callback()
def benchmark() -> None:
    """Compare methods with exact answers."""


@_command("benchmark estimators --tasks charges-chain --n-samples 1000 --seeds 2", benchmark_app, "estimators")
def benchmark_estimators(
    out: Annotated[Path, Output(help="Rows to write: .jsonl, or .csv with a .jsonl beside it.")] = Path(
        "estimators.jsonl"
    ),
    tasks: Annotated[str | None, What(help="Tasks a,b,...; tables, atoms and functions are groups.", **TASKS)] = None,
    estimators: Annotated[str | None, What(help="Estimators x,y,... or file.py:Class.", **ESTIMATORS)] = None,
    n_samples: Annotated[str | None, Effort(help="Numbers of samples, such as 5000,20000.")] = None,
    seeds: Annotated[int, Effort(min=1, max=10**6, help="Number of repetitions of every point.")] = 10,
    workers: Annotated[int, Effort(min=1, max=4096, help="Rows measured at a time.")] = 1,
    device: Annotated[str | None, Effort(help="Device of torch: cpu, cuda, cuda:1, auto, ...")] = None,
    figure: Annotated[Path | None, Output(help="Heat table to draw: png, pdf or svg.")] = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Compare estimators of I(A;C|B) on tasks of known truth: error over its statistical floor, coverage, cost."""
    with _long_run(torch=True):
        from .runs.estimator_benchmark import trial

        asked: dict[str, Any] = {"task_names": tasks, "estimators": estimators, "n": n_samples, "seeds": seeds}
        how: dict[str, Any] = {"workers": workers, "device": device, "resume": resume, "force": force}
        answer = trial(out, figure=figure, **asked, **how)
    typer.echo(answer, nl=False)
    _see(out, *([figure] if figure else []))


# -- helpers ------------------------------------------------------------------------------------------------


def _see(*paths: Path) -> None:
    """Say on stderr where what was asked for is."""
    from .progress import say

    say(f"See {' and '.join(map(str, paths))}.")


def _output(file: Path, out: Path | None, suffixes: Sequence[str], force: bool) -> Path:
    """Return where to write what is made of a file: by default beside it, with the first of the suffixes."""
    from .store import beside, check_output

    out = out or beside(file, suffixes[0])
    if out.suffix not in suffixes:
        known = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise typer.BadParameter(f"must end in {known}, got '{out}'", param_hint="--out")
    check_output(out, force=force, resumable=False)
    return out


@contextlib.contextmanager
def _image_warnings() -> Iterator[None]:
    """Print what is odd about images on stderr, a line each."""
    from .images import ImageWarning
    from .progress import say

    with warnings.catch_warnings():
        warnings.simplefilter("always", ImageWarning)
        warnings.showwarning = lambda message, *_: say(f"warning: {message}")
        yield


def _print_table(result: Any) -> None:
    """Print the table of a result, and below it what makes a probe or hybrid doubtful, and what it found."""
    from .images.page import summary
    from .report import text_table
    from .results import rows

    typer.echo(text_table(rows(result)), nl=False)
    doubts, findings = summary(result)
    if doubts or findings:
        typer.echo("\n".join(["", *(f"! {doubt}" for doubt in doubts), *findings]))


@contextlib.contextmanager
def _long_run(torch: bool = False) -> Iterator[None]:
    """Compute on one thread; end with exit code 130 and a sentence when stopped."""
    from .progress import sigterm_interrupts
    from .threads import one_thread

    try:
        with sigterm_interrupts(), one_thread(torch=torch):
            yield
    except KeyboardInterrupt as stop:
        typer.echo(str(stop) or "stopped", err=True)
        raise typer.Exit(130) from None


def _sentence(error: Any) -> str | None:
    """Return one sentence for an error of the user's, None for a bug."""
    if hasattr(error, "format_message"):  # a usage error, whichever click typer brings
        text = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        return f"{text}; see {context.command_path} --help" if context else text
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    from .errors import InputError

    return str(error) if isinstance(error, InputError) else None
