"""Write the tables that come from the code: commands, keys of specs, quantities and studies.

Each is a fragment of Markdown in docs/generated that a page includes. The build stops where a key of specs has no
description below, or a description has no key.
"""

from dataclasses import MISSING, fields

import typer.main

from lattice_diffusion import channels, models
from lattice_diffusion.cli import app as command_line
from lattice_diffusion.runs import spec
from lattice_diffusion.runs.points import n_points
from lattice_diffusion.runs.quantities import QUANTITIES, find
from lattice_diffusion.studies import STUDIES
from lattice_diffusion.studies import find as find_study

KEYS = {
    "name": "Name of the result.",
    "seed": "Seed of all random numbers. Those of a point depend on the seed and on what is measured there alone.",
    "grids": "Named grids, `[grids.NAME]`. A file with one grid may give the keys of that grid at the top level.",
    "model": "Distribution p_0 of the clean data, see the models below.",
    "channel": "Noise channel, see the channels below.",
    "t": "Times in [0, 1]. Required by quantities that are measured at a time.",
    "radii": "Widths r of the buffer B, all measured on the same noise samples. Required by quantities with a radius.",
    "patch": "Side length of the patch A.",
    "center": "Site of A (default: the middle of the lattice).",
    "n_samples": "Number of noise samples per point, where there is no closed form.",
    "target_stderr": "Draw rounds of samples, the first of `n_samples`, until every error is below this value.",
    "target_relative_error": "The same for errors relative to the value. If both targets are given, one suffices.",
    "max_samples": "Largest number of samples per point. Required with a target.",
    "method": "`closed` or `sampled`; `auto` uses the closed form where there is one.",
    "quantity": "Quantity to measure, see the quantities below.",
    "settings": "Settings of the quantity, a table of its own keys.",
    "shape": "Number of sites along each axis. Give either `shape` or `length`.",
    "length": "Side L of an L x L lattice, or length of a chain. It may be an axis of the grid.",
    "dimension": "Dimension of a lattice given by `length`.",
    "periodic": "Whether edges are periodic: one value for all axes, or one for each.",
    "mass_squared": "Mass squared m^2 >= 0 of the Gaussian field; in a mixture, of the field within a class.",
    "mean": "Mean mu of one class; the other class has mean -mu.",
    "std": "Standard deviation of white values within a class. Give either `std` or `mass_squared`.",
    "beta": "Inverse temperature beta >= 0.",
    "coupling": "Coupling J >= 0 of equal symbols.",
    "q": "Number of symbols.",
    "depth": "Number of levels of rules.",
    "branching": "Number of symbols that one is written as.",
    "vocabulary": "Number of symbols of every level.",
    "synonyms": "Number of tuples that a symbol may be written as.",
    "rules": "Seed that draws the rules, or the rules themselves as integers (default: seed 0).",
    "subtree": "Whether B is the subtree of height r around A, in place of the leaves within distance r.",
    "anisotropy": "Coupling along the last axis, in units of beta.",
    "field": "Uniform field, in the same units as beta.",
    "regions": "Sizes [a, b, c] of A, B and C, or a list of such sizes, which makes an axis `size` of the grid.",
    "faces": "Grid of faces [L, W]. Give either `faces` or `length`.",
    "bond": "A is the bond between these two faces, [[i, j], [k, l]] (default: the central right bond).",
    "block": "A consists of the four bonds of the 2x2 block of faces with this top left face.",
    "schedule": "alpha = 1-t, sigma = t (`linear`); cos and sin of pi t/2 (`vp`); alpha = 1, sigma = t/(1-t) (`ve`).",
}


def write(folder):
    """Write all fragments into `folder`."""
    makers = {"commands": commands, "keys": keys, "quantities": quantities, "studies": studies}
    for name, make in makers.items():
        (folder / f"{name}.md").write_text("\n".join(make()) + "\n", encoding="utf-8")


