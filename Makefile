# Everything needs only Python 3.11 (to 3.13) and make; it is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
# uv takes seconds where pip takes minutes. It does not read pip.conf: where it finds no index, pip is asked.
INSTALL = $(PIP) uv && { .venv/bin/uv pip install --quiet --python .venv/bin/python --editable $(1) || $(PIP) --editable $(1); }

.PHONY: help install sweep test test-fast lint coverage docs benchmarks constraints clean

help:
	@echo "make install     install into .venv, nothing more"
	@echo "make sweep       install, then run sweeps/n_vs_p.py on the built-in data and backbone (minutes on 2 cores)"
	@echo "make test        install what tests need, then lint and test"
	@echo "make test-fast   the tests that start no process but their own (a minute and a half on 2 cores)"
	@echo "make lint        ruff and mypy"
	@echo "make coverage    the fast tests, and which lines of the package they run"
	@echo "make docs        the pages of docs/ and the reference as a site, in site/"
	@echo "make benchmarks  measure step time, warm workers and peak memory"
	@echo "make constraints pin the versions that clusters install (cluster/constraints.txt)"
	@echo "make clean       remove the environment"

install: .venv/installed

sweep: .venv/installed
	.venv/bin/python sweeps/n_vs_p.py

QUIETLY = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive .venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# Three processes for two cores: many tests wait for other processes. Those are hundreds, most of which import torch:
# without compiled files, which some environments ask Python not to write, that takes twice as long. Trials of two threads
# would burn the cores that they wait for.
test: .venv/installed-test lint
	$(QUIETLY) --durations 25

test-fast: .venv/installed-test
	$(QUIETLY) -m "not slow"

lint: .venv/installed-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

coverage: .venv/installed-test
	$(QUIETLY) -m "not slow" --cov astmoa --cov-report term:skip-covered

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

benchmarks: .venv/installed
	.venv/bin/python benchmarks/step_time.py
	.venv/bin/python benchmarks/warm_workers.py
	.venv/bin/python benchmarks/peak_memory.py

# The versions that a cluster installs, for every Python that it may have.
constraints: .venv/installed
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --upgrade \
	  --custom-compile-command "make constraints" --output-file cluster/constraints.txt pyproject.toml

clean:
	rm -rf .venv

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 to 3.13; call make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into .venv (about 5 GB, up to some minutes)"
	$(PYTHON) -m venv .venv
	$(call INSTALL,.)
	@touch $@

.venv/installed-test: .venv/installed
	$(call INSTALL,'.[test]')
	@touch $@

.venv/installed-docs: .venv/installed
	$(call INSTALL,'.[docs]')
	@touch $@
