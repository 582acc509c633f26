"""Names, file.py:Class and entry points are found in plain lists."""

import importlib.metadata
import pickle
from pathlib import Path

import pytest
from refusals import refusals

from lattice_diffusion import channels, models, registry
from lattice_diffusion.errors import InputError

SOURCE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    number: "float" = 2.0
    name = "mine"
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    return f"{tmp_path}/mine.py:Mine"


def number(name):
    return float(models.find(name)().number)


def test_names_are_found_in_the_lists():
    assert models.find("ising") is models.Ising
    assert channels.find("erasure") is channels.Erasure
    assert [kind for kind in models.MODELS if models.find(kind.name) is not kind] == []


def test_a_file_is_loaded_once_and_again_when_it_changes(mine, monkeypatch):
    kind = models.find(mine)
    assert kind is models.find(mine)
    assert pickle.loads(pickle.dumps(kind())) == kind()
    path = Path(mine.rpartition(":")[0])
    monkeypatch.chdir(path.parent)
    assert models.find("mine.py:Mine") is kind
    path.write_text(SOURCE.replace("2.0", "30.0"))
    assert number(mine) == 30.0


def test_an_entry_point_is_found(monkeypatch):
    point = importlib.metadata.EntryPoint("theirs", "lattice_diffusion.models:IsingChain", "lattice_diffusion.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert models.find("theirs") is models.IsingChain
    assert models.find("ising") is models.Ising


test_unknown_names_are_refused = refusals(
    ("isin", "unknown model 'isin'; did you mean 'ising'[?]$"),
    ("xy", "unknown model 'xy'; known: .*curie-weiss.*; or give your own as file.py:Class"),
    ("none.py:Mine", "no such file: .*none.py, named in 'none.py:Mine'"),
    of=models.find,
)


def test_a_file_without_the_class_is_refused(mine):
    with pytest.raises(InputError, match=r"mine\.py has no Mien; did you mean 'Mine'\?"):
        models.find(mine.replace(":Mine", ":Mien"))
