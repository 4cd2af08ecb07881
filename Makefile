# `make` alone prints this list. PYTHON chooses the interpreter for .venv, for example: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A change of either file makes pip install again.
PINNED := constraints.txt pyproject.toml
PORT ?= 8000
DATA_DIR ?=
# A pretrained language model for `demo-real` and `test-vllm` (a folder or hub name), or `test-llamacpp` (a GGUF file).
MODEL ?=
# How the tests against real servers learn of it.
LIVE := $(if $(MODEL),LIVE_MODEL='$(MODEL)')
BENCH ?=
# For `bench-real` (docs/real_models.md): the folder with the tasks' files, and language models under names that you choose.
DATA ?=
MODELS ?=
CHAOS ?=
MUTATIONS ?=
TRIALS ?=
FUZZ ?=
MODEL_DIR ?= inference/small_model
# vLLM needs other versions of nearly everything, so it gets a separate environment.
VLLM_VENV := .venv-vllm
# llama.cpp's server gets one, too; GEMMA=yes adds a real language model of 250 MB (under Gemma's terms).
LLAMACPP_VENV := .venv-llamacpp
GEMMA ?=
# Further arguments of pip for vLLM: where to find PyTorch's builds for the CPU (docs/servers/vllm.md).
PIP_ARGS ?=

# Tests start hundreds of processes, and pytest rewrites every test module: Python keeps bytecode, whatever the shell sets.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-real demo-train test test-long test-vllm test-llamacpp fuzz chaos endure mutations check lint audit format serve bench bench-real bench-training load soak pretrain clean

help: ## print this list
	@echo "usage: make <target>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runs ## start every part, label examples/demo.jsonl, compare with gold, stop every part
	$(BIN)/python -m examples.demo

demo-real: $(if $(MODEL),$(VENV)/.runs) ## label 64 film reviews with a pretrained language model: MODEL=HUB_NAME, a folder or a GGUF file
	@test -n '$(MODEL)' || { \
	    echo "make demo-real needs MODEL=: the hub name, folder or GGUF file of a language model pretrained on real text," >&2; \
	    echo "for example: make demo-real MODEL=HuggingFaceTB/SmolLM2-135M-Instruct" >&2; exit 2; }
	$(BIN)/python -m examples.demo --example reviews --model '$(MODEL)'

demo-train: $(VENV)/.trains ## label 256 rows, train an adapter on the labels, serve it, label 256 fresh rows with it
	$(BIN)/python -m examples.demo_train

test: $(VENV)/.develops ## run all tests in their short form
	$(BIN)/pytest -n auto --dist worksteal

test-long: $(VENV)/.develops ## run all tests with more repetitions, seeds and variants (before a release)
	ICM_TESTS=long $(BIN)/pytest -n auto --dist worksteal -m "long or not long"

test-vllm: $(VENV)/.develops $(VLLM_VENV)/.runs ## test the vllm adapter and a whole job against a real vLLM on the CPU (2.5 GB; MODEL=: with another language model)
	$(LIVE) $(BIN)/pytest -n0 tests/live/vllm_adapter.py tests/live/vllm_job.py $(if $(MODEL),,tests/live/vllm_trained.py)

test-llamacpp: $(VENV)/.develops $(LLAMACPP_VENV)/.runs $(if $(GEMMA),$(LLAMACPP_VENV)/.gemma) ## test the llamacpp adapter and a whole job against a real llama.cpp on the CPU (34 MB; GEMMA=yes: Gemma, too; MODEL=: a GGUF file, too)
	$(LIVE) $(BIN)/pytest -n0 tests/live/llamacpp_adapter.py tests/live/llamacpp_job.py

fuzz: $(VENV)/.develops ## test the API against its OpenAPI document, and the life of jobs, at random (an hour; FUZZ="--seed 7")
	$(BIN)/python -m tests.fuzz $(FUZZ)
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -n auto -q --timeout 3000 tests/lifecycle tests/unit/search/test_properties.py

chaos: $(VENV)/.develops ## kill workers, Postgres and the inference server 350 times (half an hour; CHAOS=--help: options)
	$(BIN)/python -m tests.chaos $(CHAOS)

