"""The command line, thin: it reads options, calls the package, and turns refusals into one sentence.

Results go to stdout; logs, progress and errors to stderr. Exit codes: 0, 2 for bad input, 130 when stopped.
Everything heavy is imported inside the commands, so that --help answers at once.
"""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from . import completions
from .completions import one_of, some_of, words

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Where along a diffusion can a denoiser be local, and where must it be global?",
)
benchmark_app = typer.Typer(rich_markup_mode=None)
app.add_typer(benchmark_app, name="benchmark")

Workers = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Points measured at a time; all cores if not given.")
]
MODELS = "gaussian-field, gaussian-mixture, ising, ising-chain, curie-weiss, domain-walls."
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is there; reuse what is finished.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
ValueRange = Annotated[
    str | None,
    typer.Option(help="Values of black and white, for example 0,255 (not needed for uint8).", metavar="LOW,HIGH"),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; unexpected exceptions pass through."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
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


@app.command()
def reproduce(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(help="Names; all experiments if none is given.", autocompletion=one_of(completions.experiments)),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="quick (about ten minutes on two cores) or full (hours).", autocompletion=words("quick", "full")
        ),
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder for NAME.h5, NAME.png and the table.")] = Path("results"),
    workers: Workers = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Every toy phase diagram: result files, figures, and a table of measured beside analytic values."""
    with _long_run():
        from .report import text_table
        from .studies.reproduce import reproduce as reproduce_all

        rows = reproduce_all(experiments or [], preset, out, workers=workers or _cores(), resume=resume, force=force)
    typer.echo(text_table(rows), nl=False)


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="What to measure, a TOML file.", metavar="SPEC.toml")],
    out: Annotated[Path, typer.Option(help="The result file, HDF5.", metavar="FILE.h5")],
    workers: Workers = None,
    scheduler: Annotated[
        str | None, typer.Option(help="tcp://HOST:PORT of a Dask scheduler, or mpi; instead of --workers.")
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

        run_spec(load(spec), out, scheduler=scheduler, workers=workers or _cores(), resume=resume, force=force)


@app.command()
def cmi(
    model: Annotated[
        str,
        typer.Option(
            help=MODELS,
            autocompletion=one_of(completions.models),
        ),
    ],
    t: Annotated[float, typer.Option("--t", help="Time in [0, 1]; bit flip probability t/2.")],
    shape: Annotated[str | None, typer.Option(help="Sites (or faces) along each axis, such as 11x11 or 100.")] = None,
    beta: Annotated[float | None, typer.Option(help="Inverse temperature.")] = None,
    mass_squared: Annotated[float | None, typer.Option(help="Of the Gaussian field.")] = None,
    mean: Annotated[float | None, typer.Option(help="Of a class.")] = None,
    std: Annotated[float | None, typer.Option(help="Within a class.")] = None,
    periodic: Annotated[bool, typer.Option("--periodic", help="Periodic along all axes.")] = False,
    regions: Annotated[str | None, typer.Option(help="Sizes a,b,c for curie-weiss.")] = None,
    center: Annotated[str | None, typer.Option(help="Site of A, such as 2,1; the middle if not given.")] = None,
    bond: Annotated[str | None, typer.Option(help="A of domain-walls: faces i,j,k,l; the central one.")] = None,
    block: Annotated[str | None, typer.Option(help="A of domain-walls: the 2x2 faces from i,j.")] = None,
    radius: Annotated[int | None, typer.Option(help="Width of the buffer B.")] = None,
    patch: Annotated[int | None, typer.Option(help="Side of A, 1 if not given.")] = None,
    channel: Annotated[
        str, typer.Option(help="gaussian, bitflip or erasure.", autocompletion=one_of(completions.channels))
    ] = "gaussian",
    schedule: Annotated[
        str | None,
        typer.Option(help="linear, vp or ve; linear if not given.", autocompletion=one_of(completions.schedules)),
    ] = None,
    others: Annotated[
        list[str] | None, typer.Option("--set", help="A number without an option of its own, such as field=0.3.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Noise samples where there is no closed form.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """The conditional mutual information I(A;C|B) of the noisy data, in nats, with its error."""
    from .runs.cmi import assigned, measure_one, options

    lattice = {
        "shape": shape,
        "periodic": periodic or None,
        "center": center,
        "bond": bond,
        "block": block,
        "radius": radius,
        "patch": patch,
    }
    numbers = {"beta": beta, "mass_squared": mass_squared, "mean": mean, "std": std, "regions": regions}
    parameters = options(model, {**lattice, **numbers, **assigned(others or [])}, channel, schedule)
    answer = measure_one({**parameters, "t": t, "n_samples": samples}, seed)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    error = f" ± {answer['stderr']:.2g}" if answer["stderr"] else ""
    counted = f"{answer['n_samples']} samples" if answer["n_samples"] else "exact"
    typer.echo(f"I(A;C|B) = {answer['value']:.6g}{error} nat  ({answer['method']}; {counted})")


@app.command()
def sample(
    model: Annotated[
        str,
        typer.Option(
            help=MODELS,
            autocompletion=one_of(completions.models),
        ),
    ],
    shape: Annotated[str, typer.Option(help="Sites (or faces) along each axis, such as 64x64 or 100.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of samples.")],
    out: Annotated[Path, typer.Option(help="The file of samples, HDF5.", metavar="FILE.h5")],
    beta: Annotated[float | None, typer.Option(help="Inverse temperature.")] = None,
    mass_squared: Annotated[float | None, typer.Option(help="Of the Gaussian field.")] = None,
    mean: Annotated[float | None, typer.Option(help="Of a class.")] = None,
    std: Annotated[float | None, typer.Option(help="Within a class.")] = None,
    others: Annotated[
        list[str] | None, typer.Option("--set", help="A number without an option of its own, such as field=0.3.")
    ] = None,
    periodic: Annotated[bool, typer.Option("--periodic", help="Periodic along all axes.")] = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="Of ising: auto, transfer_matrix, swendsen_wang, ...", autocompletion=one_of(completions.methods)
        ),
    ] = None,
    burn_in: Annotated[int | None, typer.Option(help="Updates before the first sample of a batch.")] = None,
    thin: Annotated[int | None, typer.Option(help="Updates between samples.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Of fields: float64, the default, or float32.", autocompletion=words("float64", "float32")),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides all samples.")] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples per batch, a chain of its own; up to 1024.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=4096, help="Batches drawn at a time; the samples are the same.")
    ] = 1,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Draw samples of a model into an HDF5 file, in bounded memory; a killed run goes on with --resume."""
    with _long_run():
        from .runs.cmi import assigned, integers
        from .runs.sampling import recipe, sample_to_file

        given = {
            "shape": integers(shape, "shape", "64x64", "x"),
            "periodic": periodic or None,
            "beta": beta,
            "mass_squared": mass_squared,
            "mean": mean,
            "std": std,
            **assigned(others or []),
            "dtype": dtype,
            "method": method,
            "burn_in": burn_in,
            "thin": thin,
        }
        plan = recipe(model, given)
        sample_to_file(plan, n, seed, out, batch=batch, workers=workers, resume=resume, force=force)


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="A result file.", metavar="FILE.h5")],
    out: Annotated[Path | None, typer.Option(help="png, pdf or svg; FILE.png if not given.")] = None,
    force: Force = False,
) -> None:
    """Draw a result file."""
    from .store import beside, check_output

    out = out or beside(file, ".png")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise typer.BadParameter(f"must end in .png, .pdf or .svg, got '{out}'", param_hint="--out")
    check_output(out, force=force, resumable=False)
    from .studies.reproduce import draw

    draw(file, out)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="A result file.", metavar="FILE.h5")]) -> None:
    """Print what a result file holds: how it came about, its grids, its table."""
    from .report import describe
    from .results import load

    typer.echo(describe(load(file)), nl=False)


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="A result file.", metavar="FILE.h5")],
    out: Annotated[Path | None, typer.Option(help="FILE.html if not given.", metavar="FILE.html")] = None,
    force: Force = False,
) -> None:
    """One static page of a result file, to open in a browser or to send: figures, tables, parameters."""
    from .store import beside, check_output

    out = out or beside(file, ".html")
    if out.suffix != ".html":
        raise typer.BadParameter(f"must end in .html, got '{out}'", param_hint="--out")
    check_output(out, force=force, resumable=False)
    from .images.page import write_page
    from .results import load

    write_page(load(file), out, file.name)


