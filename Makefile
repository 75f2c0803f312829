# Only Go is needed. `make run` starts a server; `make check test` is what CI runs.

export CGO_ENABLED = 0
# -tags goolm: encryption in pure Go.
TAGS     = goolm
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.stamped=$(VERSION)
GO       = go
PKGS     = ./...
# Packages whose code runs from many goroutines at once.
RACE     = ./config ./homeserver/web ./homeserver/stream ./homeserver/database ./homeserver/room ./homeserver/clientsync ./federation ./appservices
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: run build test check fmt vet lint arch race fuzz bench kill hostile clean

run: build
	bin/viaduc serve

build:
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/viaduc ./cmd/viaduc

# Tests run on both engines; without PostgreSQL its half is skipped with a message,
# unless VIADUC_TEST_REQUIRE_POSTGRES=1.
test: build
	$(GO) test -tags $(TAGS) -timeout 15m $(PKGS)

check: fmt vet arch lint race

fmt:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "gofmt needed:"; echo "$$bad"; exit 1; fi

vet:
	$(GO) vet -tags $(TAGS) $(PKGS)

arch:
	$(GO) test -tags $(TAGS) -run Architecture ./homeserver

lint:
	$(GO) run $(STATICCHECK) -tags $(TAGS) $(PKGS)

# The race detector needs a C compiler; without one, this step says so and passes.
race:
	@if command -v $${CC:-cc} >/dev/null; then \
		set -x; CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) -timeout 15m $(wildcard $(RACE)); \
	else echo "race: no C compiler, left out"; fi

FUZZTIME ?= 5s
fuzz:
	@for dir in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			echo "== $$dir $$f"; $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./$$dir || exit 1; \
		done; done

bench:
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem $(PKGS)

# Kills the server, and two servers in turn, 50 times under load on each engine.
kill:
	VIADUC_KILLS=50 $(GO) test -tags $(TAGS) -count 1 -run '^TestKill' -v -timeout 15m ./cmd/e2e

# What other servers and clients may send by mistake or on purpose, in all room versions. Prints the verdict on each
# row of cmd/e2e/hostile/corpus.
hostile: build
	@VIADUC_BIN=$(CURDIR)/bin/viaduc VIADUC_HOSTILE=full VIADUC_HOSTILE_REPORT=$(CURDIR)/bin/hostile.txt \
		$(GO) test -tags $(TAGS) -count 1 -timeout 30m ./cmd/e2e/hostile > bin/hostile.log 2>&1; status=$$?; \
		[ $$status -eq 0 ] || cat bin/hostile.log; cat bin/hostile.txt; exit $$status

clean:
	rm -rf bin
