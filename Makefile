# Each target is a whole set-up: on a machine with Python and make, `make test` and `make demo` make
# their own virtual environment first. tox.ini and .ci/run call these targets and repeat nothing.

PYTHON ?= python3
VENV ?= .venv
# What is tested: one module, class or method, as in T=tests.wire.test_exchange; all but tests/e2e and tests/sidebyside without.
T ?=
# What make fuzz does, and for how many seconds each.
TARGETS ?= annotate chain clienthello exchange http metadata proxyprotocol structwire
SECONDS ?= 60
# Options of make bench: see python -m benchmarks --help.
BENCH ?= --json bench.json --plot bench.png
# Options of pyperf, for make microbench.
MICRO ?=
# What make mutation does: modules below src/mxproxy/, all that it knows without.
MODULES ?=
# How much is explored; 2 takes a quarter of an hour.
DEPTH ?= 1
# Test processes; auto is one per CPU.
JOBS ?= auto

# Options of make load: see python -m tests.load --help.
LOAD ?=

SHELL := /bin/sh
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PIP_ROOT_USER_ACTION := ignore

# By file, so that a test module is never left out for want of an __init__.py.
SUITE = $(or $(T),$(subst /,.,$(basename $(shell find tests -name 'test_*.py' ! -path 'tests/e2e/*' ! -path 'tests/sidebyside/*' | sort))))

.DEFAULT_GOAL := help
.PHONY: help venv test coverage lint format docs protobuf demo sidebyside e2e bench microbench faults soak exploration load mutation fuzz clean

help:  ## this list
	@echo 'make TARGET [PYTHON=python3.12] [VENV=.venv]'
	@sed -n 's/^\([a-z0-9]*\):.*##  *\(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

venv: $(VENV)/.test  ## the virtual environment, with mxproxy installed in editable form

test: $(VENV)/.test  ## the suite (T=tests.wire.test_exchange: a part of it; JOBS=1: in one process)
	$(BIN)/python -m twisted.trial --jobs=$(JOBS) $(SUITE)

coverage: $(VENV)/.test  ## the suite, with the thresholds: 95 % of all, 100 % of wire/, in branches
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m twisted.trial --jobs=$(JOBS) $(SUITE)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=95
	$(BIN)/python -m coverage report --fail-under=100 --include='src/mxproxy/wire/*'

lint: $(VENV)/.lint  ## ruff's rules and format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint  ## put the source into ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.lint  ## check that what is generated in the docs is current, and that the news build
	$(BIN)/python -m mxproxy.wire.diagram --check docs/wire.md
	$(BIN)/python -m mxproxy.config.envoy.docs --check docs/configuration.md
	$(BIN)/python -m mxproxy.observe.docs --check docs/observability.md
	VENV=$(VENV) PYTHON=$(BIN)/python scripts/generate-protobuf --check
	$(BIN)/python -m tests.sidebyside.differences --check docs/envoy-differences.md
	$(BIN)/python -m benchmarks.document --check docs/performance.md
	$(BIN)/towncrier build --draft --version 0

protobuf: $(VENV)/.python  ## make src/**/*_pb2.py of proto/
	VENV=$(VENV) PYTHON=$(BIN)/python scripts/generate-protobuf

demo: $(VENV)/.test  ## two sidecars, an application between them, and what they learn of each other
	$(BIN)/mxproxy demo

sidebyside: $(VENV)/.test  ## the same configuration files run by the real Envoy and by mxproxy, compared
	$(BIN)/python -m twisted.trial --jobs=2 tests.sidebyside

e2e: $(VENV)/.test  ## real applications through real sidecars; installs them as Debian packages
	scripts/install-e2e-packages
	$(BIN)/python -m twisted.trial tests.e2e

bench: $(VENV)/.bench  ## mxproxy beside Envoy, nginx, HAProxy, stunnel (BENCH=--help, BENCH=--smoke)
	scripts/install-benchmark-peers
	$(BIN)/python -m benchmarks $(BENCH)

microbench: $(VENV)/.bench  ## what bytes, chunks and connections cost, beside the last release (MICRO=--fast)
	rm -f micro.json
	$(BIN)/python -m benchmarks.micro $(MICRO) --quiet -o micro.json
	$(BIN)/python -m benchmarks.micro.compare micro.json

faults: $(VENV)/.test  ## a peer that closes, resets, stalls or corrupts at every byte; 100 MB half-closed
	$(BIN)/python -m tests.faults

soak: SECONDS = 1200
soak: $(VENV)/.test  ## a pair under mixed traffic while certificates change and connections die (SECONDS=1200)
	$(BIN)/python -m soak --seconds $(SECONDS)

exploration: $(VENV)/.test  ## every interleaving of two sides of an exchange (DEPTH=1, of 0 to 2)
	$(BIN)/python -m tests.exploration --depth $(DEPTH)

load: $(VENV)/.test  ## 10,000 idle connections, 2,000 stalled handshakes beside traffic (LOAD='--idle 200 --stalled 100')
	$(BIN)/python -m tests.load $(LOAD)

mutation: $(VENV)/.mutation  ## would the tests notice a change of wire/ and the handshake layer? (MODULES=wire/prefix.py)
	$(BIN)/python -m tests.mutation $(MODULES)

fuzz: $(VENV)/.fuzz  ## every decoder and the inbound chain, coverage-guided (SECONDS=60 for each, TARGETS='chain http')
	for target in $(TARGETS); do $(BIN)/python fuzz/run.py $$target --seconds $(SECONDS) || exit 1; done

clean:  ## remove what the other targets made
	rm -rf $(VENV) .tox build dist src/*.egg-info _trial_temp* .coverage .coverage.* htmlcov
	rm -rf .bench bench.json bench.png micro.json .hypothesis .mypy_cache .ruff_cache twisted/plugins/dropin.cache
	rm -f src/mxproxy/transports/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as old as the installation; a change of what is to be installed makes it stale.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo 'mxproxy needs Python 3.10 to 3.13: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@touch $@

$(VENV)/.test: $(VENV)/.python setup.cfg setup.py pyproject.toml src/mxproxy/transports/flows.c
	@echo 'installing mxproxy and what its tests use into $(VENV): a minute'
	@# Where it cannot be built any more, an older one is not what is tested.
	@rm -f src/mxproxy/transports/_flows*.so
	$(PIP) install --quiet --editable '.[test]'
	@# xds-protos brings older files of the same names, and may have come last.
	$(PIP) install --quiet --force-reinstall --no-deps 'opentelemetry-proto>=1.45,<2'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	$(PIP) install --quiet --editable '.[test,fuzz]'
	@touch $@

$(VENV)/.mutation: $(VENV)/.test
	$(PIP) install --quiet --editable '.[test,mutation]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install --quiet --editable '.[test,bench]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install --quiet --editable '.[test,lint]'
	@touch $@
