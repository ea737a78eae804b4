# Run `make` to see the targets. Everything works from a clean clone: each target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup ready demo test check fast lab soak bench deb floors lock clean
.NOTPARALLEL:

MINUTES ?= 60
python := .venv/bin/python
# Where it is set, each start would compile autoballoon anew, and each of pytest's processes every test.
export PYTHONDONTWRITEBYTECODE =
timed := tools/timed

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## install what is missing: Debian packages (needs root), .venv/; prints what it installs
	@$(timed) set-up tools/setup

ready: ## the same, with what only tests need: a libvirt, a browser, shellcheck
	@$(timed) set-up tools/setup tests

demo: setup ## real guests, autoballoon off against on: the table, and a picture of why (root, under 8 minutes)
	@$(timed) demo .venv/bin/autoballoon lab run wave

test: check fast lab ## everything: set-up, then these three, each with its time (root, 11 minutes or so)

check: ready ## what can be said without running it: ruff, mypy --strict, import-linter, shellcheck
	@$(timed) check tools/check

fast: ready ## tests without QEMU (about a minute)
	@$(timed) "fast suite" $(python) -m pytest -q -m "not lab" -n 2 --dist worksteal

lab: ready ## tests on real guests, and in a real browser (root)
	@$(timed) "real guests, two tests at a time" $(python) -m pytest -v -m "lab and not alone" -n 2 --dist loadfile --no-loadscope-reorder --durations=12
	@$(timed) "real guests, one test at a time" $(python) -m pytest -v -m "lab and alone" --durations=12

soak: ready ## the floors, then tests again and again for MINUTES=60: property tests at length, real guests
	@$(timed) floors tools/floors
	@$(timed) soak tools/soak $(MINUTES)

bench: setup ## how fast the core decides, what a look at the host costs, how long the simulator takes, what the daemon, the agent and hostile agents cost
	@$(python) bench/engine.py
	@$(python) bench/host_readers.py
	@$(python) bench/simulator.py
	@$(python) bench/daemon.py
	@$(python) bench/agent.py
	@$(python) bench/hostile.py --seconds 5

deb: ## dist/autoballoon_VERSION_amd64.deb, for Debian 12 (installs no QEMU)
	@$(timed) set-up tools/setup deb
	@$(timed) deb tools/deb

driver: setup ## build the guests' balloon driver (guest/driver) against Debian's headers, which are unpacked, not installed
	@.venv/bin/autoballoon lab driver

floors: ready ## fast tests with the lowest versions that pyproject.toml allows
	@$(timed) floors tools/floors

lock: ## write requirements.lock anew, with the newest versions
	@$(timed) lock tools/lock

clean: ## remove what was made here: .venv/, caches, build/, results/
	rm -rf .venv build dist results .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
