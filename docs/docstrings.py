"""Docstrings of the package as reStructuredText: plain prose, indented formulas, sections "Args:" and their like."""

import dataclasses
import re

from sphinx.pycode import ModuleAnalyzer

SECTION = re.compile(r"(Args|Attributes|Class attributes|Raises|Returns|Yields):$")
ITEM = re.compile(r"([\w*]+(?:(?:, | \()[\w*, ]+\)?)*): (.*)")
NUMPY = r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(.*?)\]\]"
ARRAY_LIKE = r"_?Buffer \| _?SupportsArray\[.*?complex \| bytes \| str \| _?NestedSequence\[.*?\]"


def setup(app):
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    analyze = ModuleAnalyzer.analyze

    def without_overloads(self):
        """One signature a function: that of its definition."""
        analyze(self)
        self.overloads = {}

    ModuleAnalyzer.analyze = without_overloads


def _docstring(app, what, name, obj, options, lines):
    lines[:] = list(rest(lines))


def _signature(app, what, name, obj, options, signature, annotation):
    if getattr(obj, "_is_protocol", False):
        return "", ""
    return signature and _short(signature), annotation and _short(annotation)


def _short(text):
    """NDArray and ArrayLike as they are written."""
    text = re.sub(r"~(?!lattice_diffusion)(?:\w+\.)*", "", text)
    text = re.sub(ARRAY_LIKE, "ArrayLike", re.sub(NUMPY, r"NDArray[\1]", text))
    return text.replace("NDArray[_ScalarT]", "NDArray")


def _skip(app, what, name, obj, skip, options):
    """Undocumented members count if they are called or computed; fields of a dataclass are in its signature."""
    if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") or name.endswith("_request"):
        return True  # fields of named tuples, and the metadata routing of scikit-learn
    if name.startswith("_") or callable(obj) or isinstance(obj, property | classmethod):
        return None
    return True if not dataclasses.is_dataclass(obj) else None


def rest(lines):
    """Lines of reStructuredText: formulas and code as literal blocks, sections as lists of definitions."""
    section, literal, item = None, False, False
    for line in lines:
        indented = line.startswith("    ")
        if literal and (indented or not line):
            yield line
            continue
        if literal:
            literal = False
            yield ""
        if not line.strip():
            yield ""
        elif SECTION.match(line):
            section, item = line[:-1], False
            yield from ("", f"**{section}**", "")
        elif section and indented:
            head = ITEM.fullmatch(line.strip()) if not line.startswith("     ") and section != "Returns" else None
            if head:
                item = True
                names = ", ".join(f"``{word}``" for word in head[1].split(", ")) if "(" not in head[1] else head[1]
                yield from ("", names, f"    {escaped(head[2])}")
            else:
                yield ("    " if item else "") + escaped(line.strip())
        elif indented:
            literal, section = True, None
            yield from ("", "::", "", line)
        else:
            section = None
            yield escaped(line)


def escaped(text):
    """What reStructuredText would read as markup, outside of `code`, as itself."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", p) for p in pieces)
