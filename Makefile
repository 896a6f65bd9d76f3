# Everything a fresh machine with Python 3.12 or newer needs: make demo, make test,
# make benchmark-glycine-small, make benchmark-azobenzene-small.
# Each target makes .venv when it is missing, and reinstalls when pyproject.toml has changed.

VENV := .venv
BIN := $(VENV)/bin
# Names under which a Python may be found; each is asked for its version.
PYTHONS := $(PYTHON) python3.12 python3.13 python3.14 python3 python

SMALL := benchmark-glycine-small benchmark-azobenzene-small

.PHONY: install demo test test-long coverage check docs installs release clean $(SMALL)

install: $(VENV)/.for-users
demo: $(VENV)/.for-users
test test-long coverage check docs installs release: $(VENV)/.for-developers
$(SMALL): $(VENV)/.for-benchmarks

$(VENV)/.for-users: EXTRAS := xtb,dft,ipi,smiles
$(VENV)/.for-developers: EXTRAS := dev
$(VENV)/.for-benchmarks: EXTRAS := xtb,gap,schnet,bpnn

$(VENV)/.for-%: pyproject.toml
	@for name in $(PYTHONS); do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$name; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "flexcalc needs Python 3.12 or newer; none was found under: $(PYTHONS)." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; \
	fi; \
	[ -x $(BIN)/python ] || "$$found" -m venv $(VENV) || { \
	    echo "$$found cannot make a virtual environment; install its venv module (python3-venv)" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[$(EXTRAS)]'
	@touch $@

demo:
	$(BIN)/flexcalc demo --output demo

$(SMALL):
	$(BIN)/flexcalc benchmark inputs/$@.toml --output $@

# Two processes, a file of tests to each at a time; more threads in them would only be in the way.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test:
	$(TESTS)

test-long:
	$(TESTS) -m 'long or not long'

# Of the processes of the tests themselves; what runs in processes that they start is not seen.
coverage:
	$(TESTS) --cov=flexcalc --cov-branch --cov-report=term:skip-covered

check:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The site, site/index.html; pages are executed again only if they or flexcalc have changed.
docs:
	$(BIN)/python -m docs.building

# The table of extras and Pythons in docs/pages/reference/install.md, of those that are on this machine.
TRIED := python3.12 python3.13 python3.14
installs:
	rm -rf build/installs
	$(BIN)/uv build --quiet --wheel --out-dir build/installs
	for python in $(TRIED); do \
	    "$$python" --version >/dev/null 2>&1 || continue; \
	    $(BIN)/python docs/building/installs.py try --uv $(BIN)/uv --python "$$python" \
	        --wheel build/installs/*.whl --rows "build/installs/$$python.json" || exit 1; \
	done
	$(BIN)/python docs/building/installs.py write build/installs/*.json

# What has to hold before a release: checks, the site, and the wheel in an environment of its own.
release: check docs
	.ci/release $(BIN)/uv

clean:
	rm -rf $(VENV) demo build site
