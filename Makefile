# Every target sets up what it needs by itself: git, make and Python 3.11 or newer with venv are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
BENCH := .venv-bench
# By a line with the folder: the finder that setuptools would install takes as long as the start of Python, at each start of one.
EDITABLE := --config-settings editable_mode=compat --editable
CACHE := $(VENV)/.pycache
SOURCES := $(shell find device_auth hardware -type f -not -name '*.pyc')
DEMO_DIR := .demo
DEMO := $(BIN)/device-auth --simulate --state-dir $(DEMO_DIR)/state --runtime-dir $(DEMO_DIR)/run

.PHONY: help demo pictures test test-slow coverage test-factory test-factory-quick test-kills test-oldest test-bare test-newest test-extras test-vm test-deploy test-package test-images test-clients mutants check bench instructions deb dist test-dist constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         link a simulated speaker to a simulated Amazon, then show status and token"
	@echo "make pictures     take the README's recording and pictures anew (chromium)"
	@echo "make test         unit, property, contract and system tests"
	@echo "make test-slow    the store killed at every system call, pages in a browser, every phrase heard, every bench run once"
	@echo "make coverage     the same tests, counting what they reach, with the floors held (four minutes)"
	@echo "make test-kills   the daemon killed at 200 random moments (eight minutes)"
	@echo "make test-factory-quick  a line of eight simulated units, four of them broken"
	@echo "make test-factory the factory whole: PostgreSQL, stations killed at random moments (Debian 12, root)"
	@echo "make mutants      break each decision of core/speaker.py, and see a test notice (four minutes)"
	@echo "make check        format, lint, types, import floors"
	@echo "make bench        the figures of the README, each beside a peer in the same run; COMPARE=REVISION"
	@echo "make instructions how many instructions link, token and status take (valgrind)"
	@echo "make test-oldest  the tests against the oldest supported packages"
	@echo "make test-bare    every verb in an environment without any extra package"
	@echo "make test-extras  each command of docs/hardware.md in Debian trees, also with ARCH=arm64 (Debian 12, root)"
	@echo "make test-newest  the tests on Python 3.13, or on NEWEST=PYTHON"
	@echo "make test-vm      the hardware tests on a real kernel in a virtual machine (Debian 12, root)"
	@echo "make test-deploy  the service on booted Debian systems in a virtual machine, also with ARCH=arm64 (Debian 12, root)"
	@echo "make test-images  what makes images, judged by rpi-image-gen, cloud-init and shellcheck, and run in a tree (Debian 12, root)"
	@echo "make test-package the Debian packages: built, judged by lintian, from install to purge in Debian's trees (Debian 12, root)"
	@echo "make test-clients clients of others against the simulated Amazon (npm, oidc-agent; three minutes)"
	@echo "make deb          the Debian package, for this machine's suite, or in a tree of Debian's: SUITE=bookworm|trixie (root)"
	@echo "make dist         wheel, sdist, zipapp, Debian packages, and what each consists of, in dist (packages: root)"
	@echo "make test-dist    two builds are equal, and each artefact runs on each Python (root for the packages)"
	@echo "make constraints  look up anew what an installation by hand takes, with hashes"
	@echo "make clean        remove what these targets made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("This needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing what it needs into $(VENV), which takes a moment."
	$(PIP) install $(EDITABLE) '.[simulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing what the tests need into $(VENV), about half a minute."
	$(PIP) install $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@rm -rf $(DEMO_DIR)
	@mkdir -m 700 $(DEMO_DIR)
	$(DEMO) link
	$(DEMO) status
	$(DEMO) token

# What judges pages, alone: the package would bring a browser of its own along.
$(VENV)/axe: | $(VENV)/.dev
	$(PIP) install --no-deps --target $@ axe-playwright-python==0.1.8

pictures: $(VENV)/.dev
	$(BIN)/python -m tests.pictures.make

