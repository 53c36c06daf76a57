# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up first; a second setup takes seconds.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help setup demo test test-slurm check bench docs lock clean
help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

setup:           ## .venv with exactly requirements.lock, this package, and Detectron2 where it can be had
	@PYTHON=$(PYTHON) sh scripts/setup.sh

demo: setup      ## the main job: synthetic gold micrographs → training → segmentation → sizes in nm → report.html
	$(BIN)/python -m tem_seg.run experiment=gold_aunp profile=laptop

test: check      ## all fast tests (setup and check first)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -rs

test-slurm: setup ## a real SLURM of one node: sweeps, preemption, several tasks (root, Debian: slurm-wlm munge; docs/slurm.md)
	$(BIN)/python -m pytest -m slurm tests/slurm -q -rs

check: setup     ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: setup     ## the figures of docs/results, one line each
	$(BIN)/python scripts/bench.py

docs: setup      ## checks that every link and every named file in the docs exists
	$(BIN)/python scripts/check_docs.py

lock:            ## requirements.lock anew from pyproject.toml (needs uv); versions already in it are kept
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header -o requirements.lock

clean:           ## removes the environment and caches, never outputs/
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
