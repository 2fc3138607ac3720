# Two commands on a fresh machine: `make demo` and `make test`.
# Each sets up its own virtual environment if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
READY := $(VENV)/.ready

.PHONY: demo test slow check setup clean

demo: $(READY)
	$(BIN)/atlas run recipes/demo/babyai.yaml --out runs/demo

# Bytecode is written, also where an environment variable forbids it: tests start many processes,
# and each would compile the package again.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(READY)
	$(PYTEST) -m "not slow"

slow: $(READY)
	$(PYTEST) -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/deptry src
	$(MAKE) test

setup: $(READY)

# torch is installed first, in the pinned release. The default build for Linux includes CUDA, which
# a CPU run does not use. Name an index of CPU builds with: make TORCH_INDEX=<its address>
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "$(PYTHON) is not Python 3.11 to 3.13. Run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev
	@touch $(READY)

clean:
	rm -rf $(VENV) runs/demo
