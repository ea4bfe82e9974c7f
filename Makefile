# make demo    train, simulate, compare and report on handwritten digits: everything once, into runs/digits
# make test    all tests but those of make reproduce         make quick      the fast ones
# make lint    style and types                               make reproduce  published figures against theory and spikes
# make docs    the site, into site/                          make notebooks  execute the notebooks, outputs kept in place
# make figures the pictures of the gallery, into docs/gallery                make clean      remove what make made
# Needs python3 ≥ 3.11 with venv, a C++ compiler, make. PYTHON=python3.12 make ... chooses another python.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/digits
# One process a core; the tests of a file stay together, for they share what is slow to make; tests/conftest.py sorts files.
PARALLEL ?= --numprocesses auto --dist loadfile --no-loadscope-reorder
INSTALLED := $(VENV)/.installed

.PHONY: demo test quick reproduce lint docs notebooks figures clean compiler
.DELETE_ON_ERROR:

demo: compiler $(INSTALLED)
	$(BIN)/mnnbio run digits --out $(OUT)

test: compiler $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m "not reproduce"

quick: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not standalone and not reproduce"

reproduce: compiler $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m reproduce

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: compiler $(INSTALLED)
	$(BIN)/python notebooks/execute.py

figures: compiler $(INSTALLED)
	$(BIN)/python docs/gallery/draw.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mnnbio

clean:
	rm -rf $(VENV) build dist site *.egg-info .editable/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

compiler:
	@command -v $${CXX:-g++} >/dev/null || { \
	    echo "No C++ compiler: install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda:" >&2; \
	    echo "conda install cxx-compiler), or simulate without: mnnbio run digits --out runs/digits --codegen runtime" >&2; \
	    exit 1; }

# The stamp is written last: an installation that was interrupted is done again.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "mnnbio needs python3 ≥ 3.11, '$(PYTHON)' is $$($(PYTHON) --version 2>&1): PYTHON=python3.12 make ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	mkdir -p .editable && ln -sfn ../mnnbio .editable/mnnbio  # what a source distribution lacks
	ln -sfn ../analyses mnnbio/analyses && ln -sfn ../circuits mnnbio/circuits
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	touch $@
