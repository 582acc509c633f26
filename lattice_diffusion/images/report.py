"""One static HTML page of a result file: figures inside it, no script, no network, every text escaped.

A probe of images gets what it found in words, its data, windows and tables over time and radius; any other result
its figure, its table and its grids. The page's own policy (Content-Security-Policy) forbids all that it does not need.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import studies
from ..report import describe, with_error
from ..results import grids, reading, rows, tree
from ..store import atomic_write
from .calibration import PREFIX, TITLES, distance, distance_error, share_found
from .decisions import GLOBAL, NAME
from .web_page import document, escape, image, section, table

SIGNIFICANT = 3.0
SHOWN = 1e-6  # nats; less is shown as 0, and as no error
MISSED = 5.0  # errors by which a measured CMI lies below the exact one
Variables = dict[str, xr.Variable]


def write_page(result: xr.DataTree, path: str | os.PathLike[str], name: str = "") -> None:
    """Write the page of a result in one step; `name` is that of its file.

    Raises OSError where the page cannot be written, ResultError (an InputError) for a result that lacks what is shown.
    """
    import matplotlib

    matplotlib.use("Agg")
    path = Path(path)
    with reading(Path(name or path)):
        page = html_page(result, name)
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")


def html_page(result: xr.DataTree, file_name: str) -> str:
    """The whole page as text."""
    probe = NAME in grids(result) and "cmi_above_null" in grids(result)[NAME]
    name = str(result.attrs.get("name", ""))
    title = f"Probe of {_data(result).get('file', 'images')}" if probe else _title(name)
    body = "\n".join(_probe_sections(result) if probe else _plain_sections(result))
    subtitle = f"{file_name}, {result.attrs.get('created', '')}"
    return document(title, subtitle, f"{_state(result)}{body}\n{_provenance(result)}")


def _title(name: str) -> str:
    return studies.find(name).title if name in studies.STUDIES else name or "Result"


def _parameters(result: xr.DataTree) -> Any:
    """The parameters as plain objects; the text itself where it is not JSON."""
    text = str(result.attrs.get("parameters", ""))
    try:
        return json.loads(text)
    except ValueError:
        return text


def _data(result: xr.DataTree) -> dict[str, Any]:
    parameters = _parameters(result)
    data = parameters.get("data") if isinstance(parameters, dict) else None
    return data if isinstance(data, dict) else {}


def _plan(result: xr.DataTree) -> list[tuple[str, str]]:
    """The parameters that decide the numbers, in words."""
    parameters = _parameters(result)
    plan = parameters.get("plan") if isinstance(parameters, dict) else None
    if not isinstance(plan, dict):
        return []
    words = {
        "pixel": "pixel A",
        "batch_size": "images a step",
        "steps": "steps a network",
        "width": "width of networks",
    }
    plain = {**plan, "pixel": plan["pixel"] if plan.get("pixel") is not None else "another one in every image"}
    asked = {name: parameters[name] for name in ("channel", "tolerance") if name in parameters}
    if "pixel_levels" in parameters:
        levels, unresolved = (parameters["pixel_levels"][name] for name in ("levels", "unresolved"))
        asked["levels of A"] = f"{levels}, which leave {_plain(unresolved)} of its variance open"
    return [(words.get(name, name), _plain(value)) for name, value in {**plain, **asked}.items()]


def _state(result: xr.DataTree) -> str:
    return (
        "" if result.attrs["complete"] else '<p class="warn">This result is not finished; numbers may be missing.</p>\n'
    )


def _provenance(result: xr.DataTree) -> str:
    parameters = _parameters(result)
    text = parameters if isinstance(parameters, str) else "\n".join(_json_lines(parameters))
    lines = [(key, value) for key, value in result.attrs.items() if key != "parameters"]
    return section(
        "Parameters and provenance", table(["attribute", "value"], lines, text=(0, 1)), f"<pre>{escape(text)}</pre>"
    )


def _json_lines(value: Any) -> Iterator[str]:
    """JSON with a line for every entry of an object, and of objects in it; lists stay on one line."""
    if not isinstance(value, dict):
        yield json.dumps(value, ensure_ascii=False)
        return
    yield "{"
    for k, (key, entry) in enumerate(value.items()):
        lines = list(_json_lines(entry))
        lines[0] = f"{json.dumps(key, ensure_ascii=False)}: {lines[0]}"
        lines[-1] += "," if k + 1 < len(value) else ""
        yield from (f"  {line}" for line in lines)
    yield "}"


def _plain_sections(result: xr.DataTree) -> Iterator[str]:
    figure = _figure(result)
    if figure is not None:
        yield section("Figure", image(figure, "figure of the result"))
    if rows(result):
        yield _rows(result)
    yield section("What the file holds", f"<pre>{escape(describe(tree({'': ''}, grids(result))).strip())}</pre>")


def _figure(result: xr.DataTree) -> Any:
    """The figure of the study or hybrid, a plain one where a CMI was measured, None otherwise."""
    name = str(result.attrs.get("name"))
    if name in studies.STUDIES and rows(result):
        return studies.find(name).figure(result)
    if result.attrs.get("name") == "image-hybrid":
        from ..plots.hybrid import plot_hybrid

        return plot_hybrid(result)
    if any("cmi" in group for group in grids(result).values()):
        from .. import plots

        return plots.plot_cmi(result).figure
    return None


def _rows(result: xr.DataTree) -> str:
    lines = [
        (
            row.experiment,
            row.quantity,
            "" if row.analytic is None else f"{row.analytic:.6g}",
            with_error(row.value, row.stderr),
            "" if row.z is None else f"{row.z:+.1f}",
            row.source,
        )
        for row in rows(result)
    ]
    header = ["experiment", "quantity", "analytic", "measured", "z", "source"]
    return section("Table", table(header, lines, text=(0, 1, 5)))


def _probe_sections(result: xr.DataTree) -> Iterator[str]:
    from ..plots.probe import calibrations, plot_calibration, plot_probe_panels

    probe = grids(result)[NAME]
    known = [name for name in calibrations(result) if name != NAME]
    verdicts = [calibration_verdict(name, grids(result)[name]) for name in known]
    yield section("What was found", *_findings(probe), *_warnings(verdicts))
    if _data(result):
        lines = [(key.replace("_", " "), _plain(value)) for key, value in _data(result).items()]
        yield section("Data", table([], lines, text=(0, 1)))
    if _plan(result):
        yield section("How it was measured", table([], _plan(result), text=(0, 1)))
    yield section("Figures", image(plot_probe_panels(result), "four panels of the probe"))
    if "label_information_lost" in probe:
        from ..plots.label_windows import plot_probe_label_windows

        figure = plot_probe_label_windows(probe).figure
        yield section("Where the label is decided", image(figure, "nonlocality and speciation windows on one axis"))
    for name, (verdict, _) in zip(known, verdicts, strict=True):
        yield section(
            f"Calibration on known truth: {_picture(name)}",
            f"<p>{escape(verdict)}</p>",
            image(plot_calibration(result, name), f"measured beside exact, {_picture(name)}"),
            _calibration_table(grids(result)[name]),
        )
    yield section("Conditional mutual information, nats", _cmi_table(probe))
    yield section("Time by time", _time_table(probe))
    yield section("Nonlocality window by radius", _window_table(probe))
    if rows(result):
        yield _rows(result)


def _picture(name: str) -> str:
    return TITLES.get(name.removeprefix(PREFIX), name)


def calibration_verdict(name: str, variables: Variables) -> tuple[str, bool]:
    """How far the probe lies from what is exact, in words; and whether users should be warned of it."""
    t, radius = variables["t"].values, variables["radius"].values
    gap = variables["cmi_above_null"].values - variables["cmi_exact"].values
    k, j = np.unravel_index(int(np.abs(gap).argmax()), gap.shape)
    truth = _number(variables, "cmi_exact", (k, j))
    sentences = [
        f"The probe finds {share_found(variables):.0%} of I(A;C|B) beyond r = {radius[0]}, summed over times. "
        f"It is furthest from exact at t = {t[k]:g}, r = {radius[j]}: "
        f"{_number(variables, 'cmi_above_null', (k, j))} for {truth} nats."
    ]
    for quantity, keys in (("ξ(t)", ("markov_length",)), ("Ends of windows", ("window_start", "window_stop"))):
        z = np.concatenate([distance(variables, key) for key in keys])
        z = z[np.isfinite(z)]
        if z.size:
            rms, most = float(np.sqrt((z**2).mean())), float(np.abs(z).max())
            sentences.append(f"{quantity}: {z.size} compared, r.m.s. z = {rms:.1f}, largest |z| = {most:.1f}.")
        else:
            sentences.append(f"{quantity}: none in both to compare.")
    error = float(distance_error(variables, "cmi")[k, j])
    missed = bool(-gap[k, j] > max(MISSED * error, float(variables["tolerance"].values)))
    return " ".join(sentences), missed


def _warnings(verdicts: list[tuple[str, bool]]) -> Iterator[str]:
    if any(missed for _, missed in verdicts):
        yield (
            '<p class="warn">From as many pictures of known truth the probe misses information that is there (see the '
            "calibration): what it does not find in the images may be there too, above all where it is carried by "
            "parities of many pixels, as in closed loops.</p>"
        )


def _calibration_table(variables: Variables) -> str:
    """Time by time, measured beside exact."""
    r = variables["radius"].values
    columns = [(f"I(A;C|B), r = {r[j]}", "cmi", j) for j in sorted({0, min(1, r.size - 1)})]
    header = ["t", "I(A;BC)", "exact", *itertools.chain.from_iterable((title, "exact") for title, _, _ in columns)]
    lines = []
    for k, t in enumerate(variables["t"].values):
        cells = [f"{t:g}", *(_number(variables, f"total_information{end}", k) for end in ("", "_exact"))]
        for _, _, j in columns:
            cells += [_number(variables, name, (k, j)) for name in ("cmi_above_null", "cmi_exact")]
        lines.append((*cells, *(_number(variables, f"markov_length{end}", k) for end in ("", "_exact"))))
    return table([*header, "ξ, pixels", "exact"], lines)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(group: Variables, name: str, index: Any = None) -> str:
    """A value with its error, a dash for NaN."""
    pick = (lambda v: float(v.values)) if index is None else (lambda v: float(v.values[index]))
    value = pick(group[name])
    stderr = pick(group[f"{name}_stderr"]) if f"{name}_stderr" in group else 0.0
    if abs(value) < SHOWN and stderr < SHOWN:
        return "0"
    return "–" if np.isnan(value) else with_error(value, stderr if stderr > SHOWN else 0.0)


def _interval(group: Variables, name: str, index: int | None = None) -> str:
    """A window in words; an end that the times measured do not bracket is said to be outside."""
    t = group["t"].values
    start, stop = (_number(group, f"{name}_{end}", index) for end in ("start", "stop"))
    begin = f"before t = {t[0]:g}" if start == "–" else f"t = {start}"
    end = f"after t = {t[-1]:g}" if stop == "–" else f"t = {stop}"
    return f"from {begin} to {end}"


def _findings(probe: Variables) -> Iterator[str]:
    """The answer to the user's question, a sentence each; and what to be careful about."""
    tolerance, r = float(probe["tolerance"].values), int(probe["radius"].values[0])
    if probe["n_nonlocal_times"].values[0]:
        says = (
            f"Nonlocality window (I(A;C|B) above {tolerance:g} nats beyond r = {r}): {_interval(probe, 'window', 0)}."
        )
    else:
        says = (
            f"Nowhere was I(A;C|B) found above {tolerance:g} nats beyond r = {r}: as far as the probe can see, a local "
            "network suffices at every time."
        )
    sentences = [says]
    if "speciation_seen" in probe:
        seen = bool(probe["speciation_seen"].values)
        window = _interval(probe, "speciation") if seen else "none at this tolerance"
        sentences.append(f"Speciation window (the label is being decided): {window}.")
    if "recommended_radius" in probe:
        kl = _number(probe, "schedule_kl")
        saving = float(probe["cost_saving"].values)
        sentences.append(
            f"Recommended receptive field: {_schedule_words(probe)}. It saves {saving:.0%} of the pixels that a global "
            f"network would read, at a KL of {kl} nats per image (budget {float(probe['budget'].values):g})."
        )
    yield '<ul class="lead">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
    typical = float(np.median(probe["cmi_above_null_stderr"].values))
    if tolerance < SIGNIFICANT * typical:
        yield (
            f'<p class="warn">The tolerance of {tolerance:g} nats is below three standard errors of the information '
            f"(typically {typical:.2g} nats): ends of windows may be noise.</p>"
        )


