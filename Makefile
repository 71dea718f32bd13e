# Everything from a bare machine: `make bench` sets up and runs, `make test` sets up and tests.
# `make bench ARGS="--scheme all --users 2000"` runs `bench run --scheme all --users 2000`.

ARGS ?= --scheme redis --users 10000
RUN ?= results/latest
NOISE ?= --scheme redis --users 500 --rate 40
LIES ?= --users 2000 --rate 100 --duration 60
BIN := .venv/bin

# Where it is set, pytest rewrites and compiles every test module anew: six seconds for each process.
export PYTHONDONTWRITEBYTECODE :=

# Ten thousand users are ten thousand sockets at each end.
FILES := ulimit -n "$$(ulimit -Hn)" 2>/dev/null || true

# A series of runs may take longer than pyproject.toml says.
SERIES := --timeout 0 -o faulthandler_timeout=0

.PHONY: help setup setup-python setup-test bench test fast lint speed clean record-clean \
	proof-mutations proof-guards proof-selftest proof-clean proof-stale-fills proof-check-speed proof-noise proof-capacity \
	proof-live proof-own-effect proof-gate

help:
	@echo "make setup    install what is missing: Python packages, MariaDB, Redis, Java, Kafka"
	@echo "make bench    set up, then: bench run $(ARGS)      (ARGS=\"…\" for another run)"
	@echo "make test     set up (and Node.js with ws), then everything that checks this project, with real services"
	@echo "make fast     what needs no service: lint, types, import rules, fast tests"
	@echo "make speed    how fast the harness itself is; wants a quiet machine"
	@echo "make proof-mutations   thousands of mutants of a clean record against the checks; docs/evidence/mutations.md"
	@echo "make proof-selftest    lies of three doses through a proxy, at the load of a run ($(LIES)); docs/evidence/selftest.txt"
	@echo "make proof-clean       300 honest runs, half of them disturbed: none may be accused; goes on where it stopped"
	@echo "make proof-stale-fills   redis with and without the lease, MySQL slower and slower; docs/evidence/stale-fills.md"
	@echo "make proof-guards   each guard with causes just below and above its threshold, and 60 clean runs; docs/evidence/guards.md"
	@echo "make proof-check-speed   seconds and memory of each check up to 10 million operations, from RUN=$(RUN)"
	@echo "make proof-noise   what bench noise $(NOISE) says is visible, planted; docs/evidence/noise.md"
	@echo "make proof-capacity   searches for capacities that are known by construction; docs/evidence/capacity.md"
	@echo "make proof-own-effect   probes, samplers and stage times on and off: CPU and READ p50; docs/evidence/own-effect.md"
	@echo "make proof-gate   READs stretched by 0 to 50 %, and what bench check --against says of it; docs/evidence/gate.md"
	@echo "make proof-live   tests that are long series of live runs: every arm's work ledger, coordinated omission"
	@echo "make record-clean      record the clean run that the mutants are made of anew"
	@echo "make clean    remove .venv and caches (results stay)"

setup:
	@tools/setup.sh all

setup-python:
	@tools/setup.sh python

setup-test:
	@tools/setup.sh test

bench: setup
	@$(FILES); $(BIN)/bench run $(ARGS)

# What measures has the cores for itself; all else shares them, each worker with services of its own.
test: setup-test lint
	@$(FILES); failed=0; \
	$(BIN)/pytest -n 2 --dist loadfile -m "not services and not speed and not proof" || failed=1; \
	$(BIN)/pytest -n 2 --dist loadfile -m "services and not speed and not proof" --ignore tests/e2e || failed=1; \
	$(BIN)/pytest -m "services and not speed and not proof" tests/e2e || failed=1; \
	exit $$failed

fast: setup-python lint
	@$(FILES); $(BIN)/pytest -n 2 --dist loadfile -m "not services and not slow and not speed"

lint: setup-python
	@$(BIN)/ruff check .
	@$(BIN)/mypy

speed: setup
	@$(FILES); $(BIN)/pytest $(SERIES) -m speed

proof-selftest: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/bench selftest $(LIES) > docs/evidence/selftest.txt; code=$$?; cat docs/evidence/selftest.txt; exit $$code

proof-clean: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/bench selftest --clean 300 > docs/evidence/clean.txt; code=$$?; cat docs/evidence/clean.txt; exit $$code

proof-capacity: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/python -m tests.proofs.capacity > docs/evidence/capacity.md.new; code=$$?; \
	cat docs/evidence/capacity.md.new; mv docs/evidence/capacity.md.new docs/evidence/capacity.md; exit $$code

proof-stale-fills: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/python -m tests.proofs.stale_fills > docs/evidence/stale-fills.md; code=$$?; cat docs/evidence/stale-fills.md; exit $$code

# Goes on where it stopped; docs/evidence/guards.jsonl has every run.
proof-guards: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/python -m tests.proofs.guards > docs/evidence/guards.md.new; code=$$?; \
	mv docs/evidence/guards.md.new docs/evidence/guards.md; cat docs/evidence/guards.md; exit $$code

proof-check-speed: setup-python
	@mkdir -p docs/evidence
	@$(BIN)/python -m tests.proofs.check_speed $(RUN) > docs/evidence/check-speed.md.new
	@mv docs/evidence/check-speed.md.new docs/evidence/check-speed.md

proof-noise: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/bench noise $(NOISE)
	@$(BIN)/python -m tests.proofs.noise results/latest-comparison/noise.json > docs/evidence/noise.md; \
	code=$$?; cat docs/evidence/noise.md; exit $$code

# Goes on where it stopped; docs/evidence/own-effect.jsonl has every block.
proof-own-effect: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/python -m tests.proofs.own_effect > docs/evidence/own-effect.md.new; code=$$?; \
	cat docs/evidence/own-effect.md.new; mv docs/evidence/own-effect.md.new docs/evidence/own-effect.md; exit $$code

# Goes on where it stopped; docs/evidence/gate.jsonl has every gate.
proof-gate: setup
	@mkdir -p docs/evidence
	@$(FILES); $(BIN)/python -m tests.proofs.gate > docs/evidence/gate.md.new; code=$$?; \
	cat docs/evidence/gate.md.new; mv docs/evidence/gate.md.new docs/evidence/gate.md; exit $$code

proof-live: setup
	@$(FILES); $(BIN)/pytest $(SERIES) -m proof

proof-mutations: setup-python
	@mkdir -p docs/evidence
	@$(BIN)/python -m bench.selftest.scores > docs/evidence/mutations.md.new
	@mv docs/evidence/mutations.md.new docs/evidence/mutations.md

record-clean: setup
	@$(FILES); $(BIN)/python -m bench.selftest.record

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
