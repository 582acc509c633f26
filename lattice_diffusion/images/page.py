"""One static HTML page of a result: what was found in words, figures, tables, parameters; no script, no network.

A probe of images gets its findings, its data, windows and tables over time and radius; any other result its figure, its
table and its grids. The template `page.html` escapes every text, as the file may be anyone's, and its policy
(Content-Security-Policy) forbids all that the page does not need.
"""

import base64
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..report import describe, table_cells, with_error
from ..results import grids, reading, rows, tree
from ..store import atomic_write
from .calibration import PREFIX, TITLES, distance, distance_error, share_found
from .decisions import GLOBAL, NAME

SIGNIFICANT = 3.0
SHOWN = 1e-6  # nats; less is shown as 0, without an error
MISSED = 5.0  # errors by which a measured CMI lies below the exact one
Group = Mapping[Any, Any]  # variables by name
Cell = str | int | tuple[str, str]  # a text, or a text and its class


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in the order of these fields.

    Attributes:
        picture: a PNG in base64; alternative: what it shows; left: columns of the table that are set flush left.
    """

    title: str
    findings: Sequence[str] = ()
    warnings: Sequence[str] = ()
    text: str = ""
    picture: str = ""
    alternative: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    left: Sequence[int] = ()
    code: str = ""


def write_page(result: xr.DataTree, path: str | os.PathLike[str], name: str = "") -> None:
    """Write the page of a result; `name` is that of its file.

    Raises OSError where the page cannot be written, ResultError (an InputError) for a result that lacks what is shown.
    """
    path = Path(path)
    from ..plots import style

    with reading(Path(name or path)), style():
        page = html_page(result, name)
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")


def html_page(result: xr.DataTree, file_name: str = "") -> str:
    """Return the whole page as text."""
    parameters = _parameters(result)
    is_probe = NAME in grids(result) and "cmi_above_null" in grids(result)[NAME]
    title = f"Probe of {_entries(parameters, 'data').get('file', 'images')}" if is_probe else _title(result)
    sections = _probe_sections(result, parameters) if is_probe else _plain_sections(result)
    subtitle = ", ".join(filter(None, (file_name, str(result.attrs.get("created", "")))))
    return _rendered(title, subtitle, [*sections, _provenance(result, parameters)], complete=result.attrs["complete"])


def _rendered(title: str, subtitle: str, sections: Sequence[Section], *, complete: bool = True) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    template = Environment(
        loader=PackageLoader("lattice_diffusion", "images"), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html")
    return template.render(title=title, subtitle=subtitle, complete=complete, sections=sections)


def benchmark_page(path: Path) -> str:
    """Return the page of a benchmark of estimators, as text, from its rows. InputError for a file of something else."""
    from ..estimators.benchmark import read
    from ..estimators.scores import leaderboard_cells, summary, table_cells
    from ..plots import style
    from ..runs.estimator_benchmark import heat_table, reasons

    measured = read(path)
    scores = summary(measured)
    header, *best = leaderboard_cells(scores)
    first = {line[0]: line for line in reversed(best) if line[1] != "Oracle" and line[2]}
    found = [
        f"With {n} samples {line[1]} is nearest to the truth: its error is {line[2]} times the statistical floor in "
        f"the median over tasks, {line[3]} at worst."
        for n, line in first.items()
    ]
    with style():
        picture = _picture(heat_table(scores))
    given = {row["estimator_id"]: json.dumps(row["estimator_params"]) for row in measured}
    head, *lines = table_cells(scores)
    sections = [
        Section("What was found", found, [f"{name} failed: {why}" for name, why in reasons(scores).items()]),
        Section("Errors in units of the floor", picture=picture, alternative="error of every estimator on every task"),
        Section("Leaderboard", header=header, rows=best, left=(1,)),
        Section("Scores", text="Information in nats, time in CPU seconds.", header=head, rows=lines, left=(0, 1, 11)),
        Section("Parameters", header=("estimator", "parameters"), rows=list(given.items()), left=(0, 1)),
    ]
    return _rendered("Benchmark of estimators", f"{path.name}, {len(measured)} rows", sections)


def _title(result: xr.DataTree) -> str:
    from ..studies import STUDIES, find

    name = str(result.attrs.get("name", ""))
    return find(name).title if name in STUDIES else name or "Result"


def _parameters(result: xr.DataTree) -> dict[str, Any]:
    """Return the parameters as plain objects."""
    text = str(result.attrs.get("parameters", ""))
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    return found if isinstance(found, dict) else {"parameters": found}


def _entries(parameters: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a parameter that is an object itself, empty where it is not there."""
    found = parameters.get(key)
    return found if isinstance(found, dict) else {}