ImageFile = Annotated[Path, typer.Argument(help="A .npy, .npz, .h5 or IDX file, or a folder.", metavar="IMAGES")]
Key = Annotated[str | None, typer.Option(help="Name of the array in a .npz or .h5 file.")]
Labels = Annotated[Path | None, typer.Option(help="File of labels, if they do not lie beside the images.")]
NMax = Annotated[int | None, typer.Option(help="Largest number of images to use.")]


@app.command()
def probe(
    images: ImageFile,
    out: Annotated[Path, typer.Option(help="The result file, HDF5.", metavar="FILE.h5")] = Path("probe.h5"),
    times: Annotated[str, typer.Option(help="Number of times in (0, 1), or their list 0.2,0.3.")] = "11",
    radii: Annotated[str | None, typer.Option(help="Widths of B, such as 1..12 or 1,2,4 (default: up to 12).")] = None,
    pixel: Annotated[str, typer.Option(help="Pixel A: center, row,column, or average over all pixels.")] = "center",
    channel: Annotated[
        str,
        typer.Option(
            help="gaussian; bitflip or erasure for two-valued images.", autocompletion=one_of(completions.channels)
        ),
    ] = "gaussian",
    schedule: Annotated[
        str, typer.Option(help="Schedule of Gaussian noise.", autocompletion=one_of(completions.schedules))
    ] = "linear",
    key: Key = None,
    labels: Labels = None,
    n_max: NMax = None,
    value_range: ValueRange = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Also probe as many pictures of known truth (default under Gaussian noise of linear schedule).",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Nats that the CMI exceeds inside the windows.")] = 0.01,
    kl: Annotated[float, typer.Option(help="Nats per image that the recommended r(t) may cost.")] = 1.0,
    budget: Annotated[
        float | None, typer.Option(help="Seconds that it may take (default: 2000 training steps a network).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, noise and folds.")] = 0,
    device: Annotated[str, typer.Option(help="Device of torch: cpu, cuda, cuda:1, ...")] = "cpu",
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Map I(A;C|B) of images over times and radii: where must networks be global, and how wide?"""
    options = dict(locals())
    with _long_run(torch=True), _image_warnings():
        from .images.probe import probe

        result = probe(options.pop("images"), rng=options.pop("seed"), **options)
        _print_table(result)


@app.command()
def hybrid(
    images: ImageFile,
    out: Annotated[Path, typer.Option(help="The result file, HDF5.", metavar="FILE.h5")] = Path("hybrid.h5"),
    probe: Annotated[
        Path | None, typer.Option(help="Probe of the same images, for window and r(t).", metavar="PROBE.h5")
    ] = None,
    window: Annotated[str | None, typer.Option(help="Times t1,t2 between which networks are global.")] = None,
    by: Annotated[str, typer.Option(help="Take the probe's window from cmi, or from the error of local nets.")] = "cmi",
    tolerance: Annotated[
        float | None, typer.Option(help="Tolerance of that window (default: the probe's, or 1/4 of the peak error).")
    ] = None,
    radius: Annotated[int, typer.Option(min=1, help="Radius of the local network in the schedules.")] = 2,
    radii: Annotated[str, typer.Option(help="Radii of all local networks, such as 1..6 or 1,2,4.")] = "1..6",
    levels: Annotated[int, typer.Option(help="Number of grey values that pixels are rounded to.")] = 8,
    shrink: Annotated[int, typer.Option(help="Side of the blocks of pixels that are averaged.")] = 1,
    n: Annotated[int, typer.Option("--n", help="Number of images generated by every schedule.")] = 1000,
    steps: Annotated[int, typer.Option(help="Number of reverse steps from noise to image.")] = 60,
    key: Key = None,
    labels: Labels = None,
    n_max: NMax = None,
    value_range: ValueRange = None,
    budget: Annotated[float, typer.Option(help="Seconds of training, about.")] = 1800.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of split, weights and noise.")] = 0,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Generate images by local networks, global ones and both: is global inside the window alone as good?"""
    options = dict(locals())
    from .store import beside, check_output

    picture = beside(out, ".png")
    check_output(picture, resume=resume, force=force)
    with _long_run(torch=True), _image_warnings():
        from .images.hybrid import hybrid
        from .studies.reproduce import draw

        result = hybrid(options.pop("images"), rng=options.pop("seed"), **options)
        draw(out, picture)
        _print_table(result)


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
    from .report import text_table
    from .results import rows

    typer.echo(text_table(rows(result)), nl=False)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """Versions, threads, optional parts, and a ten-second test against exact values; exit code 1 where one is off."""
    from .doctor import examine, show

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        show(report)
    if not report.healthy:
        raise typer.Exit(1)


