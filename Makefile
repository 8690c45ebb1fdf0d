# Reanchor: `make help` lists what there is. Go and git are all it needs; tools
# come from tools.mod, the lab's control plane from Go modules.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOL := go tool -modfile=tools.mod
# Where `generate` writes; `verify` generates into a folder of its own.
OUT ?= .
GENERATED := api/v1alpha1/zz_generated.deepcopy.go manifests/crds
VERIFY := verify-generated verify-tidy verify-source verify-lab

# Less time for collecting garbage, in compilers and in the lab's API server,
# for more memory. Benchmarks do without.
test $(VERIFY): export GOGC := 200

.PHONY: help build generate verify $(VERIFY) test demo lab lab-down bench bench-scale bench-rotation

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 22

build: ## Build the program into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/reanchor ./cmd/reanchor

generate: ## Write deep copies and CRDs from the API types
	$(TOOL) controller-gen object crd paths=./api/... output:object:dir=$(OUT)/api/v1alpha1 output:crd:dir=$(OUT)/manifests/crds

verify: $(VERIFY) ## Check the source: generated files, modules, format, vet, static analysis, rules

verify-generated:
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; $(MAKE) -s generate OUT="$$out"; \
	for path in $(GENERATED); do diff -ru "$$path" "$$out/$$path" || { echo "$$path is stale: run make generate"; exit 1; }; done

verify-tidy:
	go mod tidy -diff
	cd hack/lab/controlplane && GOWORK=off go mod tidy -diff
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cp tools.mod "$$dir/go.mod"; cp tools.sum "$$dir/go.sum"; \
	cd "$$dir" && go mod tidy -diff || { echo "tools.mod or tools.sum is not tidy"; exit 1; }

verify-source:
	@files=$$(gofmt -l .); [[ -z $$files ]] || { echo "run gofmt -w on:"; echo "$$files"; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	go run ./hack/verify

# The lab's module is built before it is vetted, since only the build shows its
# progress; with the same flags, what it compiled is not compiled again.
verify-lab:
	go run ./hack/lab/cmd/lab build
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; go build -o "$$dir/vetone" ./hack/verify/vetone; \
	export VET=$$(go tool -n vet); cd hack/lab/controlplane && GOWORK=off CGO_ENABLED=0 go vet -trimpath -vettool="$$dir/vetone" .

test: ## Run all tests; the first run builds the lab's control plane, in about ten minutes
	go run -v ./hack/lab/cmd/lab build
	go test -ldflags=-w -timeout 45m -p 3 -parallel 6 ./test/{e2e,recovery,admission} ./hack/demo ./rotation/issuance $$(go list ./... | grep -v /test/rotation) # the longest first: for six minutes it prints nothing
	go test -ldflags=-w -timeout 75m ./test/rotation # alone: a dozen meshes at once keep two cores busy

demo: ## See it work: stamp, deny, roll, and rotate the anchor, on a real control plane
	go run -v ./hack/demo # -v: what compiles, the first time, which takes a minute or two

lab: ## Start a lab cluster that stays
	go run -v ./hack/lab/cmd/lab up
lab-down: ## Stop it
	go run ./hack/lab/cmd/lab down
bench: ## Measure admission and inventory
	go test -run '^$$' -bench . ./webhook ./rotation/inventory ./checker
bench-scale: ## Measure the inventory with 20,000 pods in a lab
	go run ./hack/bench/scale
bench-rotation: ## Measure what replacing an anchor costs a mesh, beside three other procedures
	go run ./hack/bench/rotation
