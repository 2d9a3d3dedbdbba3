# The ways to build, check and try Waypost. `make help` lists them.

SHELL := bash
.DEFAULT_GOAL := help

# Queries are checked against the cache beside the store, whatever database the caller works with.
export SQLX_OFFLINE := true

WITH_POSTGRES := scripts/with-postgres
NEXTEST := cargo nextest run --workspace
SLOW := 'test(/(^|::)slow_/)'
# Rounds of the chaos suite, and arguments for `waypost dev`: make chaos ROUNDS=200, make demo ARGS=--once.
ROUNDS ?= 50
ARGS ?=

.PHONY: help
help: ## list what can be made
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what this machine lacks (PostgreSQL's programs, the test runner); quick when nothing is missing
	@scripts/setup

.PHONY: demo
demo: setup ## try everything: relay, private PostgreSQL, simulated Microsoft Graph, a receiver
	@cargo build --quiet -p waypost
	@cargo run --quiet -p waypost -- dev $(ARGS)

.PHONY: dev
dev: setup ## as demo, with the log turned up, for work on Waypost itself
	@WAYPOST_LOG=$${WAYPOST_LOG:-debug} cargo run -p waypost -- dev $(ARGS)

.PHONY: test
test: setup ## the suite of correctness: some minutes, beside a private PostgreSQL
	@$(WITH_POSTGRES) -- $(NEXTEST)
	@cargo test --workspace --doc --quiet

.PHONY: test-all
test-all: test test-slow ## test, and what is slow: long chaos, ignored tests

.PHONY: test-slow
test-slow: setup ## only what test-all adds
	@scripts/setup-browser
	@WAYPOST_CHAOS_ROUNDS=$(ROUNDS) $(WITH_POSTGRES) -- $(NEXTEST) --profile ci --no-tests=pass --run-ignored only
	@WAYPOST_CHAOS_ROUNDS=$(ROUNDS) $(WITH_POSTGRES) -- $(NEXTEST) --profile ci --no-tests=pass -E $(SLOW)

.PHONY: chaos
chaos: setup ## kill the process and its database again and again under load, and account for every event
	@cargo build --quiet -p waypost
	@WAYPOST_CHAOS_ROUNDS=$(ROUNDS) $(WITH_POSTGRES) -- \
	  cargo nextest run -p waypost-tests --test chaos --profile ci --run-ignored all --no-capture

.PHONY: bench
bench: setup ## measure on this machine, release build, durable database; prints a table, writes JSON
	@cargo build --release -p waypost -p waypost-tests --bin waypost --bin waypost-bench
	@"$${CARGO_TARGET_DIR:-target}/release/waypost-bench" $(ARGS)

.PHONY: lint
lint: setup ## everything that is checked without running: format, queries, clippy, documentation
	cargo fmt --all --check
	scripts/sqlx-cache --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

.PHONY: fmt
fmt: ## format the code
	cargo fmt --all

.PHONY: sqlx-cache
sqlx-cache: setup ## refresh what the store's queries are checked against, after a change of query or migration
	scripts/sqlx-cache

.PHONY: openapi
openapi: ## write openapi.yaml from the code
	@cargo build --quiet -p waypost
	@cargo run --quiet -p waypost -- openapi >openapi.yaml.new
	@mv openapi.yaml.new openapi.yaml

.PHONY: clean-dev
clean-dev: ## delete the data of `waypost dev`
	@base=$$(sed -n 's/^data below: \(\/var\/lib\/waypost\/..*\)/\1/p' .waypost/waypost-cluster \
	  .waypost/*/waypost-cluster 2>/dev/null); if [ -n "$$base" ]; then rm -rf -- "$$base"; fi
	@rm -rf .waypost
