# The project's habits. `make run` and `make test` do all the set-up themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test check faults format bench experiments experiments-quick experiments-alone docs build clean

run: .venv/installed
	$(BIN)/polyrank run examples/digits.toml

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: .venv/installed-dev
	$(BIN)/python scripts/plant_faults.py --jobs 2 --out results/planted_faults.json

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev
	$(BIN)/python benchmarks/local_engine.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/aggregation.py --quick

# See results/Makefile.
experiments experiments-alone: .venv/installed-dev
	$(MAKE) -f results/Makefile $(if $(filter experiments,$@),all,alone)

experiments-quick: .venv/installed-dev
	$(MAKE) -f results/Makefile quick OUT=build/quick SEEDS='--seeds 2' TUNE='--tune-seeds 0' FACTS='--places facts --only alone orders'

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site: build/docs/index.html"

build: .venv/installed-dev
	$(BIN)/python -m build

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[dev,docs]'
	touch $@
