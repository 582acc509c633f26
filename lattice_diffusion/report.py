"""Result files in words: the table of measured beside analytic values, and what a file holds."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import xarray as xr

from .noise_units import NoiseLevel, units
from .results import LAZY_BYTES, Row, grids, rows


def text_table(rows: Iterable[Row], *, source: bool = False) -> str:
    """Return aligned columns: experiment, quantity, analytic value, measured value ± error, z, kind (and source)."""
    return align([line[: None if source else -1] for line in table_cells(rows)], right=(2, 3, 4))


def table_cells(rows: Iterable[Row]) -> list[list[str]]:
    """Return the lines of the table of a result as text, the first one a header, the last column the source."""
    cells = [["experiment", "quantity", "analytic", "measured", "z", "kind", "source"]]
    for row in rows:
        analytic = "" if row.analytic is None else f"{row.analytic:.6g}"
        z = "" if row.z is None else f"{row.z:+.1f}"
        measured = with_error(row.value, row.stderr)
        cells.append([row.experiment, words(row), analytic, measured, z, row.kind, row.source])
    return cells


def words(row: Row) -> str:
    """Return the quantity of a row, and its noise in all units: t is that of the linear schedule."""
    if row.log_snr is None:
        return row.quantity
    return f"{row.quantity} [t = {NoiseLevel(np.asarray(row.log_snr)).to('linear'):.4g}, {units(row.log_snr)}]"


def align(cells: list[list[str]], right: Sequence[int] = ()) -> str:
    """Return columns of text as wide as needed, the first line a header; columns in `right` are set flush right."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]) + "\n"


def with_error(value: float, stderr: float) -> str:
    """Return the value ± its error to two digits of the error; six digits where there is no error."""
    if not (stderr > 0 and math.isfinite(stderr) and math.isfinite(value)):
        return f"{value:.6g}"
    decimals = 1 - math.floor(math.log10(stderr))
    if 0 <= decimals <= 7:
        return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"
    return f"{value:.4g} ± {stderr:.1e}"


def csv_table(rows: Iterable[Row]) -> str:
    """Return all columns at full precision, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["experiment", "quantity", "analytic", "value", "stderr", "z", "log_snr", "kind", "source"])
    for row in rows:
        given = (row.analytic, row.value, row.stderr, row.z, row.log_snr)
        numbers = ["" if x is None else repr(x) for x in given]
        writer.writerow([row.experiment, row.quantity, *numbers, row.kind, row.source])
    return text.getvalue()


def describe(result: xr.DataTree) -> str:
    """Return the attributes, grids and table of a result, as text."""
    return "\n".join(_parts(result))


def _parts(result: xr.DataTree) -> Iterator[str]:
    width = max(len(str(name)) for name in result.attrs)
    yield "".join(f"{name!s:{width}}  {value}\n" for name, value in result.attrs.items())
    for name, variables in grids(result).items():
        cells = [["variable", "dims", "range", "units", "long name"]]
        for key, array in variables.variables.items():
            dims = ", ".join(f"{dim}: {n}" for dim, n in array.sizes.items())
            cells.append([str(key), dims, _range(array), array.attrs["units"], array.attrs["long_name"]])
        done = variables["done"].values if "done" in variables else None
        state = "" if done is None else f" ({int(done.sum())} of {done.size} points measured)"
        yield f"grid {name}{state}\n" + align(cells)
    if rows(result):
        yield text_table(rows(result), source=True)


def _range(array: xr.Variable) -> str:
    if array.dtype.kind not in "fiu" or array.nbytes >= LAZY_BYTES:
        return ""
    values = array.values
    finite = values[np.isfinite(values)]
    return f"{finite.min():.4g} .. {finite.max():.4g}" if finite.size else "none yet"
