# make demo    build a multi-stage image with no daemon, no root and no registry
# make test    lint, types and the tests of firkin alone; test-clients and test-faults are the others
# The virtual environment .venv is made on first use and follows pyproject.toml.

# The interpreter must be one that every user may run: RUN steps and rootless tests start it under other ids.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUN_STAMP := $(VENV)/.stamp-run
STAMP := $(VENV)/.stamp
# One more than there are cores: tests also wait for disks and registries.
JOBS ?= $(shell expr `nproc` + 1)
CASE ?= *
ARGS ?=
WORKLOAD ?=
PYTEST_ARGS ?=

# Debian package names. The demo needs the first two groups only.
VENV_PACKAGES := python3-venv
DEMO_PACKAGES := busybox-static
TEST_PACKAGES := $(DEMO_PACKAGES) uidmap docker-registry skopeo umoci runc buildah mmdebstrap pigz zstd xz-utils \
	openssh-client openssh-server acl libcap2-bin attr iproute2 gcc libc6-dev git openssl zsh fish docker.io podman tmux
# A virtual machine, see docs/dev/vm.md. The emulator alone is a hundred megabytes, so the other tests do without.
VM_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs

.PHONY: demo image test test-clients test-faults test-vm lint types unit e2e conformance bench torture venv test-packages clean help

help:
	@sed -n 's/^# //p' Makefile | head -3; \
	echo 'other targets: venv image lint types unit e2e test-clients test-faults test-vm conformance (CASE=GLOB) bench torture clean'

venv: $(STAMP)

# firkin and what it needs …
$(RUN_STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11 or newer found; set PYTHON=' >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || .ci/apt-ensure 'the virtual environment' $(VENV_PACKAGES)
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(PIP) install -q --upgrade pip
	$(PIP) install -q -e .
	@# What it adds to every interpreter's start costs more than it gives: nothing here needs it.
	$(PIP) uninstall -q -y setuptools
	@touch $@

# … and the tools of its developers.
$(STAMP): $(RUN_STAMP)
	$(PIP) install -q -e '.[dev]'
	@touch $@

test-packages:
	@.ci/apt-ensure 'the tests' $(TEST_PACKAGES)

demo: $(RUN_STAMP)
	@.ci/apt-ensure 'the demo' $(DEMO_PACKAGES)
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo/run

# The executor image, kept in the store as firkin/executor; ARGS='--local-bases' where Docker Hub cannot be reached,
# ARGS='--push NAME', ARGS='--name NAME', ARGS='--platform linux/amd64,linux/arm64', see images/build.py.
image: $(STAMP)
	@$(BIN)/python images/build.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# A process of the tests that dies is a failure and not started again: pytest-xdist then waits for ever for its last tests.
PYTEST := $(BIN)/pytest -n $(JOBS) --dist loadgroup --max-worker-restart 0

test: lint types test-packages
	$(PYTEST) -m 'not clients and not faults' $(PYTEST_ARGS)

# Other engines' tools beside firkin (dockerd, docker, podman, skopeo, runc), applications, databases, the corpus in a pod.
test-clients: $(STAMP) test-packages
	$(PYTEST) -m clients $(PYTEST_ARGS)

# Kills at random moments, full disks, floods and crowds, a few rounds of each.
test-faults: $(STAMP) test-packages
	$(PYTEST) -m faults $(PYTEST_ARGS)

unit: $(STAMP)
	$(BIN)/pytest tests/unit tests/test_source.py $(PYTEST_ARGS)

e2e: $(STAMP) test-packages
	$(BIN)/pytest tests/e2e $(PYTEST_ARGS)

# At most fifteen minutes, as root; not a part of `make test`.
test-vm: $(STAMP)
	@.ci/apt-ensure 'the virtual machine' $(VM_PACKAGES)
	$(BIN)/pytest tests/vm -o python_files='vm_*.py' --timeout 600 --durations 10 $(PYTEST_ARGS)

conformance: $(STAMP) test-packages
	@PYTHONPATH=tests $(BIN)/python -m support.corpus --case '$(CASE)' --jobs $(JOBS) $(ARGS)

# Kill fronts, monitors and first processes at 200 random moments, as root and as a user: half an hour.
torture: $(STAMP) test-packages
	FIRKIN_TORTURE_ROUNDS=200 $(BIN)/pytest tests/e2e/test_torture.py -s $(PYTEST_ARGS)

bench: $(STAMP) test-packages
	@PYTHONPATH=tests $(BIN)/python bench/run.py $(WORKLOAD) $(ARGS)
	@$(BIN)/python bench/report.py

clean:
	.ci/remove demo-out
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
