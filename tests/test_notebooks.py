"""Every notebook runs from top to bottom, and is committed without outputs."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NEEDS = {"probe-your-images": "sklearn"}  # of the extra `images`


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, monkeypatch, capsys):
    import matplotlib.pyplot

    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem], reason="its data come with the extra images")
    matplotlib.use("Agg")
    monkeypatch.chdir(path.parent)
    names = {"__name__": "__main__"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "clear the outputs before committing"
            exec(compile("".join(cell["source"]), f"{path.name}, {cell['id']}", "exec"), names)
    matplotlib.pyplot.close("all")
    assert capsys.readouterr().out