def table(header, rows):
    """Yield the lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"
    yield ""


def commands():
    """Yield every command with an example, its arguments and its options."""
    yield from _command(typer.main.get_command(command_line), "lattice-diffusion")


def _command(command, name):
    context = command.context_class(command, info_name=name)
    if not hasattr(command, "commands"):
        yield from (f"## {name}", "", command.help or "", "")
        if command.epilog:
            yield from (f"    {command.epilog.removeprefix('Example: ')}", "")
        found = [(parameter, parameter.get_help_record(context)) for parameter in command.params]
        found = [(one, row) for one, row in found if row and not row[0].startswith("--help")]
        rows = [_option(row, getattr(one, "rich_help_panel", None) or "What") for one, row in found]
        yield from table(("option", "about", "meaning"), rows) if rows else ()
    for child, sub in getattr(command, "commands", {}).items():
        yield from _command(sub, f"{name} {child}")


def _option(row, panel):
    """Return option, panel and meaning; choices, which are long, are part of the meaning."""
    option, _, kind = row[0].partition(" <")
    if "|" not in kind:
        return f"`{row[0]}`", panel, row[1]
    return f"`{option}`", panel, f"{row[1]} Choices: {', '.join(kind.rstrip('>').split('|'))}."


def keys():
    """Yield every key of a spec with its type, default and meaning."""
    described = set()
    yield from ("## The file", "", *_keys_of(spec.Spec, described))
    yield from ("## A grid", "", *_keys_of(spec.GridSpec, described))
    yield from ("## Models", "")
    for kind in models.MODELS:
        found = spec.model_keys(kind)
        described |= set(found)
        rows = [(f"`{key}`", _default_of(default), KEYS.get(key, "")) for key, (_, default) in found.items()]
        yield from (f"### `{kind.name}`", "", *table(("key", "default", "meaning"), rows))
    yield from ("## Channels", "")
    for kind in channels.CHANNELS:
        found = {field.name: field.default for field in fields(kind)}
        described |= set(found)
        rows = [(f"`{key}`", _default_of(default), KEYS.get(key, "")) for key, default in found.items()]
        yield from (f"### `{kind.name}`", "")
        yield from table(("key", "default", "meaning"), rows) if rows else ("No keys besides `name`.", "")
    if described != set(KEYS):
        raise ValueError(f"describe these keys of specs in docs/tables.py: {sorted(described ^ set(KEYS))}")


def _keys_of(model, described):
    described |= set(model.model_fields)
    schema = model.model_json_schema(mode="serialization")["properties"]
    rows = []
    for name, field in model.model_fields.items():
        default = "the file's" if (model, name) == (spec.Spec, "name") else _default(field)  # files lend it their own
        rows.append((f"`{name}`", _kind(schema[name]), default, KEYS.get(name, "")))
    yield from table(("key", "value", "default", "meaning"), rows) if rows else ("No keys besides `name`.", "")


def _default(field):
    return _default_of(MISSING if field.is_required() else field.default)


def _default_of(default):
    if default is MISSING:
        return "required"
    return "none" if default is None else f"`{_toml(default)}`"


def _kind(schema):
    """Return the type of a value in words."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    words = [_one_kind(option) for option in options]
    if words in (["number", "list of numbers"], ["integer", "list of integers"]):
        return f"{words[0]}, list or `{{start, stop, num}}`"
    return " or ".join(words)


def _one_kind(schema):
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {}).get("type")
        return f"list of {items}s" if items in ("number", "integer", "boolean") else "list"
    return {"object": "table", "string": "text"}.get(schema.get("type"), schema.get("type", "table"))


def _toml(value):
    return str(list(value) if isinstance(value, tuple) else value).lower() if not isinstance(value, str) else value


def quantities():
    """Yield every quantity of a grid with its columns and settings."""
    yield from ("## Quantities", "")
    for quantity in map(find, QUANTITIES):
        models = ", ".join(f"`{name}`" for name in quantity.models) or "all"
        what = f"{quantity.what[0].upper()}{quantity.what[1:]}"
        yield from (f"### `{quantity.name}`", "", f"{what}. Models: {models}.", "")
        columns = [
            (f"`{name}`", ", ".join(("axes of the grid", *column.dims)), column.units, column.long_name)
            for name, column in quantity.columns.items()
            if not name.endswith("_stderr")
        ]
        yield from table(("variable", "dimensions", "unit", "meaning"), columns)
        if quantity.settings is not None:
            settings = quantity.settings.model_fields
            rows = [(f"`{key}`", _default(f)) for key, f in settings.items()]
            yield from table(("setting", "default"), rows)


def studies():
    """Yield the table of studies with the numbers of points of both presets."""
    rows = []
    for study in map(find_study, STUDIES):
        quick, full = (n_points(study.spec(preset)) for preset in ("quick", "full"))
        rows.append((f"`{study.name}`", study.title, f"{quick:,}", f"{full:,}"))
    yield from table(("name", "what", "points, quick", "points, full"), rows)
