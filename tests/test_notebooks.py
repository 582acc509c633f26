"""Every notebook runs from top to bottom, and is committed without output."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SLOW = ("probe-your-images", "benchmark-your-estimator", "your-networks")


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW), id=path.stem) for path in NOTEBOOKS]
)
def test_notebook_runs(path, monkeypatch, capsys):
    import matplotlib.pyplot

    matplotlib.use("Agg")
    monkeypatch.chdir(path.parent)
    names = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        assert not cell["outputs"], "clear the outputs before committing"
        exec(compile("".join(cell["source"]), f"{path.name}, {cell['id']}", "exec"), names)
    matplotlib.pyplot.close("all")
    assert capsys.readouterr().out
