# Verbs of the repository. PYTHON chooses the interpreter of the environment: make setup PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A person sees what pip does; a log gets one line per step.
PIP := $(BIN)/python -m pip install $(shell [ -t 2 ] || echo --quiet)

# What the installed environment depends on.
PACKAGED := setup.py setup.cfg package.xml $(wildcard launch/* config/* rviz/*)
UNDERLAY := $(shell find underlay gausstr_msgs -name '*.egg-info' -prune -o -path underlay/build -prune -o -type f -print)

.PHONY: help setup demo test lint bench soak
help:
	@echo 'make setup   create $(VENV) and install everything from PyPI'
	@echo 'make demo    play a drive into the node, write demo_output/index.html'
	@echo 'make test    every test that needs neither a GPU nor downloaded weights'
	@echo 'make lint    ruff and mypy'
	@echo 'make bench   time the stages against their references, whole cycles, six cameras over DDS'
	@echo 'make soak    10 minutes of cameras with faults; MINUTES=2 SEED=1 for another run'

setup: $(VENV)/.ready
	@echo 'setup: $(VENV) is up to date'

$(VENV)/bin/python:
	@echo 'setup: creating $(VENV) with $(PYTHON)'
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("setup: needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; try: make setup PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'setup: $(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# rclpy that the plain interpreter finds comes from a ROS install: then nothing of ROS is built.
$(VENV)/.ready: $(PACKAGED) $(UNDERLAY) | $(VENV)/bin/python
	@if $(PYTHON) -c 'import rclpy' 2>/dev/null; then \
		echo 'setup: rclpy comes from the ROS install, installing only what pip has to give'; \
		$(PIP) --editable '.[training,foundation,dev]'; \
		$(BIN)/python -c 'import gausstr_msgs' 2>/dev/null || \
			echo 'setup: for the node, build the messages and source them: colcon build --base-paths . gausstr_msgs && . install/setup.sh'; \
	elif [ "$$(uname -m)" != x86_64 ]; then \
		echo "setup: PyPI has ROS for x86_64 only, this machine is $$(uname -m): source a ROS install and run it again, or, for training without the node, pip install '.[training]'" >&2; exit 1; \
	else \
		echo 'setup: no ROS install found, installing ROS and everything else from PyPI (several GB with torch)'; \
		$(PIP) --editable '.[training,foundation,dev]' ./underlay && \
		$(BIN)/python underlay/bootstrap.py && \
		$(BIN)/python -m gausstr_ros.node.first_run; \
	fi
	@touch $@

demo: setup
	@$(BIN)/gausstr-demo --output demo_output

# Two processes, a file's tests in one of them: most tests keep one core busy, or none.
test: setup
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder \
		-m 'not gpu and not weights'

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup
	@$(BIN)/python -m gausstr_training.benchmarks.fast_paths
	@$(BIN)/python -m gausstr_training.benchmarks.cycles
	@$(BIN)/python -m gausstr_ros.benchmarks.transport_benchmark

MINUTES ?= 10
SEED ?= 0
soak: setup
	@$(BIN)/python test/soak --minutes $(MINUTES) --seed $(SEED)
