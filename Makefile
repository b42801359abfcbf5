# make reproduce                 run every notebook in quick mode on the embedded samples
# make reproduce PRESET=report   the notebooks' full settings, on data/LOLdataset
# make reproduce NOTEBOOK=05     one notebook
# make reproduce DETERMINISTIC=1 two runs on one machine give the same figures bit for bit
# make reproduce JOBS=1          one notebook at a time (quick mode: two, where there are two processors)
# make test                      the test suite
# make reliability               count again what hostile input does, for docs/reliability.md
# make notebooks                 open the notebooks in JupyterLab
# make bench                     speed and memory
# make clean                     remove the environment, caches and quick runs (data and longer runs stay)
# PYTHON=/path/to/python chooses the interpreter of .venv.

PRESET ?= quick
NOTEBOOK ?=
DETERMINISTIC ?=
JOBS ?=
PYTHON ?=

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help reproduce test reliability notebooks bench clean

export KERAS_BACKEND ?= tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 3
# oneDNN, which TensorFlow leaves off on processors without AVX-512, halves the time of most convolutional training.
export TF_ENABLE_ONEDNN_OPTS ?= 1
# glibc gives the large temporary tensors back to the system after each step and faults them in again page by page, a
# good part of the training time on a CPU: keep them, in one arena (the others hold at most 64 MiB) and in huge pages,
# which takes a fifth to a third more memory.
export MALLOC_MMAP_THRESHOLD_ ?= 34359738368
export MALLOC_TRIM_THRESHOLD_ ?= 34359738368
export MALLOC_TOP_PAD_ ?= 67108864
export MALLOC_ARENA_MAX ?= 1
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

reproduce: .venv/.installed
	@.venv/bin/python -m lle.reproduce --preset '$(PRESET)' --notebook '$(NOTEBOOK)' $(if $(DETERMINISTIC),--deterministic) \
	  $(if $(JOBS),--jobs '$(JOBS)')

test: .venv/.installed-test
	.venv/bin/python -m pytest

reliability: .venv/.installed-test
	rm -f docs/reliability.md
	LLE_RELIABILITY=write .venv/bin/python -m pytest -n 0 tests/test_hostile_*.py tests/test_properties.py tests/test_fuzz.py

notebooks: .venv/.installed
	.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks

bench: .venv/.installed
	.venv/bin/python benchmarks/run.py

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis runs/quick runs/reproduce

.venv/bin/python:
	@is_supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  "$$python" -c "$$is_supported" 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11, 3.12 or 3.13 is needed$(if $(PYTHON), and $(PYTHON) is none): install one or set PYTHON=/path/to/it." >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python has no venv module: install it (Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; \
	fi; \
	if ! log=$$("$$python" -m venv --clear .venv 2>&1); then \
	  if [ "$$(df -Pk . | awk 'NR == 2 {print $$4}')" -lt 100000 ]; then echo "$(disk_full)"; \
	  else echo "Could not create .venv: $${log##*$$'\n'}"; fi >&2; rm -rf .venv; exit 1; \
	fi

disk_full := The disk is full: the environment takes about 4 GB.

define install
	@echo "Installing into .venv (a few minutes the first time)"; \
	set -o pipefail; \
	shown='/(Downloading|Using cached) .*\([0-9][0-9]+[.]?[0-9]* MB\)|^Installing collected/ {print substr($$0, 1, 100); fflush()}'; \
	if ! log=$$(.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -e '$(1)' 2>&1 | \
	    tee >(awk "$$shown" >&2)); then \
	  case "$$log" in \
	    *"No space left"*) echo "$(disk_full)" ;; \
	    *"Failed to establish"*|*"Max retries"*|*"name resolution"*|*"timed out"*|*ProxyError*) \
	      echo "The packages could not be fetched: pip reached no package index. Check the network and run make again." ;; \
	    *) grep -E '^ *(ERROR|error)' <<<"$$log" | tail -n 1 ;; \
	  esac >&2; exit 1; \
	fi; \
	if ! .venv/bin/python -c 'import cv2' 2>/dev/null; then \
	  version=$$(.venv/bin/python -c 'from importlib.metadata import version; print(version("opencv-python"))'); \
	  echo "This machine has no graphics libraries: using OpenCV's headless build."; \
	  .venv/bin/python -m pip uninstall -q -y opencv-python && \
	  .venv/bin/python -m pip install -q --disable-pip-version-check "opencv-python-headless==$$version" || exit 1; \
	fi
	@touch $@
endef

.venv/.installed: requirements.txt pyproject.toml | .venv/bin/python
	$(call install,.)

.venv/.installed-test: requirements.txt pyproject.toml | .venv/bin/python
	$(call install,.[test])
	@touch .venv/.installed