def _schedule_words(probe: Variables) -> str:
    """Runs of one radius, in order of time, as in "r = 2 for t 0.1 to 0.4"."""
    t, chosen = probe["t"].values, probe["recommended_radius"].values
    cuts = [0, *(np.flatnonzero(np.diff(chosen)) + 1), len(chosen)]
    runs = []
    for a, b in itertools.pairwise(cuts):
        when = f"at t = {t[a]:g}" if b == a + 1 else f"for t = {t[a]:g} to {t[b - 1]:g}"
        runs.append(f"{_radius(int(chosen[a]))} {when}")
    return ", ".join(runs)


def _radius(r: int) -> str:
    return "the whole image" if r == GLOBAL else f"r = {r}"


def _cmi_table(probe: Variables) -> str:
    cmi, stderr = probe["cmi_above_null"].values, probe["cmi_above_null_stderr"].values
    null = "above that of permuted C, " if "cmi_null" in probe else ""
    lines = [
        (
            f"{t:g}",
            *(
                (with_error(float(value), float(error)), "" if value > SIGNIFICANT * error else "zero")
                for value, error in zip(cmi[k], stderr[k], strict=True)
            ),
        )
        for k, t in enumerate(probe["t"].values)
    ]
    header = ["t", *(f"r = {r}" for r in probe["radius"].values)]
    note = f"<p>I(A;C|B), {null}with one standard error; grey: less than three standard errors above zero.</p>"
    return note + table(header, lines)


