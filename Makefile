# make demo     trains a tiny policy on questions about handwritten digits and shows what it learned
# make test     lint, formatting, types, import ranks and the test suite
# make stories  whole runs of real processes, on several hosts or killed and resumed
# make soak     these and the long ones, which no change has to wait for: SOAK_MINUTES (60) is how
#               long runs are killed and resumed
#
# All make their own environment in .venv; they need make and Python >= 3.11 and nothing else.
# FULL=1      also installs torch, peft and libtpu: the parity tests against transformers and, of the
#             stories and the soak, the compilations for TPU topologies run instead of skipping
# WORKDIR=... and ARGS='--config.seed=1' are passed to the demo

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
EXTRAS := test$(if $(FULL),$(comma)tpu)
RUNS := $(VENV)/.installed
STAMP := $(VENV)/.installed-test$(if $(FULL),-full)
WORKDIR ?= runs/demo
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

# Tests start hundreds of processes. An image that forbids to keep bytecode would have each of them
# compile the libraries again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test stories soak check setup format clean

# uv needs seconds where pip needs a minute. pip stands in where uv is not to be had, or where only
# pip's configuration knows the index.
define install
	($(BIN)/python -m pip install --quiet uv \
	    && $(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.$(1)') \
	    || $(BIN)/python -m pip install --quiet --editable '.$(1)'
endef

demo: $(RUNS)
	$(BIN)/python -m perl_jax.train --config=configs/demo.py --workdir=$(WORKDIR) $(ARGS)

test: check
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not story and not soak"

stories: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m story

soak: $(STAMP)
	PERL_JAX_FUZZ=soak $(BIN)/python -m pytest $(PYTEST_ARGS) -m "story or soak or fuzz"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(STAMP)

$(RUNS): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"perl_jax needs Python >= 3.11, {sys.executable} is {v}; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(call install,)
	touch $@

$(STAMP): $(RUNS)
	$(call install,[$(EXTRAS)])
	$(if $(FULL),$(BIN)/python -m pip install --quiet --editable '.[parity]')
	touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache
