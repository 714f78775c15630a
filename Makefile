# payu-token-operator. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= payu-token-operator:$(VERSION)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
PLATFORMS ?= linux/amd64
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
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
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
build: ## Build bin/manager, bin/payu-simulator and bin/kubectl-payutoken.
	$(GOBUILD) -o bin/ ./cmd/...

.PHONY: image
image: ## Build the container image IMAGE with docker.
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t $(IMAGE) .

IMAGE_LABELS = title=payu-token-operator licenses=Apache-2.0 version=$(VERSION) revision=$(COMMIT) \
	source=https://github.com/payu-token-operator/payu-token-operator

.PHONY: image-tar
image-tar: ## Write the same image to dist without docker, for each of PLATFORMS (linux/amd64): docker load or ctr image import takes it.
	go build -C hack/image -o $(CURDIR)/bin/image .
	@for platform in $(PLATFORMS); do \
		arch=$${platform#linux/} && \
		GOOS=linux GOARCH=$$arch $(GOBUILD) -buildvcs=false -o bin/linux-$$arch/manager ./cmd/manager && \
		bin/image --binary=bin/linux-$$arch/manager --name=$(IMAGE) --platform=$$platform \
			--output=dist/payu-token-operator-$(VERSION)-$$arch.tar $(addprefix --label=org.opencontainers.image.,$(IMAGE_LABELS)) || exit 1; \
	done

.PHONY: chart
chart: ## Package the Helm chart into dist, as VERSION if that is a release.
	$(HELM) package charts/payu-token-operator --destination dist $(if $(filter v%,$(VERSION)),--version $(VERSION:v%=%) --app-version $(VERSION))

.PHONY: dist
dist: ## Write dist/install.yaml and dist/install-namespaced.yaml: config/default and config/namespaced with the image IMAGE.
	@PATH=$$(hack/controlplane/assets):$$PATH && mkdir -p $(DIST) && for names in default:install namespaced:install-namespaced; do \
		manifest=$$(kubectl kustomize config/$${names%:*}) && \
		printf '%s\n' "$$manifest" | sed 's|image: .*/payu-token-operator:.*|image: $(IMAGE)|' >$(DIST)/$${names#*:}.yaml || exit 1; \
	done
DIST ?= dist

.PHONY: plugin-release
plugin-release: ## Make dist/kubectl-payutoken_* for all platforms, with checksums and the krew manifest. VERSION=v0.1.0
	go run ./hack/krew --version=$(VERSION) --out=dist

.PHONY: golden
golden: ## Write anew what the chart renders, for its tests.
	go test ./test/chart -run Golden -update

.PHONY: generate
generate: ## Generate the CRD, the deep copies and the ClusterRole from the Go sources.
	$(TOOL) controller-gen object crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=payu-token-operator paths=./internal/controller/... output:rbac:artifacts:config=config/rbac
	cp config/crd/bases/*.yaml charts/payu-token-operator/files/
	@{ printf '# Made by `make generate` from charts/payu-token-operator/files/alerts.yaml: change that.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: payu-token-operator\nspec:\n' && \
		sed -n '/^groups:/,$$s/^/  /p' charts/payu-token-operator/files/alerts.yaml; } > config/prometheus/prometheusrule.yaml

##@ Check

.PHONY: test
test: ## Run all tests with the race detector, on a real API server (if it cannot be downloaded it is built once, as Helm is: about 10 minutes).
	@KUBEBUILDER_ASSETS=$$(hack/controlplane/assets) && export KUBEBUILDER_ASSETS && \
	echo "Getting Prometheus: the first time it is built, which takes about 5 minutes" && \
	hack/prometheus/tool promtool >/dev/null && hack/prometheus/tool prometheus >/dev/null && \
	echo "Running all tests$(if $(RACE),, without the race detector for lack of a C compiler,) against the API server in $$KUBEBUILDER_ASSETS" && \
	go test $(RACE) -timeout 15m $(if $(RUN),-run '$(RUN)') ./... && \
	go -C hack/image test $(RACE) $(if $(RUN),-run '$(RUN)') ./...

.PHONY: test-model
test-model: ## Let the operator live through HISTORIES (100) random histories on a real API server.
	go test -timeout 60m -run TestModel ./internal/controller -rapid.checks=$(or $(HISTORIES),100) -rapid.steps=40

.PHONY: test-chaos
test-chaos: build ## Kill, stop and cut everything under 200 PayUTokens for four minutes. CHAOS="--duration=75s" is the short form.
	$(GOBUILD) -o bin/chaos ./test/chaos && exec bin/chaos --manager=bin/manager --simulator=bin/payu-simulator $(CHAOS)

.PHONY: bench
bench: build ## Measure everything, in half an hour, and write docs/performance-results.md. BENCH="--quick" tries it, BENCH="--only=latency" measures one thing.
	$(GOBUILD) -o bin/bench ./test/bench && exec bin/bench --manager=bin/manager --simulator=bin/payu-simulator $(BENCH)

.PHONY: test-e2e
test-e2e: ## Prove, on a real node, that a workload sees no refusal: on one of its own (root, Debian), or on the cluster of E2E_KUBECONFIG. See docs/e2e.md.
	@$(GOBUILD) -o bin/e2e ./test/e2e && exec bin/e2e $(E2E)

.PHONY: fuzz
fuzz: ## Fuzz each fuzz target FUZZTIME (150000x, about 30 s).
	@for package in $$(go list ./internal/payu ./internal/payload); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "Fuzzing $$target, $(FUZZTIME)" && \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package || exit 1; \
		done; \
	done

.PHONY: verify
verify: verify-generate verify-format verify-tidy verify-manifests verify-workflows lint ## Check that generated files are current, and all is formatted, tidy and lint free.

.PHONY: verify-generate
verify-generate: # What is generated must be what is committed.
	@before=$$(cat $(GENERATED) | cksum) && $(MAKE) --no-print-directory -s generate && \
	[ "$$before" = "$$(cat $(GENERATED) | cksum)" ] || { echo "Generated files were out of date: commit what 'make generate' made of them"; exit 1; }
GENERATED = config/crd/bases/*.yaml config/rbac/role.yaml config/prometheus/prometheusrule.yaml api/v1alpha1/zz_generated.deepcopy.go \
	charts/payu-token-operator/files/*.yaml

.PHONY: verify-format
verify-format: # gofmt decides.
	@unformatted=$$(gofmt -l api cmd internal hack test) && [ -z "$$unformatted" ] || { echo "Not formatted (run gofmt -w):" $$unformatted; exit 1; }

.PHONY: verify-tidy
verify-tidy: # go.mod holds what is used, and nothing else.
	@for module in . $(dir $(wildcard hack/*/go.mod)); do go -C $$module mod tidy -diff || exit 1; done

