"""One thread for small matrices and tensors: two on a busy machine wait for each other longer than they work.

Sums then have one order, too, as tests of identical bits need.
"""

import os
import signal
import sys

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores Ctrl-C for what it starts in the background


@pytest.fixture
def shell(monkeypatch, tmp_path, capfd):
    """Runs one command line in an empty folder: exit code, stdout, stderr."""
    from lattice_diffusion import cli

    monkeypatch.chdir(tmp_path)

    def call(line):
        capfd.readouterr()
        code = cli.main(line.split())
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def judged_once(monkeypatch):
    """Amortised networks are judged by one noisy version of each validation image, not by 2,000 in all."""
    for objective in ("training.Objective", "conv.ConvObjective"):
        monkeypatch.setattr(f"lattice_diffusion.estimators.amortised_{objective}.n_validated", 1)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures of pages are not drawn, which takes seconds."""
    monkeypatch.setattr("lattice_diffusion.images.page._picture", lambda figure: "undrawn")


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
