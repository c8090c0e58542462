# Everything a person does here. Needs python3 (3.11 or newer, with venv), make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
ARGS ?=
# The tests of a file run in turn, and two files at a time, folder by folder, since those of a folder share processes.
# `make test SIDE_BY_SIDE=` runs one at a time (a debugger wants that).
SIDE_BY_SIDE ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder

# A copied or moved tree, or a Python that is gone, would run another tree's code: start over.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(VENV)/tree 2>/dev/null),$(CURDIR))
$(shell rm -f $(VENV)/tree $(VENV)/*.locked $(VENV)/*.stamp)
endif

##@ Use
.PHONY: run
run: $(VENV)/run.stamp ## start the gateway, a sandbox provider and a sample registry (no key, no network)
	@$(BIN)/python -m comptroller demo $(ARGS)

.PHONY: example
example: .venv-examples/stamp ## run an example against `make run`; ARGS=examples/pydantic_ai_team.py
	@PYTHONPATH=src .venv-examples/bin/python $(or $(ARGS),$(error Which one? make example ARGS=examples/pydantic_ai_team.py))

##@ Check
.PHONY: test
test: $(VENV)/dev.stamp .venv-anthropic-old/stamp .venv-examples/stamp ## run the tests; ARGS="-k budget" picks some
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: lint
lint: $(VENV)/dev.stamp ## style, format, types and the floors of the house
	@echo "== ruff check" && $(BIN)/ruff check .
	@echo "== ruff format" && $(BIN)/ruff format --check .
	@echo "== pyright strict" && $(BIN)/basedpyright
	@echo "== import-linter" && $(BIN)/lint-imports --no-cache --no-logo

.PHONY: format
format: $(VENV)/dev.stamp ## rewrite the code in our format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: torture
torture: $(VENV)/dev.stamp ## the long seeded run against real processes; ARGS="--help" for its options
	@$(BIN)/python -m tests.torture $(ARGS)

.PHONY: incidents
incidents: $(VENV)/dev.stamp ## shapes of public incidents, with limits and without; ARGS="--help" for its options
	@$(BIN)/python -m tests.incidents $(ARGS)

.PHONY: bench
bench: $(VENV)/dev.stamp ## what a call costs on this machine, beside nginx; ARGS="--help" for its parts and options
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-peers
bench-peers: .venv-litellm/stamp ## install LiteLLM in an environment of its own, for `make bench` to measure beside ours

.PHONY: fuzz
fuzz: $(VENV)/dev.stamp ## ten minutes of broken requests at the data plane; ARGS="--help" for its options
	@$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: real
real: $(VENV)/dev.stamp .venv-real/stamp ## the gateway in front of a real local language model
	@$(BIN)/python -m tests.real --model-python .venv-real/bin/python $(ARGS)

CLIENTS := .venv-aider/stamp .venv-examples/stamp .venv-langchain/stamp .venv-llm/stamp .venv-node/clients.stamp

.PHONY: clients
clients: $(VENV)/dev.stamp $(CLIENTS) ## the agents that people run, through the gateway; ARGS="codex llm" picks some
	@$(BIN)/python -m tests.clients $(ARGS)

.PHONY: clients-real
clients-real: $(VENV)/dev.stamp $(CLIENTS) .venv-real/stamp ## some of them on a real local language model
	@$(BIN)/python -m tests.clients --model-python .venv-real/bin/python $(ARGS)

.PHONY: suites
suites: $(VENV)/dev.stamp .venv-suites/sources.stamp .venv-node/suites/stamp ## the SDKs' own API tests, direct and through the gateway
	@$(BIN)/python -m tests.suites $(ARGS)

.PHONY: mcp
mcp: $(VENV)/dev.stamp .venv-mcp/sources.stamp .venv-node/mcp/stamp .venv-node/clients.stamp ## MCP clients and conformance suites that others wrote, direct and through the gateway
	@$(BIN)/python -m tests.mcp_peers $(ARGS)

##@ Keep
.PHONY: lock
lock: $(VENV)/dev.locked ## write the hash-pinned locks anew; ARGS=--upgrade takes new versions
	@$(call compile,run,--group build)
	@$(call compile,otel,--group build --extra otel --constraints requirements/run.txt)
	@$(call compile,dev,--group dev --extra otel --constraints requirements/otel.txt)
	@$(BIN)/uv pip compile --group pyproject.toml:anthropic-old $(LOCKED) --output-file requirements/anthropic-old.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:examples $(LOCKED) --output-file requirements/examples.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:litellm $(LOCKED) --output-file requirements/litellm.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:aider $(LOCKED) --output-file requirements/aider.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:langchain $(LOCKED) --output-file requirements/langchain.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:llm $(LOCKED) --output-file requirements/llm.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:node $(LOCKED) --output-file requirements/node.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:suites $(LOCKED) --output-file requirements/suites.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:mcp $(LOCKED) --output-file requirements/mcp.txt $(ARGS)
	@echo "requirements/*.txt are up to date"

.PHONY: clean
clean: ## remove what was installed and built here, not the state of a gateway
	@rm -rf $(VENV) .venv-* build dist .pytest_cache .hypothesis .ruff_cache .import_linter_cache src/*.egg-info
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## this help
	@awk ' \
	  /^##@ / { section = ++sections "\t" substr($$0, 5) } \
	  /^[a-z-]+:.*## / { name = text = $$0; sub(/:.*/, "", name); sub(/.*## /, "", text); print section "\t" name "\t" text } \
	' $(MAKEFILE_LIST) | LC_ALL=C sort -t "$$(printf '\t')" -k1,1n -k3,3 | awk -F '\t' ' \
	  $$2 != last { printf "%s%s\n", (last ? "\n" : ""), $$2; last = $$2 } \
	  { printf "  make %-8s %s\n", $$3, $$4 }'

# --- how it is installed ------------------------------------------------------------------------
# Wheels only, each pinned by hash: an sdist would run its own build with tools that no lock names.

LOCKED := --quiet --python $(BIN)/python --universal --python-version 3.11 --generate-hashes \
	--only-binary :all: --emit-build-options --custom-compile-command "make lock"
compile = $(BIN)/uv pip compile pyproject.toml $(2) $(LOCKED) --output-file requirements/$(1).txt $(ARGS)

define install-locked
	@echo "installing requirements/$(1).txt into $(VENV); this happens once"
	@$(PIP) install -qq --require-hashes --no-deps -r requirements/$(1).txt
endef

define install-ours
	@$(PIP) install -qq --no-build-isolation --no-deps -e .
	@$(PIP) check >/dev/null || { $(PIP) check; echo "If pyproject.toml asks for more than the locks have: make lock" >&2; exit 1; }
endef

$(VENV)/tree:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)'. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv), or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Comptroller needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' has no venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@printf '%s' "$(CURDIR)" >$@

