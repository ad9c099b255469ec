# Every target that starts something uses a private stack and stops it again. Settings of the stack
# (ports, broker, where programs come from) stand at the top of ops/dev/stack.sh.

.DEFAULT_GOAL := help
.PHONY: help run test conformance coverage mutants bench load fuzz fuzz-api fmt lint schemas sqlx clients pacts e2e supply-chain clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## start stores, simulated platform and service, until ctrl-C
	@ops/dev/run.sh

test: ## everything a change must pass: formatting, lints, unit and integration tests
	@ops/dev/test.sh

conformance: ## every case of tests/conformance/cases.tsv, counted
	@ops/dev/conformance.sh

coverage: ## how much of the code the tests run
	@ops/dev/coverage.sh

bench: ## SUITE=access|read|write|peers|all: figures beside their peers and limits (peers needs Node)
	@ops/dev/bench.sh

load: ## SCENARIO=steady|peak|burst|storm SECONDS=60 DESKTOPS=2500 PERCENT=100: a fleet of desktops in open loop (needs Node)
	@SCENARIO="$(SCENARIO)" LOAD_SECONDS="$(SECONDS)" DESKTOPS="$(DESKTOPS)" PERCENT="$(PERCENT)" ops/dev/load.sh

fuzz: ## SECONDS=60 TARGET=<one>: inputs made up against every reader of foreign bytes (needs nightly)
	@ops/dev/fuzz.sh "$(or $(SECONDS),60)" "$(TARGET)"

fuzz-api: ## SEED=1 EXAMPLES=100: requests made up from openapi.json against the real service (needs Python)
	@ops/dev/fuzz_api.sh

fmt: ## format the code
	@cargo fmt --all

lint: ## clippy, with warnings as errors
	@SQLX_OFFLINE=true cargo clippy --workspace --all-targets --locked -- -D warnings

schemas: ## write schemas/ from the code
	@ops/dev/schemas.sh

sqlx: ## describe the queries anew into .sqlx/, after a change of a query or a migration
	@ops/dev/sqlx.sh

clients: ## Google's Node and Python clients against the embedded broker
	@ops/dev/clients.sh

pacts: ## what desktop and service rely on, as pacts, and who is held to them (needs Node); UPDATE=1 takes them over
	@UPDATE="$(UPDATE)" ops/dev/pacts.sh

e2e: ## twelve journeys of an operator and the dashboard as a page, in headless Chromium (needs Node and Chromium)
	@ops/dev/e2e.sh

mutants: ## change the code that keeps callers apart; the tests must notice nine in ten changes
	@ops/dev/mutants.sh

supply-chain: ## what is built in: bans, licences, sources, known vulnerabilities
	@ops/dev/supply-chain.sh

clean: ## stop and delete the development stack
	@ops/dev/stack.sh clean
	@for stack in test conformance coverage mutants bench load fuzz-api clients pacts e2e sqlx; do \
	  STACK_DIR=target/$$stack-stack ops/dev/stack.sh clean; done