# What is compiled is kept, whatever the environment says: pytest rewrites each assertion of each file, in each worker.
# Collecting once beforehand, in two halves, does it for all of them. Workers beyond the cores fill the waits of the others.
test test-slow coverage $(CACHE): export PYTHONPYCACHEPREFIX = $(CURDIR)/$(CACHE)
test test-slow coverage $(CACHE): export PYTHONDONTWRITEBYTECODE =
# A plugin of hypothesis loads trio, which a browser's driver brought along, at each start; no test here is of trio.
test test-slow coverage $(CACHE): export HYPOTHESIS_NO_PLUGINS = 1

$(CACHE): | $(VENV)/.dev
	@echo "Compiling the tests, once: about half a minute."
	@$(BIN)/pytest --collect-only --quiet tests/unit > $(VENV)/.collected-units & units=$$!; \
	    $(BIN)/pytest --collect-only --quiet --ignore tests/unit > $(VENV)/.collected && wait $$units

test: $(VENV)/.dev | $(CACHE)
	$(BIN)/pytest -n 6 --dist worksteal -m 'not slow and not factory'

test-slow: $(VENV)/.dev | $(CACHE) $(VENV)/axe
	$(BIN)/pytest -n 6 --dist worksteal -m slow

# Counting costs as much again as half of the tests themselves, so it has a lane of its own.
coverage: $(VENV)/.dev | $(CACHE) $(VENV)/axe
	@rm -f .coverage .coverage.*
	$(BIN)/pytest -n 6 --dist worksteal -m 'not factory' --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='device_auth/core/*,device_auth/wire/*' --fail-under=100

test-factory-quick: $(VENV)/.dev
	$(BIN)/pytest -n 5 -m factory_quick tests/factory

# The factory whole: 32 units, records on PostgreSQL, stations killed at random moments (PostgreSQL's programs, root).
test-factory: $(VENV)/.dev
	$(BIN)/pytest -m factory
	$(BIN)/python -m tests.factory.power_cuts

test-kills: $(VENV)/.dev
	$(BIN)/python -m tests.kills

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants

# SIGKILL of make leaves a recipe running; a virtual machine would go on for minutes.
ENDS_WITH_MAKE := setpriv --pdeathsig TERM

test-vm: | $(BIN)/python
	$(ENDS_WITH_MAKE) tests/vm/run $(BIN)/pip

# SUITES, SCRIPTS and ARCH choose; BOOT_WITH is what each virtual machine is started by (nice, flock FILE). SABOTAGE=yes: packages
# with faults, of which each must fail the lane; here those that only a boot shows, in test-package the others.
SUITES ?= bookworm trixie
ARCH ?= amd64
SABOTAGE ?=
SCRIPTS ?=
BOOT_WITH ?=

test-deploy: | $(BIN)/python
	for suite in $(SUITES); do $(BOOT_WITH) $(MAKE) --silent deb SUITE=$$suite || exit; done
	$(ENDS_WITH_MAKE) $(BIN)/python -m tests.deploy.$(if $(SABOTAGE),sabotage,boot --arch $(ARCH)) $(SUITES:%=--suite %) \
	    --prefix '$(BOOT_WITH)' $(SCRIPTS)

# Built twice, judged, and lived through from install to purge in trees.
test-package: | $(BIN)/python
	$(BIN)/python -m tests.deploy.package $(SUITES:%=--suite %) $(if $(SABOTAGE),--sabotage)

# What makes images: judged by the tools that read it, its hooks run in a tree. RPI_IMAGE_GEN names a clone of that generator.
test-images:
	$(MAKE) deb SUITE=trixie
	tests/deploy/images dist/device-auth_*~deb13u1_all.deb

# Clients that this project did not write; what is missing here is named, and fails the run.
CLIENTS := .venv-clients

$(CLIENTS)/.installed: tests/clients/requirements.txt tests/clients/node/package.json
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip --disable-pip-version-check --quiet install --requirement tests/clients/requirements.txt
	cd tests/clients/node && npm install --silent --no-audit --no-fund --no-package-lock
	@touch $@