.PHONY: verify-manifests
verify-manifests: # kube-score judges them. That they are valid, test/chart and test/install ask an API server.
	@PATH=$$(hack/controlplane/assets):$$PATH && \
	for render in "kubectl kustomize config/default" "kubectl kustomize config/namespaced" "$(HELM) template payu-token-operator \
		charts/payu-token-operator --kube-version 1.29.0 --set networkPolicy.enabled=true"; do \
		manifest=$$($$render) && findings=$$(printf '%s\n' "$$manifest" | $(SCORE) -) || \
			{ echo "kube-score, of $$render:" && echo "$$findings" | grep -v -e '^.OK' -e SKIPPED; exit 1; }; \
	done
# What kube-score is not asked: a CPU limit would slow renewals down and protect nobody; the container writes nothing but its log, which
# the kubelet rotates; the user is the image's, since OpenShift wants to choose its own; the tag of a release does not move, so that
# the image need not be pulled each time; topologySpreadConstraints spread the replicas.
SCORE = go tool -modfile=hack/kube-score/go.mod kube-score score --output-format=ci --kubernetes-version=v1.29 --exit-one-on-warning \
	--enable-optional-test=container-seccomp-profile --enable-optional-test=container-ports-check --ignore-container-cpu-limit \
	--ignore-test=container-ephemeral-storage-request-and-limit --ignore-test=container-security-context-user-group-id \
	--ignore-test=container-image-pull-policy --ignore-test=deployment-has-host-podantiaffinity

.PHONY: verify-workflows
verify-workflows: # Without shellcheck, which not every machine has: all are to say the same.
	@$(TOOL) actionlint -shellcheck= -pyflakes= .github/workflows/*.yml

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities that the code reaches. It needs vuln.go.dev.
	$(TOOL) govulncheck ./...

.PHONY: lint
lint: ## Run golangci-lint with the linters of .golangci.yml.
	$(LINT) run --allow-parallel-runners
	go -C hack/image tool -modfile=../golangci-lint/go.mod golangci-lint run --allow-parallel-runners

.PHONY: clean
clean: ## Remove what was built here. The API server for tests stays in the user's cache folder.
	rm -rf bin dist
