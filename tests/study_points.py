"""Points of experiments and their models, as the tests of studies ask for them."""

from lattice_diffusion.runs.points import Point


def point(model, channel, quantity, radii, n_samples=100, t=1.0, **settings):
    table = {"model": model, "channel": {"name": channel}, "t": t, "radii": radii, "n_samples": n_samples}
    return Point({**table, "quantity": quantity, "settings": settings})


def loops(*faces, beta=0.0):
    return {"name": "domain-walls", "shape": list(faces), "beta": beta, "periodic": [False, False]}


def ising(*shape, beta=0.5):
    return {"name": "ising", "shape": list(shape), "beta": beta, "periodic": [False, False]}


def field(*shape, mass_squared, periodic=(False, False)):
    return {"name": "gaussian-field", "shape": list(shape), "periodic": list(periodic), "mass_squared": mass_squared}
