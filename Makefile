# The study from a fresh clone: `make`. What each target does: `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# Own data:  make DATASET=path/to/manifest.csv STUDY=name
# Real data: make DATASET=uhcsdb, downloaded; all of it with PARAMS="-p selection=whole"; other archives: data/datasets.toml
# Own panel: make ... PANEL=data/panels/name
DATASET ?=
# A panel answers one quiz: without STUDY= it is quiz 1's.
STUDY ?= $(if $(filter uhcsdb,$(DATASET)),uhcs,$(if $(DATASET),study,$(if $(PANEL),quiz1)))
PANEL ?=
PARAMS ?=
JOBS ?= 1
SCHEDULER ?=
SEED ?= 0

# An activated conda environment made from environment.yml is used as it is; otherwise .venv is made from the lock.
CONDA_FITS := $(if $(CONDA_PREFIX),$(shell PYTHONPATH=lib "$(CONDA_PREFIX)/bin/python" -m microrace.study check-environment >/dev/null 2>&1 && echo yes))
ifeq ($(CONDA_FITS),yes)
  PYTHON := $(CONDA_PREFIX)/bin/python
  ENVIRONMENT := linked
else
  PYTHON := .venv/bin/python
  ENVIRONMENT := .venv/made-from-lock
endif
export PYTHONPATH := $(CURDIR)/lib
export PATH := $(abspath $(dir $(PYTHON))):$(PATH)
# pip leaves out the compiling of modules that nothing imports; those imported have to be kept compiled, or each notebook
# compiles them anew (images for containers often forbid it).
unexport PYTHONDONTWRITEBYTECODE

# A path for the shell, whatever it holds. What is given on the command line of make goes before what a target prefers.
quote = '$(subst ','\'',$(1))'
PY = $(call quote,$(PYTHON))
# What every process that computes should start with; why, and for which systems: study/environment.py.
SETTINGS = env $$($(PY) -m microrace.study environment)
# In place of the notebooks' defaults; PARAMS goes before it.
PREFER ?=
RUN = $(PY) -m microrace.study run --jobs $(JOBS) $(if $(SCHEDULER),--scheduler $(SCHEDULER)) \
	$(if $(PANEL),--panel $(call quote,$(PANEL))) $(PREFER) $(PARAMS) $(if $(filter file,$(origin SEED)),--prefer,-p) seed=$(SEED)

.PHONY: all test lab quiz verify tolerance bench sweep figures env clean help

all: env  ## run the study: both rendered quizzes, or DATASET= as STUDY=
ifneq ($(strip $(DATASET)),)
	@$(RUN) --study $(STUDY) --dataset $(call quote,$(DATASET))
else ifneq ($(strip $(STUDY)),)
ifneq ($(filter quiz1 quiz2,$(STUDY)),)
	@$(SETTINGS) $(PY) -m steelrender --quiz $(patsubst quiz%,%,$(STUDY)) --out data/rendered/$(STUDY) --seed $(SEED)
	@$(RUN) --study $(STUDY) --dataset data/rendered/$(STUDY)/manifest.csv
else
	@$(RUN) --study $(STUDY)
endif
else
# Side by side: much of a notebook's work keeps one core busy. Each line says whose it is.
	@$(MAKE) --no-print-directory --jobs 2 both-quiz1 both-quiz2
endif

# What matters is asked of quiz 1 alone.
both-quiz2: PREFER = --prefer grid=none
both-%: env
	@$(MAKE) --no-print-directory all STUDY=$* PREFER="$(PREFER)" 2>&1 | while IFS= read -r line; do printf '%s | %s\n' $* "$$line"; done

