# What CI runs is .ci/run; `make check` runs the same here.

GO ?= go
LINTER := bin/golangci-lint

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
	HARVEST_TEST_REQUIRE=redis $(GO) test -tags integration -timeout 10m ./integration/ ./internal/hostiletest/ ./internal/gate/

.PHONY: hostile
hostile: ## run every hostile case; show the good names' times beside them and alone
	HARVEST_TEST_REQUIRE=redis $(GO) test -tags integration -count 1 -v -run 'TestProduct' ./internal/hostiletest/

.PHONY: fuzz
fuzz: ## run every fuzz target, 30 s each
	.ci/fuzz

.PHONY: compose-test
compose-test: ## build the image and prove docker-compose.yml, where an engine runs
	deploy/compose-test.sh

.PHONY: bench
bench: ## measure against a floor program and a naive asynq system; see bench/README.md
	$(GO) run ./bench

.PHONY: bench-full
bench-full: ## measure every row of the targets; fails where one is missed
	$(GO) run ./bench -full

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

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
