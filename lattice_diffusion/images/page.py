"""One static HTML page of a result: what was found in words, how sure that is, figures, tables; no script, no network.

A probe or hybrid of images says in sentences what it found and what makes that doubtful; any other result has its
figure, its table and its grids. The template `page.html` escapes every text, as the file may be anyone's, and its
policy (Content-Security-Policy) forbids all that the page does not need.
"""

import base64
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..report import describe, table_cells, with_error
from ..results import grids, reading, rows, tree
from ..store import atomic_write
from .calibration import PREFIX, TITLES, calibration_doubts, calibration_verdict
from .conclusions import (
    HYBRID,
    PROBE,
    SCHEDULES,
    hybrid_doubts,
    hybrid_findings,
    interval,
    probe_doubts,
    probe_findings,
    radius_words,
)
from .decisions import SIGNIFICANT, Group

SHOWN = 1e-6  # nats; less is shown as 0, without an error
Cell = str | int | tuple[str, str]  # a text, or a text and its class
NOISE = {
    "linear": "x_t = (1 - t) x_0 + t z with z ~ N(0, 1): α = 1 - t, σ = t",
    "vp": "x_t = cos(πt/2) x_0 + sin(πt/2) z with z ~ N(0, 1)",
    "ve": "x_t = x_0 + t/(1 - t) z with z ~ N(0, 1): α = 1, σ = t/(1 - t)",
    "bitflip": "every pixel is flipped with probability t/2",
    "erasure": "every pixel is erased with probability t",
}
WORDS = {"pixel": "pixel A", "steps": "training steps of a network", "width": "width of networks"}


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in the order of these fields.

    Attributes:
        picture: a PNG in base64; alternative: what it shows; left: columns of the table that are set flush left.
    """

    title: str
    text: str = ""
    picture: str = ""
    alternative: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    left: Sequence[int] = ()
    code: str = ""


def summary(result: xr.DataTree) -> tuple[list[str], list[str]]:
    """Return what makes the conclusions of a probe or hybrid doubtful, and its findings; nothing of other results."""
    groups, warned = grids(result), [str(x) for x in _parameters(result).get("warnings", [])]
    if _is_probe(result):
        probe = groups[PROBE]
        return [*probe_doubts(probe), *calibration_doubts(groups), *warned], list(probe_findings(probe))
    if result.attrs.get("name") == HYBRID:
        return [*hybrid_doubts(groups), *warned], list(hybrid_findings(groups))
    return [], []


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
    images = str(_entries(parameters, "data").get("file", "images"))
    title, sections = _title(result), _plain_sections(result)
    if _is_probe(result):
        title, sections = f"Probe of {images}", _probe_sections(result, parameters)
    elif result.attrs.get("name") == HYBRID:
        parameters = {**parameters, **_entries(parameters, "plan")}
        images = str(_entries(parameters, "data").get("file", "images"))
        title, sections = f"Local and global networks on {images}", _hybrid_sections(result, parameters)
    subtitle = ", ".join(filter(None, (file_name, str(result.attrs.get("created", "")))))
    shown = [*sections, _provenance(result)]
    return _rendered(title, subtitle, shown, *summary(result), complete=result.attrs["complete"])


def _rendered(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    doubts: Sequence[str] = (),
    findings: Sequence[str] = (),
    *,
    complete: bool = True,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    template = Environment(
        loader=PackageLoader("lattice_diffusion", "images"), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html")
    sections = [one for one in sections if one.text or one.picture or one.rows or one.code]
    texts = {"title": title, "subtitle": subtitle, "doubts": doubts, "findings": findings}
    return template.render(**texts, complete=complete, sections=sections)


def benchmark_page(path: Path) -> str:
    """Return the page of a benchmark of estimators, as text, from its rows. InputError for a file of something else."""
    from ..estimators import scores
    from ..estimators.benchmark import read
    from ..plots import style
    from ..runs.estimator_benchmark import heat_table, reasons

    measured = read(path)
    scored = scores.summary(measured)
    header, *best = scores.leaderboard_cells(scored)
    first = {line[0]: line for line in reversed(best) if line[1] != "Oracle" and line[2]}
    found = [
        f"With {n} samples {line[1]} is nearest to the truth: its error is {line[2]} times the statistical floor in "
        f"the median over tasks, {line[3]} at worst."
        for n, line in first.items()
    ]
    with style():
        picture = _picture(heat_table(scored))
    given = {row["estimator_id"]: json.dumps(row["estimator_params"]) for row in measured}
    head, *lines = scores.table_cells(scored)
    sections = [
        Section("Errors in units of the floor", picture=picture, alternative="error of every estimator on every task"),
        Section("Leaderboard", header=header, rows=best, left=(1,)),
        Section("Scores", text="Information in nats, time in CPU seconds.", header=head, rows=lines, left=(0, 1, 11)),
        Section("Parameters", header=("estimator", "parameters"), rows=list(given.items()), left=(0, 1)),
    ]
    failed = [f"{name} failed: {why}" for name, why in reasons(scored).items()]
    return _rendered("Benchmark of estimators", f"{path.name}, {len(measured)} rows", sections, failed, found)


def _is_probe(result: xr.DataTree) -> bool:
    return PROBE in grids(result) and "cmi_above_null" in grids(result)[PROBE]


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


def _provenance(result: xr.DataTree) -> Section:
    lines = [(str(key), str(value)) for key, value in result.attrs.items() if key != "parameters"]
    lines += [(key, json.dumps(value, ensure_ascii=False)) for key, value in _parameters(result).items()]
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
    if name == "compare" or (name in STUDIES and rows(result)):
        yield Section("Figure", picture=_picture(figure_of(result)), alternative="figure of the result")
    yield _table(result)
    for grid in panels(result):
        yield Section(f"Grid {grid}", picture=_picture(plot_grids(result, grid)), alternative=f"grid {grid}")
    yield Section("What the file holds", code=describe(tree({"": ""}, grids(result))).strip())


def _table(result: xr.DataTree) -> Section:
    header, *lines = table_cells(rows(result))
    return Section("All numbers", header=header, rows=lines, left=(0, 1, 5, 6))


def _facts(title: str, facts: dict[str, Any], text: str = "") -> Section:
    lines = [(WORDS.get(key, key.replace("_", " ")), _plain(value)) for key, value in facts.items()]
    return Section(title, text=text, rows=[line for line in lines if line[1]], left=(0, 1))


# -- probe ----------------------------------------------------------------------------------------------------


def _probe_sections(result: xr.DataTree, parameters: dict[str, Any]) -> Iterator[Section]:
    from ..plots.label_windows import plot_probe_label_windows
    from .figures import calibrations, noise_axis, plot_calibration, plot_probe_panels

    probe = grids(result)[PROBE]
    known = {name: grids(result)[name] for name in calibrations(result) if name != PROBE}
    yield _tradeoffs(probe)
    yield _checks(probe)
    yield Section("Figures", picture=_picture(plot_probe_panels(result)), alternative="panels of the probe")
    if "speciation_seen" in probe:
        ax = plot_probe_label_windows(probe.variables)  # type: ignore[arg-type]
        noise_axis(ax, probe)
        alternative = "nonlocality and speciation windows on one axis"
        yield Section("Where the label is decided", picture=_picture(ax.figure), alternative=alternative)
    for name, group in known.items():
        kind = TITLES.get(name.removeprefix(PREFIX), name)
        yield Section(
            f"Calibration on known truth: {kind}",
            text=calibration_verdict(group)[0],
            picture=_picture(plot_calibration(result, name)),
            alternative=f"measured beside exact, {kind}",
            **_calibration_table(group),
        )
    yield _cmi_table(probe)
    yield _time_table(probe)
    yield _window_table(probe)
    noise = NOISE.get(str(parameters.get("schedule" if parameters.get("channel") == "gaussian" else "channel")), "")
    facts = {**_entries(parameters, "data"), **_entries(parameters, "plan")}
    if facts.get("pixel", ...) is None:
        facts["pixel"] = "another one in every image"
    facts |= {name: parameters[name] for name in ("tolerance", "bits_per_dim") if name in parameters}
    if levels := _entries(parameters, "pixel_levels"):
        facts["levels of A"] = f"{levels['levels']}, which leave {_plain(levels['unresolved'])} of its variance open"
    yield _facts("How it was done", facts, f"Noise: {noise}; snr = α²/σ². A network for every fold." if noise else "")
    yield _table(result)


def _tradeoffs(probe: Group) -> Section:
    """Return the table of what a receptive field costs and saves."""
    if "schedule" not in probe:
        return Section("")
    lines = [
        (str(name), _number(probe, "schedule_bits", k), f"{float(probe['schedule_saving'].values[k]):.0%}")
        for k, name in enumerate(probe["schedule"].values)
    ]
    lines.append(("the whole image always", "0", "0%"))
    text = "Bits per dimension (value of a pixel) that local networks lose by the area law, against what they save."
    header = ("receptive field", "bits per dimension lost", "pixels saved")
    return Section("Trade-offs", text=text, header=header, rows=lines, left=(0,))


def _checks(probe: Group) -> Section:
    """Return how sure the findings are."""
    if "check" not in probe:
        return Section("")
    columns = (probe[key].values.tolist() for key in ("check", "check_value", "check_limit"))
    lines: list[list[Cell]] = [
        [name, f"{value:.2g}", f"{limit:.2g}", "passed" if value <= limit else ("failed", "bad")]
        for name, value, limit in zip(*columns, strict=True)
    ]
    text = "Nothing is concluded unless all of these pass; each is shown at the time and radius where it is worst."
    header = ("check", "nats", "limit", "")
    return Section("How sure is it?", text=text, header=header, rows=lines, left=(0, 3))


def _lines(
    group: Group, columns: Sequence[tuple[str, str, int | None]], dim: str = "t"
) -> tuple[list[str], list[list[Cell]]]:
    """Return header and lines of a table of variables over noise levels, from titles, names and indices of radii."""
    lines: list[list[Cell]] = []
    for k, (t, log_snr) in enumerate(zip(group[dim].values, group["log_snr"].values, strict=True)):
        places = [(name, k if j is None else (k, j)) for _, name, j in columns]
        units = [f"{t:g}", f"{np.exp(-log_snr / 2):.3g}", f"{log_snr:+.1f}"]
        lines.append([*units, *(_number(group, name, place) for name, place in places)])
    return [dim, "σ/α", "log snr", *(title for title, _, _ in columns)], lines


def _calibration_table(group: Group) -> dict[str, Any]:
    """Return header and rows of measured beside exact, time by time."""
    r, total = group["radius"].values, "total_information"
    columns: list[tuple[str, str, int | None]] = [("I(A;BC)", total, None), ("exact", f"{total}_exact", None)]
    for j in sorted({0, min(1, r.size - 1)}):
        columns += [(f"I(A;C|B), r = {r[j]}", "cmi_above_null", j), ("exact", "cmi_exact", j)]
    if "markov_length" in group:
        columns += [("ξ, pixels", "markov_length", None), ("exact", "markov_length_exact", None)]
    header, lines = _lines(group, columns)
    return {"header": header, "rows": lines}


def _cmi_table(probe: Group) -> Section:
    cmi, stderr = probe["cmi_above_null"].values, probe["cmi_above_null_stderr"].values
    null = "above that of permuted C, " if "cmi_null" in probe else ""
    header, lines = _lines(probe, [(f"r = {r}", "cmi_above_null", j) for j, r in enumerate(probe["radius"].values)])
    for line, grey in zip(lines, cmi <= SIGNIFICANT * stderr, strict=True):
        line[3:] = [(str(cell), "zero") if x else cell for cell, x in zip(line[3:], grey, strict=True)]
    return Section(
        "Conditional mutual information, nats",
        text=f"I(A;C|B), {null}with one standard error; grey: less than three standard errors above zero.",
        header=header,
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
    left = ()
    for name, title, words in (
        ("recommended_radius", "recommended", lambda r: radius_words(int(r))),
        ("markov_length_note", "about ξ", str),
    ):
        if name in probe:
            left = (len(header),)
            header.append(title)
            for line, value in zip(lines, probe[name].values, strict=True):
                line.append(words(value))
    text = "Errors of ξ include that its prefactor r^-p is not known, p from 0 to 1/2." if left else ""
    return Section("Time by time", text=text, header=header, rows=lines, left=left)


def _window_table(probe: Group) -> Section:
    if "n_nonlocal_times" not in probe:
        return Section("")
    counts = probe["n_nonlocal_times"].values.tolist()
    lines = [
        (str(r), interval(probe, "window", j) if counts[j] else "none", str(counts[j]))
        for j, r in enumerate(probe["radius"].values)
    ]
    header = ("r", f"I(A;C|B) > {float(probe['tolerance'].values):g} nats", "times above")
    return Section("Nonlocality window by radius", header=header, rows=lines, left=(1,))


# -- hybrid ---------------------------------------------------------------------------------------------------


def _hybrid_sections(result: xr.DataTree, parameters: dict[str, Any]) -> Iterator[Section]:
    from .figures import MEASURES, plot_hybrid

    made = grids(result)["generation"]
    names = [str(name) for name in made["schedule"].values]
    cost = made["cost"].values / made["cost"].values[names.index("GGG")]
    shown = {"bits": "bits per dimension lost", **MEASURES, "class_entropy": "entropy of the class (nats)"}
    shown = {name: title for name, title in shown.items() if name in made}
    lines = [
        [SCHEDULES.get(name, name), f"{1 - cost[k]:.0%}", *(_number(made, key, k) for key in shown)]
        for k, name in enumerate(names)
    ]
    real = ["–" if key == "bits" else _number(made, f"real_{key}") for key in shown]
    yield Section(
        "Trade-offs",
        text="What each schedule saves, and how far its images are from real ones; last line: other real images.",
        header=["networks", "multiply-adds saved", *shown.values()],
        rows=[*lines, ["real images", "–", *real]],
        left=(0,),
    )
    picture = _picture(plot_hybrid(result))
    yield Section("Figures", picture=picture, alternative="quality against cost, errors, recovery, images")
    radii = grids(result)["denoising"]["radius"].values
    header, lines = _lines(grids(result)["denoising"], [(radius_words(int(r)), "mse", j) for j, r in enumerate(radii)])
    yield Section("Squared error of a pixel, by receptive field", header=header, rows=lines)
    facts = {**_entries(parameters, "data"), **_entries(parameters, "training"), **_entries(parameters, "effort")}
    facts |= {name: parameters[name] for name in ("levels", "shrink", "radius", "window") if name in parameters}
    facts.pop("classes", None)
    yield _facts("How it was done", facts, f"Noise: {NOISE['linear']}; snr = α²/σ².")
    yield _table(result)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(group: Group, name: str, index: Any = ()) -> str:
    """Return a value with its error; a dash for NaN."""
    value = float(group[name].values[index])
    stderr = float(group[f"{name}_stderr"].values[index]) if f"{name}_stderr" in group else 0.0
    if abs(value) < SHOWN and stderr < SHOWN:
        return "0"
    return "–" if np.isnan(value) else with_error(value, stderr if stderr > SHOWN else 0.0)
