# Each target does its own set-up, and each but `clean` may be the first command on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := build

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BKHOST := $(TARGET)/release/bkhost
INSTALL := tests/scripts/install.sh
# bkhost looks for its plugins beside itself.
LINK := mkdir -p $(TARGET)/release && ln -sfn ../plugins $(TARGET)/release/plugins

.PHONY: demo test build plugins host bench lint clean

## demo: build, then back up and restore a small home behind a simulated Bitbucket. Needs no root and no service.
demo: host
	$(BKHOST) demo

## test: install the systems that the tests drive, build, and run every test.
# The binary is built with the tests: alone it takes other features of what it depends on, and wasmtime is built twice.
test: export BKHOST_BIN := $(BKHOST)
test: export BKHOST_TEST_GUESTS := $(TARGET)/test-guests
test: export BKHOST_PLUGINS := $(TARGET)/plugins
test:
	$(INSTALL)
	sdk/build-guests.sh --tests
	$(LINK)
	tests/scripts/test.sh

## build: the release build, in dist/.
build: host
	rm -rf dist.new && mkdir -p dist.new/plugins
	cp $(BKHOST) dist.new/bkhost
	cp $(TARGET)/plugins/*.wasm $(TARGET)/plugins/SHA256SUMS dist.new/plugins/
	rm -rf dist && mv dist.new dist
	@echo "dist/bkhost and its plugins:" && cat dist/plugins/SHA256SUMS

## plugins: all strategies, as components.
plugins:
	$(INSTALL) --build
	sdk/build-guests.sh

# The digests of the plugins are compiled into the binary: a plugin that was changed later is a third party's.
host: plugins
	cargo build --release -p bkhost
	$(LINK)

## lint: formatting, clippy without warnings.
lint:
	$(INSTALL) --build
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

## bench: ratios against the usual tools, measured in one run on the same data.
bench: host
	$(INSTALL)
	tests/bench/run.sh

clean:
	cargo clean
	rm -rf dist