endure: $(VENV)/.develops ## kill Postgres and the API, fill the disk, and print what survived (minutes; TRIALS=: some)
	$(BIN)/python -m tests.endurance $(TRIALS)

mutations: $(VENV)/.develops ## break promises of the code on purpose and check that tests notice (MUTATIONS=fence: some)
	$(BIN)/python -m tests.mutations $(MUTATIONS)

check: lint ## run CI's checks and the architecture tests, without the other tests
	$(BIN)/lint-imports
	$(BIN)/pytest -n0 -q tests/architecture

lint: $(VENV)/.develops ## what CI checks and no test does: style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

audit: $(VENV)/.develops ## ask OSV (https://osv.dev) for known vulnerabilities of the pinned packages; needs a network
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --vulnerability-service osv --strict

format: $(VENV)/.develops ## format every file
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

serve: $(VENV)/.runs ## start every part on port 8000 with its data in ./data (or PORT=, DATA_DIR=)
	$(BIN)/icm serve --port $(PORT) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

bench: $(VENV)/.develops ## compare every strategy and repeat the paper's experiments: docs/benchmarks.md (BENCH=--quick: tiny)
	$(BIN)/python -m benchmarks $(BENCH)

bench-real: $(VENV)/.develops ## compare methods on real language models (DATA=FOLDER MODELS="NAME=FOLDER_OR_HUB_NAME ..."): docs/real_models.md
	$(BIN)/python -m benchmarks.real $(if $(DATA),--data '$(DATA)') $(if $(MODELS),--models $(MODELS)) $(BENCH)
	$(BIN)/python -m benchmarks.real.page

bench-training: $(VENV)/.develops ## measure trainings on labels, reward models and policies of the small model: docs/training.md
	$(BIN)/python -m benchmarks.training.labels
	$(BIN)/python -m benchmarks.training.rewards
	$(BIN)/python -m benchmarks.training.policies
	$(BIN)/python -m benchmarks.training.tables

load: $(VENV)/.develops ## measure latency beside 200 stalled streams and 50 uploads, and claims: docs/load.md
	$(BIN)/python -m benchmarks.load

soak: $(VENV)/.develops ## simulate a day of small jobs, and measure memory, descriptors, connections and tables
	$(BIN)/python -m benchmarks.soak

pretrain: $(VENV)/.runs ## pretrain the small language model anew and measure its knowledge (two hours on two cores)
	$(BIN)/python -m inference.pretraining.train --out $(MODEL_DIR)
	$(BIN)/python -m inference.pretraining.evaluate --model $(MODEL_DIR) --out docs/small_model.md

clean: ## remove .venv, .venv-vllm, .venv-llamacpp, caches and output; data directories stay
	rm -rf $(VENV) $(VLLM_VENV) $(LLAMACPP_VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or later is needed, and $(PYTHON) is not; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "$(PYTHON) lacks the venv module (on Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runs: $(VENV)/.made $(PINNED)
	@echo "installing into $(VENV), which takes minutes the first time ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded]'
	@touch $@

$(VENV)/.trains: $(VENV)/.made $(PINNED)
	@echo "installing into $(VENV), which takes minutes the first time ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,training]'
	@touch $(VENV)/.runs $@

# Includes all of .runs and .trains: in one step, pip resolves and builds once.
$(VENV)/.develops: $(VENV)/.made $(PINNED)
	@echo "installing into $(VENV), which takes minutes the first time ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,training,dev,bench,telemetry]'
	@touch $(VENV)/.runs $(VENV)/.trains $@

$(VLLM_VENV)/.runs: requirements-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(PIP_ARGS) --requirement requirements-vllm.txt
	@touch $@

$(LLAMACPP_VENV)/.runs: requirements-llamacpp.txt
	$(PYTHON) -m venv $(LLAMACPP_VENV)
	$(LLAMACPP_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-llamacpp.txt
	@touch $@

$(LLAMACPP_VENV)/.gemma: requirements-gemma.txt $(LLAMACPP_VENV)/.runs
	$(LLAMACPP_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-gemma.txt
	@touch $@