# In two steps: `make lock` needs what the locks name, and not our own package, which may ask for what they do not name yet.
$(VENV)/run.locked: requirements/run.txt | $(VENV)/tree
	$(call install-locked,run)
	@touch $@

$(VENV)/run.stamp: $(VENV)/run.locked pyproject.toml
	$(call install-ours)
	@touch $@

$(VENV)/dev.locked: requirements/dev.txt requirements/run.txt | $(VENV)/tree
	$(call install-locked,dev)
	@touch $(VENV)/run.locked $@

$(VENV)/dev.stamp: $(VENV)/dev.locked pyproject.toml
	$(call install-ours)
	@touch $(VENV)/run.stamp $@

# Clients of yesterday, agent frameworks and other gateways: each in an environment of its own, from a lock of its own.
.venv-%/stamp: requirements/%.txt | $(VENV)/tree
	@echo "installing $< into .venv-$*; this happens once"
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip --disable-pip-version-check --no-input install -qq --require-hashes --no-deps -r $<
	@touch $@

.venv-node/clients.stamp: .venv-node/stamp tests/clients/node/package.json tests/clients/node/package-lock.json
	@echo "installing the clients of tests/clients/node into .venv-node (1.3 GB, this happens once)"
	@cp tests/clients/node/package.json tests/clients/node/package-lock.json .venv-node/
	@PATH="$(CURDIR)/.venv-node/bin:$$PATH" npm install --prefix .venv-node --no-save --no-fund --no-audit --loglevel=error
	@touch $@

# The SDKs' tests are in their source packages alone. Those are unpacked and not installed; pip asks their build for the name and version, which the lock's own hatchling answers.
.venv-suites/sources.stamp: .venv-suites/stamp tests/suites/sources.txt
	@echo "fetching the sources of tests/suites/sources.txt into .venv-suites; this happens once"
	@rm -rf .venv-suites/sources
	@.venv-suites/bin/python -m pip --disable-pip-version-check --no-input download -qq --require-hashes --no-deps --no-build-isolation --no-binary :all: \
	  -d .venv-suites/sources -r tests/suites/sources.txt
	@for archive in .venv-suites/sources/*.tar.gz; do tar -xzf "$$archive" -C .venv-suites/sources; done
	@touch $@

# The server that the MCP SDK's makers try their conformance suite on, likewise.
.venv-mcp/sources.stamp: .venv-mcp/stamp tests/mcp_peers/sources.txt
	@echo "fetching the sources of tests/mcp_peers/sources.txt into .venv-mcp; this happens once"
	@rm -rf .venv-mcp/sources
	@.venv-mcp/bin/python -m pip --disable-pip-version-check --no-input download -qq --require-hashes --no-deps --no-build-isolation --no-binary :all: \
	  -d .venv-mcp/sources -r tests/mcp_peers/sources.txt
	@for archive in .venv-mcp/sources/*.tar.gz; do tar -xzf "$$archive" -C .venv-mcp/sources; done
	@touch $@

.venv-node/mcp/stamp: .venv-node/stamp tests/mcp_peers/node/package.json tests/mcp_peers/node/package-lock.json
	@echo "installing what tests/mcp_peers/node names into .venv-node/mcp (150 MB, this happens once)"
	@mkdir -p .venv-node/mcp && cp tests/mcp_peers/node/package.json tests/mcp_peers/node/package-lock.json .venv-node/mcp/
	@PATH="$(CURDIR)/.venv-node/bin:$$PATH" npm install --prefix .venv-node/mcp --no-save --no-fund --no-audit --loglevel=error
	@touch $@

.venv-node/suites/stamp: .venv-node/stamp tests/suites/node/package.json tests/suites/node/package-lock.json
	@echo "installing the mock server of tests/suites/node into .venv-node/suites (95 MB, this happens once)"
	@mkdir -p .venv-node/suites && cp tests/suites/node/package.json tests/suites/node/package-lock.json .venv-node/suites/
	@PATH="$(CURDIR)/.venv-node/bin:$$PATH" npm install --prefix .venv-node/suites --no-save --no-fund --no-audit --loglevel=error
	@touch $@