test: env  ## run the tests, the whole chain of notebooks with small parameters among them
	@$(SETTINGS) $(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lab: env  ## open the notebooks in JupyterLab
	@$(SETTINGS) $(PY) -m steelrender --quiz 1 --out data/rendered/quiz1 --seed $(SEED)
	@$(PY) -m jupyterlab --notebook-dir notebooks

sweep: env  ## run the full grid of "what matters" for STUDY= (default quiz1), on JOBS= cores or SCHEDULER=
	@$(MAKE) --no-print-directory all STUDY=$(or $(STUDY),quiz1) PREFER="--prefer grid=full --prefer n_seeds=3"

QUIZ ?= 1
# Without DATASET= the name is a rendered quiz's or that of a study that has run.
QUIZ_STUDY = $(or $(STUDY),quiz$(QUIZ))
quiz: env  ## write the quiz page of QUIZ=1 or 2, of STUDY=, or of DATASET=
	@mkdir -p runs/$(QUIZ_STUDY)
ifeq ($(strip $(DATASET)),)
	@$(if $(filter quiz1 quiz2,$(QUIZ_STUDY)),$(PY) -m steelrender --quiz $(patsubst quiz%,%,$(QUIZ_STUDY)) --out data/rendered/$(QUIZ_STUDY) --seed $(SEED),:)
endif
	@$(PY) -m readerstudy.quiz --out runs/$(QUIZ_STUDY)/quiz.html \
	  $(if $(wildcard runs/$(QUIZ_STUDY)/manifest.csv),--run runs/$(QUIZ_STUDY)) \
	  $(if $(filter-out uhcsdb,$(DATASET)),--manifest $(call quote,$(DATASET)),$(if $(filter quiz1 quiz2,$(QUIZ_STUDY)),--manifest data/rendered/$(QUIZ_STUDY)/manifest.csv))

verify: env  ## run STUDY= (default quiz1) again: is each published number REPRODUCED? ARGS=--bytes compares files, --skip-sweep is quick
ifneq ($(filter quiz1 quiz2,$(or $(STUDY),quiz1)),)
	@$(SETTINGS) $(PY) -m steelrender --quiz $(patsubst quiz%,%,$(or $(STUDY),quiz1)) --out data/rendered/$(or $(STUDY),quiz1)
endif
	@$(PY) -m microrace.study verify --study $(or $(STUDY),quiz1) $(if $(DATASET),--dataset $(call quote,$(DATASET))) $(ARGS)

bench: env  ## time the parts of the machine, each beside its peer
	@$(SETTINGS) $(PY) -m microrace.benchmark

tolerance: env  ## run STUDY= (default quiz1) with three more seeds: how far numbers may be off when reproduced
	@$(PY) -m microrace.study tolerance --study $(or $(STUDY),quiz1)

figures: env  ## publish the figures and numbers of STUDY= (default quiz1) in figures/
	@$(PY) -m microrace.study publish --study $(or $(STUDY),quiz1)

# The lock names everything, each file by its sha256, so pip has nothing to resolve.
INSTALL = .venv/bin/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement
# The package itself: found by this Python from anywhere, by command line, editor and notebook, and edited where it lies.
LINK = echo "$(CURDIR)/lib" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/microrace.pth"

env: $(ENVIRONMENT)  ## make .venv from the lock when it is missing or stale

.venv/made-from-lock: requirements.txt requirements-cuda.txt
	@echo "setting up .venv from requirements.txt (a minute or two)"
	python3 -m venv --clear .venv
# torch without CUDA, where pip has that build at hand (a wheel on disk, an index of one's own): a tenth of the size.
	@grep -m1 -oE '^torch==[0-9.]+' requirements.txt | \
	  sed "s/$$/+cpu --hash=sha256:$$(sed -n 's/^# torch+cpu: //p' requirements.txt)/" > .venv/torch-cpu.txt
	@$(INSTALL) .venv/torch-cpu.txt 2>/dev/null || true
	$(INSTALL) requirements.txt
# PyPI's torch for Linux is the CUDA build, and needs these.
	@.venv/bin/python -m pip check >/dev/null || $(INSTALL) requirements-cuda.txt
	@$(LINK)
	@touch $@

.PHONY: linked
linked:
	@$(LINK)

clean:  ## remove .venv, rendered micrographs, kept features and caches; runs/ stays
	rm -rf .venv data/rendered .cache .pytest_cache .ruff_cache .hypothesis

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10
