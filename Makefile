# Sets up .venv from the lock file and runs things in it. `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= all
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench-corpus bench-training bench-laws bench-lineage scale coverage pictures status lint format schema lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make .venv with the pinned packages

# A killed run leaves its lock. No other run of `make demo` is under way here once flock lets it
# pass, so the lock may go.
demo: $(READY) ## Run the default workflow, from web pages to results/report.html
	$(if $(shell command -v flock),flock Snakefile) sh -c \
	  'snakemake --unlock --quiet all && snakemake --cores $(CORES) --quiet host reason'
	@scaling-laws summary results

# Workflows wait now and then, for a scheduler or for one process, so there are three of them for two
# cores. The cluster's is the longest, and comes first.
test: $(READY) ## Run all tests
	pytest tests/unit tests/browser tests/training tests/crawl -n 2 --dist loadscope
	pytest tests/slurm tests/workflow -n 3 --dist loadfile --no-loadscope-reorder --durations 25

bench-corpus: $(READY) ## Measure the corpus stages against ceilings and peers; writes docs/performance.md
	python benchmarks/corpus.py docs/performance.md

bench-training: $(READY) ## Measure training steps against a plain PyTorch loop; writes docs/performance.md
	python benchmarks/training.py docs/performance.md

bench-laws: $(READY) ## Measure fits of the laws against scipy's; writes docs/performance.md
	python benchmarks/laws.py docs/performance.md

bench-lineage: $(READY) ## Measure what manifests cost, by the finished results; writes docs/performance.md
	python benchmarks/lineage.py results docs/performance.md

scale: $(READY) ## Measure grids of thousands of runs and the stages of a large corpus; writes docs/scale.md
	python benchmarks/scale.py docs/scale.md

coverage: $(READY) ## Count how often intervals of planted laws hold their constants; writes docs/coverage.md
	python benchmarks/coverage.py docs/coverage.md

pictures: $(READY) ## Redraw what the README shows, from the tables in docs/demo
	sh docs/demo/redraw.sh

status: $(READY) ## Write docs/status.md: what `scaling-laws status` says while a workflow runs, fails and ends
	python docs/demo/status.py

lint: $(READY) ## Check style, types and the workflow
	ruff check
	ruff format --check
	mypy
	lint-imports
	snakefmt --check .
	snakemake --lint

format: $(READY) ## Format the code
	ruff check --fix-only
	ruff format
	snakefmt .

schema: $(READY) ## Renew workflow/schemas from the configuration model
	scaling-laws schema --output workflow/schemas/config.schema.json

lock: ## Renew envs/requirements.lock from pyproject.toml
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install '.[dev]'
	( sed -n '/^#/p' envs/requirements.lock; $(VENV)-lock/bin/pip freeze --all --exclude scaling-laws --exclude pip \
	  | sed 's/+cpu$$//' ) > envs/requirements.lock.new
	mv envs/requirements.lock.new envs/requirements.lock
	rm -rf $(VENV)-lock

clean: ## Remove .venv and everything computed; downloads stay
	rm -rf $(VENV) .snakemake results/* results-ci

$(READY): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11, 5) or sys.exit("$(PYTHON) is Python " + sys.version.split()[0] + "; expected 3.11.5 or later, as in: make setup PYTHON=/path/to/python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -r envs/requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $(READY)
