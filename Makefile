# payu-token-operator. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= payu-token-operator:$(VERSION)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
TOOL    := go tool -modfile=hack/tools/go.mod
HELM    := go tool -modfile=hack/helm/go.mod helm
LINT    := go tool -modfile=hack/golangci-lint/go.mod golangci-lint
# The race detector needs a C compiler.
RACE    := $(shell command -v "$$(go env CC)" >/dev/null && echo -race)
# About 30 s for each target. A time instead of a count ends, now and then, in "context deadline exceeded".
FUZZTIME ?= 150000x

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Show the operator at work, on a real API server and a simulated PayU, in about a minute. KEEP=1 leaves it running.
	@$(GOBUILD) -o bin/demo ./hack/demo && exec bin/demo --manager=bin/manager --simulator=bin/payu-simulator $(if $(KEEP),--keep)

.PHONY: run
run: build ## Run the operator here, against the cluster of the current kubeconfig. ARGS="--log-format=text" adds flags.
	bin/manager $(ARGS)

.PHONY: install
install: ## Install the CRD into the cluster of the current kubeconfig.
	kubectl apply --server-side --force-conflicts -k config/crd

##@ Build

.PHONY: build
build: ## Build bin/manager and bin/payu-simulator.
	$(GOBUILD) -o bin/ ./cmd/...

.PHONY: image
image: ## Build the container image IMAGE with docker.
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: chart
chart: ## Package the Helm chart into dist.
	$(HELM) package charts/payu-token-operator --destination dist

.PHONY: golden
golden: ## Write anew what the chart renders, for its tests.
	go test ./test/chart -run Golden -update

.PHONY: generate
generate: ## Generate the CRD, the deep copies and the ClusterRole from the Go sources.
	$(TOOL) controller-gen object crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=payu-token-operator paths=./internal/controller/... output:rbac:artifacts:config=config/rbac
	cp config/crd/bases/*.yaml charts/payu-token-operator/files/

##@ Check

.PHONY: test
test: ## Run all tests with the race detector, on a real API server (if it cannot be downloaded it is built once, as Helm is: about 10 minutes).
	@KUBEBUILDER_ASSETS=$$(hack/controlplane/assets) && export KUBEBUILDER_ASSETS && \
	echo "Running all tests$(if $(RACE),, without the race detector for lack of a C compiler,) against the API server in $$KUBEBUILDER_ASSETS" && \
	go test $(RACE) -timeout 15m $(if $(RUN),-run '$(RUN)') ./...

.PHONY: test-model
test-model: ## Let the operator live through HISTORIES (100) random histories on a real API server.
	go test -timeout 60m -run TestModel ./internal/controller -rapid.checks=$(or $(HISTORIES),100) -rapid.steps=40

.PHONY: test-chaos
test-chaos: build ## Kill, stop and cut everything under 200 PayUTokens for four minutes. CHAOS="--duration=75s" is the short form.
	$(GOBUILD) -o bin/chaos ./test/chaos && exec bin/chaos --manager=bin/manager --simulator=bin/payu-simulator $(CHAOS)

.PHONY: fuzz
fuzz: ## Fuzz each fuzz target FUZZTIME (150000x, about 30 s).
	@for package in $$(go list ./internal/payu ./internal/payload); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "Fuzzing $$target, $(FUZZTIME)" && \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package || exit 1; \
		done; \
	done

.PHONY: verify
verify: verify-generate verify-format verify-tidy lint ## Check that generated files are current, and all is formatted, tidy and lint free.

.PHONY: verify-generate
verify-generate: # What is generated must be what is committed.
	@before=$$(cat $(GENERATED) | cksum) && $(MAKE) --no-print-directory -s generate && \
	[ "$$before" = "$$(cat $(GENERATED) | cksum)" ] || { echo "Generated files were out of date: commit what 'make generate' made of them"; exit 1; }
GENERATED = config/crd/bases/*.yaml config/rbac/role.yaml api/v1alpha1/zz_generated.deepcopy.go charts/payu-token-operator/files/*.yaml

.PHONY: verify-format
verify-format: # gofmt decides.
	@unformatted=$$(gofmt -l api cmd internal hack test) && [ -z "$$unformatted" ] || { echo "Not formatted (run gofmt -w):" $$unformatted; exit 1; }

.PHONY: verify-tidy
verify-tidy: # go.mod holds what is used, and nothing else.
	@for module in . hack/tools hack/golangci-lint hack/controlplane hack/helm; do (cd $$module && go mod tidy -diff) || exit 1; done

.PHONY: lint
lint: ## Run golangci-lint with the linters of .golangci.yml.
	$(LINT) run

.PHONY: clean
clean: ## Remove what was built here. The API server for tests stays in the user's cache folder.
	rm -rf bin dist