def _provenance(result: xr.DataTree, parameters: dict[str, Any]) -> Section:
    lines = [(str(key), str(value)) for key, value in result.attrs.items() if key != "parameters"]
    lines += [(key, json.dumps(value, ensure_ascii=False)) for key, value in parameters.items()]
    return Section("Parameters and provenance", header=("attribute", "value"), rows=lines, left=(0, 1))


def _picture(figure: Any) -> str:
    """Return a matplotlib figure as a PNG in base64, and release it."""
    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(picture.getvalue()).decode()


def _plain_sections(result: xr.DataTree) -> Iterator[Section]:
    from ..plots.grids import panels, plot_grids
    from ..studies import STUDIES
    from ..studies.reproduce import figure_of

    name = str(result.attrs.get("name"))
    if name in ("image-hybrid", "compare") or (name in STUDIES and rows(result)):
        yield Section("Figure", picture=_picture(figure_of(result)), alternative="figure of the result")
    if rows(result):
        yield _table(result)
    if name != "image-hybrid":
        for grid in panels(result):
            yield Section(f"Grid {grid}", picture=_picture(plot_grids(result, grid)), alternative=f"grid {grid}")
    yield Section("What the file holds", code=describe(tree({"": ""}, grids(result))).strip())


def _table(result: xr.DataTree) -> Section:
    header, *lines = table_cells(rows(result))
    return Section("Table", header=header, rows=lines, left=(0, 1, 5, 6))


# -- probe ----------------------------------------------------------------------------------------------------


def _probe_sections(result: xr.DataTree, parameters: dict[str, Any]) -> Iterator[Section]:
    from ..plots.label_windows import plot_probe_label_windows
    from .figures import calibrations, plot_calibration, plot_probe_panels

    probe = grids(result)[NAME]
    known = {name: grids(result)[name] for name in calibrations(result) if name != NAME}
    verdicts = {name: calibration_verdict(group) for name, group in known.items()}
    missed = any(missed for _, missed in verdicts.values())
    yield Section("What was found", _findings(probe), list(_warnings(probe, missed)))
    data = [(key.replace("_", " "), _plain(value)) for key, value in _entries(parameters, "data").items()]
    for title, lines in (("Data", data), ("How it was measured", _plan(parameters))):
        if lines:
            yield Section(title, rows=lines, left=(0, 1))
    yield Section("Figures", picture=_picture(plot_probe_panels(result)), alternative="four panels of the probe")
    if "label_information_lost" in probe:
        figure = plot_probe_label_windows(probe.variables).figure  # type: ignore[arg-type]
        alternative = "nonlocality and speciation windows on one axis"
        yield Section("Where the label is decided", picture=_picture(figure), alternative=alternative)
    for name, group in known.items():
        kind = TITLES.get(name.removeprefix(PREFIX), name)
        header, times = _calibration_table(group)
        yield Section(
            f"Calibration on known truth: {kind}",
            text=verdicts[name][0],
            picture=_picture(plot_calibration(result, name)),
            alternative=f"measured beside exact, {kind}",
            header=header,
            rows=times,
        )
    yield _cmi_table(probe)
    yield _time_table(probe)
    yield _window_table(probe)
    if rows(result):
        yield _table(result)


