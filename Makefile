# Sets up .venv with what a target needs (once; without ROS and without a GPU too) and runs the target in it.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -q --disable-pip-version-check
CPU_TORCH := https://download.pytorch.org/whl/cpu
# 2.3 is the first that works with NumPy 2.
OWN_TORCH := import sys, torch; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 3); \
    assert sys.prefix == sys.base_prefix
# Whether .venv is of another Python than it was made of (the system was upgraded) or than now asked for (PYTHON=...).
VERSION := import sys; print(*sys.version_info[:2], sep=".")
OF := $(if $(filter file,$(origin PYTHON)),$(BIN)/python,$(PYTHON))
STALE := $(shell [ ! -e .venv/base.stamp ] || [ "$$($(OF) -c '$(VERSION)')" = "$$(cat .venv/base.stamp)" ] || echo stale)

# Fast DDS loses large images with its default transport; see dfanet_ros/transports.py.
export FASTDDS_BUILTIN_TRANSPORTS ?= LARGE_DATA?sockets_size=16MB
# An installed ROS 2 whose setup.bash was sourced must not mix with the wheels of .venv.
unexport AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION

.PHONY: help demo soak test lint bench train clean stale

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/$(if $(LIVE),live,demo).stamp ## frames through DDS to the node and back [FRAMES=folder LABELS=folder RATE=fps WEIGHTS=file]; LIVE=1: in a browser
ifdef LIVE
	@$(BIN)/python -m dfanet_ros.live $(if $(FRAMES),--source "$(FRAMES)") $(if $(RATE),--rate $(RATE)) \
	    $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)
else
	@$(BIN)/python -m dfanet_ros.demo --out build/demo $(if $(FRAMES),--frames "$(FRAMES)") \
	    $(if $(LABELS),--labels "$(LABELS)") $(if $(RATE),--rate $(RATE)) $(if $(WEIGHTS),--weights "$(WEIGHTS)")
endif

soak: .venv/dev.stamp ## every fault there is, 20,000 frames and 10,000 broken messages, for half an hour
	@$(BIN)/python test/soak.py $(ARGS)

test: $(if $(ROS),.venv-$(ROS)/ros.stamp,.venv/dev.stamp) ## run the tests [ARGS="-k node"]; ROS=jazzy: those that need ROS, with Jazzy
	@$(if $(ROS),.venv-$(ROS),.venv)/bin/python -m pytest $(if $(ROS),-m ros) $(ARGS)

lint: .venv/dev.stamp ## check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: .venv/demo.stamp ## measure network, segmenter and node with every engine that is installed [ARGS="--sizes 360x480"]
	@$(BIN)/python -m dfanet_ros.benchmark --out build/bench $(ARGS)

train: .venv/training.stamp ## train a network: CONFIG=file OUT=folder [DATA=folder ARGS="--resume --devices 2"]
	@$(BIN)/python -m training.train $(if $(CONFIG),--config "$(CONFIG)") $(if $(OUT),--out "$(OUT)") \
	    $(if $(DATA),--data "$(DATA)") $(ARGS)

clean: ## delete .venv, .venv-jazzy and everything that was built
	rm -rf .venv .venv-* build install log *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache

# Stamps: a file that says that it was done, so that the second `make demo` does nothing.
.venv/%.stamp: requirements/%.txt $(wildcard requirements/*.txt) .venv/base.stamp
	@echo "Installing $< into .venv; the first time this takes a few minutes."
	@$(PIP) install -c .venv/constraints.txt -r $<
	@touch $@

# Another ROS 2 than that of .venv, on top of it: its wheels shadow those of .venv, all the rest is shared. The wheels
# come first, for pip would take what it finds in .venv for installed.
.venv-%/ros.stamp: requirements/%.txt .venv/base.stamp | .venv/dev.stamp
	@echo "Making .venv-$* with the wheels of ROS 2 $*."
	@rm -rf .venv-$*
	@$(BIN)/python -m venv $$(grep -q 'site-packages = true' .venv/pyvenv.cfg && echo --system-site-packages) .venv-$*
	@sed '/^ros-/d' .venv/constraints.txt > .venv-$*/constraints.txt
	@.venv-$*/bin/python -m pip -q --disable-pip-version-check install -c .venv-$*/constraints.txt -r $<
	@cd .venv && for site in lib/python*/site-packages; do \
	    echo "$(CURDIR)/.venv/$$site" > "../.venv-$*/$$site/shared.pth"; \
	done
	@touch $@

# torch and its triton: the user's own where there are (a robot vendor's build for its GPU, say), unless in a virtual
# environment, from which nothing can be shared. Else, without a GPU, the CPU build, for the one on PyPI brings gigabytes
# of CUDA. Its index is asked for torch only; if that fails, so be it.
.venv/base.stamp: constraints.txt $(STALE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is not Python 3.10 or newer: name one that is, e.g. make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: apt install python3-venv"; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)."
	@$(if $(STALE),rm -rf .venv .venv-*)
	@if $(PYTHON) -c '$(OWN_TORCH)' 2> /dev/null; then \
	    $(PYTHON) -m venv --system-site-packages .venv; \
	    sed '/^torch==/d; /^triton==/d' constraints.txt > .venv/constraints.txt; \
	else \
	    $(PYTHON) -m venv .venv; \
	    cp constraints.txt .venv/constraints.txt; \
	    command -v nvidia-smi > /dev/null || \
	        $(PIP) --retries 1 install --no-deps --extra-index-url $(CPU_TORCH) -c constraints.txt torch 2> /dev/null || \
	        true; \
	fi
	@$(BIN)/python -c '$(VERSION)' > $@