def _time_table(probe: Variables) -> str:
    columns = {"total_information": "I(A;BC), nats", "markov_length": "ξ, sites"}
    optional = {
        "label_information": "I(S;ABC), nats",
        "label_information_b": "I(S;B), nats",
        "forward_backward": "P_FB",
    }
    columns |= {name: title for name, title in optional.items() if name in probe}
    header, lines = ["t", *columns.values()], []
    schedule = "recommended_radius" in probe
    for k, t in enumerate(probe["t"].values):
        chosen = [_radius(int(probe["recommended_radius"].values[k]))] if schedule else []
        lines.append(
            (f"{t:g}", *(_number(probe, name, k) for name in columns), *chosen, probe["markov_length_note"].values[k])
        )
    header += [*(["recommended"] if schedule else []), "about ξ"]
    return table(header, lines, text=(len(header) - 1,))


def _window_table(probe: Variables) -> str:
    lines = [
        (
            f"{r}",
            _interval(probe, "window", j) if probe["n_nonlocal_times"].values[j] else "none",
            int(probe["n_nonlocal_times"].values[j]),
        )
        for j, r in enumerate(probe["radius"].values)
    ]
    return table(["r", f"I(A;C|B) > {float(probe['tolerance'].values):g} nats", "times above"], lines, text=(1,))