def _plan(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters that decide the numbers, in words."""
    plan = _entries(parameters, "plan")
    if not plan:
        return []
    words = {"pixel": "pixel A", "steps": "training steps of a network", "width": "width of networks"}
    pixel = plan["pixel"] if plan.get("pixel") is not None else "another one in every image"
    lines: dict[str, Any] = {**plan, "pixel": pixel}
    lines |= {name: parameters[name] for name in ("channel", "tolerance") if name in parameters}
    levels = _entries(parameters, "pixel_levels")
    if levels:
        share = _plain(levels["unresolved"])
        lines["levels of A"] = f"{levels['levels']}, which leave {share} of its variance open"
    return [(words.get(name, name), _plain(value)) for name, value in lines.items()]


def calibration_verdict(group: Group) -> tuple[str, bool]:
    """Return how far the probe lies from what is exact, in words, and whether users should be warned of it."""
    t, radius = group["t"].values, group["radius"].values
    gap = group["cmi_above_null"].values - group["cmi_exact"].values
    k, j = np.unravel_index(int(np.abs(gap).argmax()), gap.shape)
    truth = _number(group, "cmi_exact", (k, j))
    sentences = [
        f"The probe finds {share_found(group):.0%} of I(A;C|B) beyond r = {radius[0]}, summed over times. "
        f"It is furthest from exact at t = {t[k]:g}, r = {radius[j]}: "
        f"{_number(group, 'cmi_above_null', (k, j))} for {truth} nats."
    ]
    for quantity, keys in (("ξ(t)", ("markov_length",)), ("Ends of windows", ("window_start", "window_stop"))):
        z = np.concatenate([distance(group, key) for key in keys])
        z = z[np.isfinite(z)]
        if z.size:
            rms, most = float(np.sqrt((z**2).mean())), float(np.abs(z).max())
            sentences.append(f"{quantity}: {z.size} compared, r.m.s. z = {rms:.1f}, largest |z| = {most:.1f}.")
        else:
            sentences.append(f"{quantity}: none in both to compare.")
    error = float(distance_error(group, "cmi")[k, j])
    missed = bool(-gap[k, j] > max(MISSED * error, float(group["tolerance"].values)))
    return " ".join(sentences), missed


def _findings(probe: Group) -> list[str]:
    """Return the answer to the user's question, a sentence each."""
    tolerance, r = float(probe["tolerance"].values), int(probe["radius"].values[0])
    if probe["n_nonlocal_times"].values[0]:
        window = _interval(probe, "window", 0)
        sentences = [f"Nonlocality window (I(A;C|B) above {tolerance:g} nats beyond r = {r}): {window}."]
    else:
        sentences = [
            f"I(A;C|B) was nowhere found above {tolerance:g} nats beyond r = {r}: as far as the probe can see, a local "
            "network suffices at every time."
        ]
    if "speciation_seen" in probe:
        seen = bool(probe["speciation_seen"].values)
        window = _interval(probe, "speciation") if seen else "none at this tolerance"
        sentences.append(f"Speciation window (the label is being decided): {window}.")
    if "recommended_radius" in probe:
        sentences.append(
            f"Recommended receptive field: {_schedule_words(probe)}. It saves {float(probe['cost_saving'].values):.0%} "
            f"of the pixels that a global network would read, at a KL of {_number(probe, 'schedule_kl')} nats per "
            f"image (budget {float(probe['budget'].values):g})."
        )
    return sentences


def _warnings(probe: Group, missed: bool) -> Iterator[str]:
    tolerance, typical = float(probe["tolerance"].values), float(np.median(probe["cmi_above_null_stderr"].values))
    if tolerance < SIGNIFICANT * typical:
        yield (
            f"The tolerance of {tolerance:g} nats is below three standard errors of the information (typically "
            f"{typical:.2g} nats): ends of windows may be noise."
        )
    if missed:
        yield (
            "From as many pictures of known truth the probe misses information that is there (see the calibration): "
            "what it does not find in the images may be there too, above all where it is carried by parities of many "
            "pixels, as in closed loops."
        )


def _schedule_words(probe: Group) -> str:
    """Return runs of one radius in order of time, as in "r = 2 for t = 0.1 to 0.4"."""
    t, chosen = probe["t"].values, probe["recommended_radius"].values
    cuts = [0, *(np.flatnonzero(np.diff(chosen)) + 1), len(chosen)]
    runs = []
    for a, b in itertools.pairwise(cuts):
        when = f"at t = {t[a]:g}" if b == a + 1 else f"for t = {t[a]:g} to {t[b - 1]:g}"
        runs.append(f"{_radius(int(chosen[a]))} {when}")
    return ", ".join(runs)


def _lines(group: Group, columns: Sequence[tuple[str, str, int | None]]) -> tuple[list[str], list[list[Cell]]]:
    """Return header and lines of a table of variables over time, from titles, names and indices of radii."""
    lines: list[list[Cell]] = []
    for k, t in enumerate(group["t"].values):
        places = [(name, k if j is None else (k, j)) for _, name, j in columns]
        lines.append([f"{t:g}", *(_number(group, name, place) for name, place in places)])
    return ["t", *(title for title, _, _ in columns)], lines


def _calibration_table(group: Group) -> tuple[list[str], list[list[Cell]]]:
    """Return header and lines of measured beside exact, time by time."""
    r, total = group["radius"].values, "total_information"
    columns: list[tuple[str, str, int | None]] = [("I(A;BC)", total, None), ("exact", f"{total}_exact", None)]
    for j in sorted({0, min(1, r.size - 1)}):
        columns += [(f"I(A;C|B), r = {r[j]}", "cmi_above_null", j), ("exact", "cmi_exact", j)]
    return _lines(group, [*columns, ("ξ, pixels", "markov_length", None), ("exact", "markov_length_exact", None)])


def _cmi_table(probe: Group) -> Section:
    cmi, stderr = probe["cmi_above_null"].values, probe["cmi_above_null_stderr"].values
    null = "above that of permuted C, " if "cmi_null" in probe else ""
    lines: list[list[Cell]] = []
    for k, t in enumerate(probe["t"].values):
        pairs = zip(cmi[k].tolist(), stderr[k].tolist(), strict=True)
        cells = [(with_error(x, error), "" if x > SIGNIFICANT * error else "zero") for x, error in pairs]
        lines.append([f"{t:g}", *cells])
    return Section(
        "Conditional mutual information, nats",
        text=f"I(A;C|B), {null}with one standard error; grey: less than three standard errors above zero.",
        header=["t", *(f"r = {r}" for r in probe["radius"].values)],
        rows=lines,
    )


TIMES = {
    "total_information": "I(A;BC), nats",
    "markov_length": "ξ, sites",
    "label_information": "I(S;ABC), nats",
    "label_information_b": "I(S;B), nats",
    "forward_backward": "P_FB",
}


def _time_table(probe: Group) -> Section:
    header, lines = _lines(probe, [(title, name, None) for name, title in TIMES.items() if name in probe])
    if "recommended_radius" in probe:
        header.append("recommended")
        for line, r in zip(lines, probe["recommended_radius"].values, strict=True):
            line.append(_radius(int(r)))
    for line, note in zip(lines, probe["markov_length_note"].values, strict=True):
        line.append(str(note))
    return Section("Time by time", header=[*header, "about ξ"], rows=lines, left=(len(header),))


def _window_table(probe: Group) -> Section:
    counts = probe["n_nonlocal_times"].values.tolist()
    lines = [
        (str(r), _interval(probe, "window", j) if counts[j] else "none", str(counts[j]))
        for j, r in enumerate(probe["radius"].values)
    ]
    header = ("r", f"I(A;C|B) > {float(probe['tolerance'].values):g} nats", "times above")
    return Section("Nonlocality window by radius", header=header, rows=lines, left=(1,))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(group: Group, name: str, index: Any = ()) -> str:
    """Return a value with its error; a dash for NaN."""
    value = float(group[name].values[index])
    stderr = float(group[f"{name}_stderr"].values[index]) if f"{name}_stderr" in group else 0.0
    if abs(value) < SHOWN and stderr < SHOWN:
        return "0"
    return "–" if np.isnan(value) else with_error(value, stderr if stderr > SHOWN else 0.0)


def _interval(group: Group, name: str, index: Any = ()) -> str:
    """Return a window in words; an end that the times measured do not bracket is said to be outside."""
    t = group["t"].values
    start, stop = (_number(group, f"{name}_{end}", index) for end in ("start", "stop"))
    begin = f"before t = {t[0]:g}" if start == "–" else f"t = {start}"
    end = f"after t = {t[-1]:g}" if stop == "–" else f"t = {stop}"
    return f"from {begin} to {end}"


def _radius(r: int) -> str:
    return "the whole image" if r == GLOBAL else f"r = {r}"