test-clients: $(VENV)/.dev $(CLIENTS)/.installed
	$(BIN)/python -m tests.clients.matrix
	$(BIN)/python -m tests.clients.description

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The packages of Debian bookworm, to the last figure: a later correction has hidden what an owner meets. The plugin of the oldest
# requests-mock uses what the newest pytest no longer has, and no test needs it.
OLDEST := 'requests==2.28.1' 'urllib3==1.26.12' 'qrcode==7.4.2' 'cryptography==38.0.4' 'flask==2.2.2' 'werkzeug==2.2.2' 'requests-mock==1.9.3'

.venv-oldest/.dev: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip --disable-pip-version-check --quiet install $(EDITABLE) '.[dev]' $(OLDEST)
	@touch $@

test-oldest: .venv-oldest/.dev
	.venv-oldest/bin/pytest -n 6 --dist worksteal -m 'not factory' -p no:requests_mock

# Another Python: that of trixie, unless one is named.
NEWEST ?= python3.13

.venv-newest/.dev: pyproject.toml
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/pip --disable-pip-version-check --quiet install $(EDITABLE) '.[dev]'
	@touch $@

test-newest: .venv-newest/.dev
	.venv-newest/bin/pytest -n 6 --dist worksteal -m 'not factory'

# As on a speaker whose owner has installed nothing but the program.
.venv-bare/.installed: pyproject.toml $(SOURCES)
	@test -x .venv-bare/bin/python || $(PYTHON) -m venv .venv-bare
	@rm -rf build
	.venv-bare/bin/pip --disable-pip-version-check --quiet install .
	@rm -rf build
	@touch $@

test-bare: $(VENV)/.dev .venv-bare/.installed
	DEVICE_AUTH_BARE=$(CURDIR)/.venv-bare/bin/device-auth $(BIN)/pytest tests/system/test_without_extras.py

test-extras: | $(BIN)/python
	$(BIN)/python -m tests.extras.run $(ARCH) $(SUITES)

# Installed as on a speaker, compiled: run from the sources, a start would mostly measure the compiler.
$(BENCH)/.installed: pyproject.toml $(SOURCES)
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@rm -rf build
	$(BENCH)/bin/pip --disable-pip-version-check --quiet install --compile '.[simulator]'
	@rm -rf build *.egg-info
	@touch $@

# COMPARE=REVISION measures that revision's program in the same run.
bench: $(BENCH)/.installed
	$(BENCH)/bin/python -m tests.bench.table $(COMPARE:%=--compare %)
	$(BENCH)/bin/python -m tests.bench.speakers

instructions: $(VENV)/.dev
	$(BIN)/python -m tests.bench.table --only instructions

# In a tree of the suite, or else with what this machine has: dpkg names what is missing.
SUITE ?=

deb:
	$(if $(SUITE),tests/deploy/in-tree "$$(tests/deploy/tree $(SUITE) build)" .) deploy/build-deb dist

# The same setuptools builds a release and an installation by hand.
.venv-dist/.installed: deploy/constraints.txt
	@test -x .venv-dist/bin/python || $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/pip --disable-pip-version-check --quiet install --require-hashes --requirement deploy/constraints.txt
	.venv-dist/bin/pip --disable-pip-version-check --quiet install 'cyclonedx-bom==7.5.0' 'pip-tools==7.6.2'
	@touch $@

dist: .venv-dist/.installed
	@rm -rf dist
	.venv-dist/bin/python deploy/build_dist.py dist $(SUITES)

test-dist: .venv-dist/.installed $(VENV)/.dev
	SUITES='$(SUITES)' $(BIN)/pytest --noconftest tests/deploy/dist_checks.py

constraints: .venv-dist/.installed
	CUSTOM_COMPILE_COMMAND='make constraints' .venv-dist/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe \
	    --strip-extras --no-emit-index-url --no-emit-find-links --extra gpiod --build-deps-for wheel \
	    --output-file deploy/constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) .venv-* $(DEMO_DIR) build dist *.egg-info tests/clients/node/node_modules .coverage .coverage.* .hypothesis .schemathesis .mypy_cache .pytest_cache .ruff_cache
