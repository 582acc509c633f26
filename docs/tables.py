"""Tables that the code itself fills in: the command line, the keys of specs, quantities, and what the tests are.

Each is a fragment of Markdown in docs/generated, included by the pages. Descriptions of keys are below: a key that
specs know and that is not described, or the reverse, stops the build.
"""

import ast
from functools import cache
from pathlib import Path
from typing import get_args

import typer.main
from docutils import nodes

from lattice_diffusion.cli import app as command_line
from lattice_diffusion.runs import spec
from lattice_diffusion.runs.points import n_points
from lattice_diffusion.runs.quantities import QUANTITIES
from lattice_diffusion.studies import REGISTRY

TESTS = Path(__file__).parents[1] / "tests"
KEYS = {
    "name": "What the result is called; the file's own name if not given.",
    "seed": "Of all random numbers; every point has its own, which depend on nothing but this and what is measured.",
    "grids": "Named grids, `[grids.NAME]`; a file with one grid may give that grid's keys at the top level instead.",
    "model": "The data p_0, see the models below.",
    "channel": "The noise, see the channels below.",
    "t": "Times in [0, 1].",
    "radii": "Widths r of the buffer B, all measured on the same noise samples; needed where the quantity has one.",
    "patch": "Side of the patch A.",
    "center": "Site of A; the middle if not given.",
    "n_samples": "Noise samples of a point, where there is no closed form.",
    "target_stderr": "Draw rounds of samples, the first of `n_samples`, until the error is below this at every radius.",
    "target_relative_error": "The same with this fraction of the value; either target will do where both are given.",
    "max_samples": "Budget of a point in samples; needed with a target.",
    "method": "`closed` or `sampled`; `auto` takes the closed form where there is one.",
    "quantity": "What is measured, see the quantities below.",
    "settings": "How, where the quantity has a choice: a table of its own keys.",
    "shape": "Sites along each axis. Either this or `length`.",
    "length": "Side L of an L x L lattice (or of a chain): may be an axis of the grid.",
    "dimension": "Axes of a lattice given by `length`.",
    "periodic": "For all axes, or one flag for each.",
    "mass_squared": "m^2 >= 0 of the Gaussian field; in a mixture that of the field within a class.",
    "mean": "The mean mu of a class; the other has -mu.",
    "std": "Standard deviation of white values within a class. Either this or `mass_squared`.",
    "beta": "Inverse temperature >= 0.",
    "regions": "Sizes [a, b, c] of A, B and C, or a list of such: an axis of the grid called `size`.",
    "faces": "[L, W], the grid of faces. Either this or `length`.",
    "bond": "A is the bond between these two faces, [[i, j], [k, l]]; the central right bond if not given.",
    "block": "A is the four bonds of the 2x2 block of faces whose top left face this is.",
    "schedule": "alpha = 1-t, sigma = t (`linear`); cos and sin of pi t/2 (`vp`); alpha = 1, sigma = t/(1-t) (`ve`).",
}


def write(folder):
    """All fragments, into `folder`."""
    makers = {"commands": commands, "keys": keys, "quantities": quantities, "experiments": experiments, "tests": tests}
    for name, make in makers.items():
        (folder / f"{name}.md").write_text("\n".join(make()) + "\n", encoding="utf-8")


def setup(app):
    """The role {test}`module::name`: the test in words, linked to the list; one that is not there stops the build."""
    app.add_role("test", _test_role)


def _test_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    module, _, test = text.partition("::")
    if module not in functions() or (test and test not in functions()[module]):
        message = inliner.reporter.error(f"there is no test {text}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    up = "../" * inliner.document.settings.env.docname.count("/")
    words = (test or module).removeprefix("test_").replace("_", " ")
    target = f"{up}tests.html#{module.replace('_', '-')}"
    return [nodes.reference("", "", nodes.emphasis("", words), refuri=target, reftitle=text)], []


def table(header, rows):
    """A Markdown table; cells must not hold line breaks."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"
    yield ""


def commands():
    """Every command with its arguments and options, from the command line itself."""
    yield from _command(typer.main.get_command(command_line), "lattice-diffusion")


def _command(command, name):
    context = command.context_class(command, info_name=name)
    if not hasattr(command, "commands"):
        yield from (f"## {name}", "", command.help or "", "")
        rows = [parameter.get_help_record(context) for parameter in command.params]
        rows = [(f"`{row[0]}`", row[1]) for row in rows if row and not row[0].startswith("--help")]
        yield from table(("option", "meaning"), rows) if rows else ()
    for child, sub in getattr(command, "commands", {}).items():
        yield from _command(sub, f"{name} {child}")


def keys():
    """Every key of a spec, from the models that check it."""
    described = set()
    yield from ("## The file", "", *_keys_of(spec.Spec, described))
    yield from ("## A grid", "", *_keys_of(spec.GridSpec, described))
    for union, what in ((spec.ModelSpec, "Models"), (spec.ChannelSpec, "Channels")):
        yield from (f"## {what}", "")
        for member in get_args(union):
            name = get_args(member.model_fields["name"].annotation)[0]
            yield from (f"### `{name}`", "", *_keys_of(member, described))
    if described != set(KEYS):
        raise ValueError(f"describe these keys of specs in docs/tables.py: {sorted(described ^ set(KEYS))}")


def _keys_of(model, described):
    described |= set(model.model_fields)
    fields = model.model_json_schema()["properties"]
    rows = []
    for name, field in model.model_fields.items():
        if "const" in fields[name]:
            continue
        default = "" if (model, name) == (spec.Spec, "name") else _default(field)  # files lend it their own
        rows.append((f"`{name}`", _kind(fields[name]), default, KEYS.get(name, "")))
    yield from table(("key", "value", "default", "meaning"), rows) if rows else ("No keys besides `name`.", "")


def _default(field):
    if field.is_required():
        return "required"
    return "" if field.default is None else f"`{_toml(field.default)}`"


def _kind(schema):
    """The type of a value in words."""
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
    """Everything a grid can measure, with its columns and settings."""
    yield from ("## Quantities", "")
    for quantity in QUANTITIES.values():
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


def experiments():
    """What `reproduce` measures, with the numbers of points of both presets."""
    rows = []
    for name, experiment in REGISTRY.items():
        quick, full = (n_points(experiment.specs(preset)) for preset in ("quick", "full"))
        rows.append((f"`{name}`", experiment.title, f"{quick:,}", f"{full:,}"))
    yield from table(("name", "what", "points, quick", "points, full"), rows)


@cache
def functions():
    """Module of tests to the names of its tests."""
    found = {}
    for path in sorted(TESTS.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes_of = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        found[path.stem] = [node.name for node in nodes_of if node.name.startswith("test_")]
    return found


def tests():
    """Every module of tests, what it says of itself, and its tests."""
    for module, names in functions().items():
        about = ast.get_docstring(ast.parse((TESTS / f"{module}.py").read_text(encoding="utf-8"))) or ""
        summary = about.partition("\n\n")[0].replace("\n", " ").replace("*", "\\*")
        words = ", ".join(name.removeprefix("test_").replace("_", " ") for name in names)
        yield from (f"## {module}", "", summary, "", words + ".", "")
