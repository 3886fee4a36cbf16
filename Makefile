# For people: each target is one command of Meson, Ninja or tools/. `make help` lists them.
BUILD ?= build
prefix ?= /usr/local

.PHONY: all demo test kernel bench install clean help

all: ## build everything
	@tools/setup build
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) --prefix $(prefix)
	@ninja -C $(BUILD)

demo: ## build, make a small image, run it in a microVM, show what happened and how long it took
	@tools/demo

test: ## run all tests
	@tools/test

kernel: ## build the tuned guest kernel (minutes, once); it is used when present
	@tools/guest-kernel tuned

bench: ## measure; one JSON line for each figure
	@tools/setup test
	@tools/bench

install: ## install what `make` built (as root)
	@[ -e $(BUILD)/build.ninja ] || { echo "run 'make' first" >&2; exit 1; }
	@meson install -C $(BUILD) --no-rebuild

clean: ## remove the build; kernels and images stay in ~/.cache/supermachine
	rm -rf $(BUILD)

help: ## this
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
