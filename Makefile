# Everything runs in .venv, which is made on first use and reused. Nothing here needs root.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Another interpreter: make PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
# More arguments for pytest or the demo: make test ARGS="-k losses"
ARGS ?=

# A user-wide pip setting that cannot work in a virtual environment.
export PIP_USER := 0

.PHONY: help setup demo demo-captions test lint
.DELETE_ON_ERROR:

help:
	@echo "make demo    the toy world from raw files to pictures and a table, in output/demo/"
	@echo "make demo-captions   learning from captions alone, likewise, in output/demo_captions/"
	@echo "make test    all tests"
	@echo "make lint    ruff check and ruff format --check"
	@echo "make setup   only what the others do first: .venv with the versions in constraints.txt"

demo: $(STAMP)
	$(PY) tools/demo.py $(ARGS)

demo-captions: $(STAMP)
	$(PY) tools/demo.py --captions $(ARGS)

test: $(STAMP)
	$(PY) -m pytest $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

setup: $(STAMP)

$(STAMP): setup.py constraints.txt tools/install_detectron2.py tools/detectron2_0ad20f13.sha1
	@test -n "$(PYTHON)" || { \
		echo "physseg needs Python 3.10 or newer, and found none. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is missing." >&2; \
		echo "On Debian and Ubuntu install the package python3-venv, or name another Python:" >&2; \
		echo "    make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV), once: about 6 GB with torch, a few minutes."
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --constraint constraints.txt --editable ".[dev,onnx,superpoint,kornia,geo,pairs,web]"
	PIP_CONSTRAINT=constraints.txt $(PY) tools/install_detectron2.py
	@touch $@
