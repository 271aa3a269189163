# make test   environment, installation, tests (a few minutes)
# make demo   environment, installation, demo clips, training, Table 1
# make reproduce   environment, installation, every result of the paper on demo
#             clips, and a page that shows them (a quarter of an hour)
# PYTHON=python3.13 make test   with another interpreter

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INSTALLED := $(VENV)/installed-$(VERSION)

.PHONY: install test demo reproduce clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

# Chainer builds with setuptools below 81, and only without build isolation.
# An environment of another Python makes room.
$(INSTALLED): setup.py requirements.txt requirements-cpu.txt
	if [ -e $(BIN)/python ] && [ ! -e $(BIN)/python$(VERSION) ]; \
	then rm -rf $(VENV); fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'setuptools<81' wheel
	$(BIN)/python -m pip install --quiet --no-build-isolation \
	    --editable '.[cpu,test]'
	touch $@

test: install
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGUMENTS)

demo: install
	$(BIN)/python experiments/demo.py

reproduce: install
	$(BIN)/python experiments/reproduce.py

clean:
	rm -rf $(VENV) build *.egg-info
