# What CI runs is .ci/run; `make check` runs the same here.

GO ?= go
LINTER := bin/golangci-lint
BENCHSTAT := bin/benchstat

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build harvest, enqueue and worker into bin/
	$(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: test
test: ## test the packages
	$(GO) test ./...

.PHONY: race
race: ## test the packages with the race detector
	$(GO) test -race ./...

.PHONY: integration
integration: ## run the programs against a real Redis, with kills and bad input
	HARVEST_TEST_REQUIRE=redis,chromium $(GO) test -tags integration -timeout 10m ./integration/ ./internal/hostiletest/ ./internal/gate/ ./internal/web/

# Without a package's name go test shows what a test prints, though it passes.
.PHONY: faults
faults: ## let everything go wrong under three workers; print a table, and fail where a row is not exact
	cd integration && HARVEST_TEST_REQUIRE=redis $(GO) test -tags integration -count 1 -timeout 60m -run '^TestFaults$$' -args -faults.full

.PHONY: hostile
hostile: ## run every hostile case; show the good names' times beside them and alone
	HARVEST_TEST_REQUIRE=redis $(GO) test -tags integration -count 1 -v -run 'TestProduct' ./internal/hostiletest/

.PHONY: lanes
lanes: ## let a batch of ten overtake one of a million; show how much of that was done; measure an idle lane
	HARVEST_TEST_REQUIRE=redis $(GO) test -tags integration -count 1 -v -run 'TestLanes' ./integration/ -args -lanes.big 1000000
	HARVEST_TEST_REQUIRE=redis $(GO) test -run - -bench IdleLane -benchtime 5x ./worker/

.PHONY: fuzz
fuzz: ## run every fuzz target, 30 s each
	.ci/fuzz

.PHONY: compose-test
compose-test: ## build the image and prove docker-compose.yml, where an engine runs
	deploy/compose-test.sh

.PHONY: screenshots
screenshots: ## take the README's screenshots anew, with chromium
	docs/images/retake

.PHONY: deploy-check
deploy-check: ## check deploy/ against the types of Kubernetes and the parser of Prometheus
	cd deploy/check && $(GO) test ./...

.PHONY: bench
bench: ## measure against a floor program and a naive asynq system; see bench/README.md
	$(GO) run ./bench

.PHONY: bench-full
bench-full: ## measure every row of the targets; fails where one is missed
	$(GO) run ./bench -full

# What a name costs in CPU and allocations, piece by piece.
BENCHED := ./tasks ./internal/storage/... ./internal/results ./internal/picture ./internal/names ./internal/gate ./internal/fetch
BENCH := $(GO) test -run '^$$' -bench . -benchmem -benchtime 0.2s -count 6 $(BENCHED)

.PHONY: benchcmp
benchcmp: $(BENCHSTAT) ## compare the hot pieces with bench/baseline.txt
	@mkdir -p bin
	$(BENCH) > bin/bench.txt
	$(BENCHSTAT) bench/baseline.txt bin/bench.txt

.PHONY: bench-baseline
bench-baseline: ## write bench/baseline.txt anew
	$(BENCH) > bench/baseline.txt

$(BENCHSTAT): tools/benchstat/go.mod tools/benchstat/go.sum
	cd tools/benchstat && $(GO) build -o ../../$(BENCHSTAT) golang.org/x/perf/cmd/benchstat

.PHONY: lint
lint: $(LINTER) ## look for mistakes, and imports that the layout forbids
	$(LINTER) run ./...

$(LINTER): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: cross
cross: ## vet for macOS and Windows
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...

.PHONY: fmt
fmt: $(LINTER) ## format the code and group the imports
	$(LINTER) fmt ./...

.PHONY: tidy
tidy: ## bring go.mod and go.sum up to date
	$(GO) mod tidy

.PHONY: check
check: ## run all that CI runs
	.ci/run

# What a release has beside the programs.
RELEASED := bin/release
GORELEASER := bin/goreleaser

.PHONY: docs
docs: ## write man pages and completions below bin/release/
	$(GO) run ./internal/cli/manual $(RELEASED)

.PHONY: licences
licences: ## write the licences of all that the programs are built from below bin/release/
	@mkdir -p $(RELEASED)
	.ci/licences > $(RELEASED)/THIRD_PARTY_LICENSES

# Packages install to /usr/bin, where the units for machines by hand do not.
.PHONY: release-files
release-files: docs licences
	@mkdir -p $(RELEASED)/systemd
	cp deploy/systemd/* $(RELEASED)/systemd/
	sed -i 's|/usr/local/bin/harvest|/usr/bin/harvest|' $(RELEASED)/systemd/*.service

.PHONY: release-check
release-check: $(GORELEASER) ## make a release of this tree in dist/, without signatures, SBOM and publishing
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean --skip=sbom,sign

$(GORELEASER): tools/release/go.mod tools/release/go.sum
	cd tools/release && $(GO) build -o ../../$(GORELEASER) github.com/goreleaser/goreleaser/v2

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
