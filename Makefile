# Two commands do everything on a machine with Python and make: `make reproduce` and `make test`.
# Tests run in the random order of the seed ORDER.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= results
ORDER ?= 1

.PHONY: reproduce test test-slow benchmark docs notebooks clean

reproduce: $(READY)
	$(BIN)/lattice-diffusion reproduce --preset quick --out $(OUT) --resume

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --random-order --random-order-seed=$(ORDER)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

benchmark: $(READY)
	$(BIN)/python benchmarks/exact.py
	$(BIN)/python benchmarks/loops.py
	$(BIN)/python benchmarks/samplers.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

notebooks: $(READY)  # run before `make docs`, whose pages then show their output
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs,peers]"
	mkdir -p build/notebooks && cp notebooks/*.ipynb build/notebooks
	cd build/notebooks && PYTHONWARNINGS=ignore:IProgress ../../$(BIN)/jupyter execute --inplace --timeout=1800 *.ipynb

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,images]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps azula  # torchvision wants another torch
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
