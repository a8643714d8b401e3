# Everything a contributor or a build machine runs. `make` alone lists the targets.

GO       ?= go
FUZZTIME ?= 30s
# Names of the tests that have a long form.
SOAK     ?= AtLength
# The folder of a reference implementation to compare with (run.sh and bench/): see scripts/bench.
REFERENCE ?= $(wildcard ../shared/tools/reference)
LINT      = $(GO) tool -modfile=tools/lint/go.mod golangci-lint

# One way to compile for all of it, the one the program is shipped with: no C, no paths. So the tests try what is shipped, and nothing is
# compiled twice, but for the race detector and for fuzzing.
export CGO_ENABLED = 0
export GOFLAGS := $(filter-out -trimpath,$(shell $(GO) env GOFLAGS 2>/dev/null)) -trimpath

# Tests are not vetted, which make lint does, and linked without what only a debugger reads.
TEST = -count=1 -shuffle=on -timeout=25m -vet=off -ldflags=-w

# The packages whose tests take longest, but for webui, whose time the browser measures: it comes last, when the others have ended. They begin first,
# so that the others fill the time until they end.
LONGEST = ./internal/faults ./internal/cli ./internal/store ./internal/node

# Prints the checksums of everything that make generate writes.
GENERATED = find contracts internal -name '*.gen.*' -exec sha256sum {} +

.DEFAULT_GOAL := help
.PHONY: help build web generate fmt lint test test-race soak fuzz golden bench demo verify check reproducible sbom vulncheck clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

build: ## the program, as bin/pbxportal
	$(GO) build -o bin/pbxportal ./cmd/pbxportal

web: ## the web pages, from web/ into internal/webui/dist (installs Node if it is missing)
	scripts/web build

generate: ## generate code from contracts/api.yaml
	$(GO) generate ./...

fmt: ## format all Go code
	$(LINT) fmt

lint: ## check style, likely bugs and forbidden calls, and the contract with two linters
	scripts/web contract
	$(LINT) config verify
	$(LINT) fmt --diff
	GOGC=400 GOMEMLIMIT=3GiB $(LINT) run # half of its time went into saving memory

test: ## every test, on real servers the tests fetch themselves, and in a real browser
	scripts/web browser
	$(GO) test $(TEST) $(LONGEST) ./...
	$(GO) -C tools test -count=1 ./...

test-race: ## the tests without the long ones, under the race detector (needs a C compiler)
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=50 $(GO) test -race -short $(TEST) $(LONGEST) ./...

soak: ## the long form of every search (an hour or more): the tests that use labtest.Soak, and those named in SOAK
	SOAK=1 $(GO) test $(TEST) -timeout=3h -v -run='$(SOAK)' ./...

fuzz: ## the fuzz tests whose names match FUZZ, each for FUZZTIME (30s, or 100000x); EXECS is the minimum of executions in total
	@GO=$(GO) FUZZ="$(FUZZ)" FUZZTIME=$(FUZZTIME) EXECS=$(EXECS) scripts/fuzz

golden: ## rewrite the golden files; review their diff: it shows changes of Asterisk's files and of permissions
	UPDATE_GOLDEN=1 $(GO) test -count=1 ./internal/render/...
	UPDATE_GOLDEN=1 $(GO) test -count=1 -run=EveryMessage . # docs/messages.md
	UPDATE_GOLDEN=1 $(GO) test -count=1 -run=TheTableOfPermissions ./internal/httpapi

bench: ## all benchmarks, compared with a REFERENCE implementation
	REFERENCE="$(REFERENCE)" scripts/bench

demo: build ## build, then run the demonstration on its own real Asterisk
	bin/pbxportal demo

verify: ## check that generated code, the built pages and go.mod are current
	$(GO) mod tidy -diff
	@before="$$($(GENERATED) | sort)" && \
	$(MAKE) --no-print-directory generate && \
	after="$$($(GENERATED) | sort)" && \
	if [ "$$before" != "$$after" ]; then \
		echo "generated code was not current; it is now, commit it:"; git status --short -- '*.gen.*'; exit 1; \
	fi
	scripts/web verify

reproducible: ## build twice, in two folders with two caches, and compare; leaves dist/
	GO=$(GO) scripts/reproducible -o dist

sbom: build ## the modules of the program, with licences, as dist/pbxportal.cdx.json (CycloneDX)
	@mkdir -p dist
	$(GO) -C tools run ./sbom ../bin/pbxportal $(addprefix ../,$(wildcard web/package-lock.json)) >dist/pbxportal.cdx.json.new
	@mv dist/pbxportal.cdx.json.new dist/pbxportal.cdx.json

vulncheck: ## known vulnerabilities of linked modules; queries https://vuln.go.dev, so not part of check and .ci/run
	$(GO) tool -modfile=tools/vuln/go.mod govulncheck ./...

check: verify lint test test-race ## everything that must pass before a change is proposed

clean: ## remove build results
	rm -rf bin dist .demo coverage.out coverage.html