@benchmark_app.callback()
def benchmark() -> None:
    """Methods on trial against exact answers."""


@benchmark_app.command("estimators")
def benchmark_estimators(
    out: Annotated[Path, typer.Option(help="Rows, .jsonl or .csv (beside a .jsonl).")] = Path("estimators.jsonl"),
    tasks: Annotated[
        str | None, typer.Option(help="Names a,b,...; all if not given.", autocompletion=some_of(completions.tasks))
    ] = None,
    estimators: Annotated[
        str | None,
        typer.Option(
            help="Names x,y,...; all that are known if not given.", autocompletion=some_of(completions.estimators)
        ),
    ] = None,
    n: Annotated[str | None, typer.Option("--n", help="Samples; 5000,20000,60000 if neither n nor seconds.")] = None,
    seconds: Annotated[str | None, typer.Option(help="Budgets of the streaming track, such as 10,60.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10**6, help="Repetitions of every point.")] = 10,
    figure: Annotated[Path | None, typer.Option(help="Heat table, png, pdf or svg.")] = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Estimators of I(A;C|B) on tasks of known truth: errors in units of the statistical floor, coverage, cost."""
    with _long_run(torch=True):
        from .runs.estimator_benchmark import trial

        lists = {"task_names": tasks, "estimators": estimators, "n": n, "seconds": seconds}
        answer = trial(out, **lists, seeds=seeds, figure=figure, resume=resume, force=force)
    typer.echo(answer, nl=False)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """One sentence for a refused input, None for a defect."""
    if hasattr(error, "format_message"):  # a usage error, whichever click typer brings
        text = " ".join(error.format_message().split()).rstrip(".")
        context = getattr(error, "ctx", None)
        return f"{text}; see {context.command_path} --help" if context else text
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    from .errors import InputError

    return str(error) if isinstance(error, InputError) else None


if __name__ == "__main__":
    sys.exit(main())
