# Every command of the house, once. CI calls these.
.PHONY: test test-cluster fuzz clients console bench reference docs check fmt clippy doc sqlx sqlx-check deny chart chart-cluster image kind-up kind-down

# The failpoints let a test crash a replica at each of its effects on the world: see src/effects.rs.
FEATURES := --features failpoints

# Everything that needs nothing but this machine: units, the model, the simulator, and the whole against it.
test:
	env -u KUBECONFIG cargo nextest run $(FEATURES)
	cargo test --doc

# The same suite against the real cluster that KUBECONFIG names, less the tests that only a simulator can play, and those of
# what never asks a cluster: the database, other queues, lists and changes of rows. Mostly they wait for pods: three at a
# time keep two processors busy. It makes namespaces of its own, ls-test-*, and deletes them.
OF_NO_CLUSTER := architecture|batch|boss_chaos|boss_tables|bulk|changes|claim|client_events|client_many|client_queues|client_templates|console|database_away|eta|events|history|hostile_filters|lists|openapi|reference|schema|settings|sqs|sqs_held|sqs_many|sqs_queue|submit_in_sql|webhooks
test-cluster:
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG to the cluster to test against" >&2; exit 2; }
	cargo nextest run $(FEATURES) --test-threads 3 --test it -E 'not test(sim_only) and not test(/^($(OF_NO_CLUSTER))::/)'

# Some three minutes of generated requests, good and bad, each answer held against /openapi.json. Needs Python.
fuzz:
	CARGO_FLAGS="$(FEATURES)" scripts/fuzz

# Clients for Python and TypeScript, generated from /openapi.json, drive a replica. Needs Python and Node.
clients:
	CARGO_FLAGS="$(FEATURES)" scripts/clients

# The console in a headless Chromium: a first visit, hostile texts, accessibility, pictures. Needs Node and Chromium.
console:
	CARGO_FLAGS="$(FEATURES)" scripts/console

# What docs/benchmarks.md shows, in its short form: ROWS="submit create" measures some of it, FULL=1 for longer. With
# KUBECONFIG set, the rows about Kubernetes ask that control plane besides the simulator.
bench:
	cargo bench --bench longshore -- $(if $(FULL),--full) $(ROWS)

# Writes docs/reference, and the table of docs/metrics.md, anew from the code; a test holds the two together.
reference:
	LONGSHORE_WRITE_DOCS=1 cargo nextest run $(FEATURES) --test it -E 'test(/::the_reference/)'

# Follows every link of the documents, looks for every flag, variable, alert and metric that they name, and runs the
# commands of those that say so, beside a simulated cluster. Needs Python.
docs:
	CARGO_FLAGS="$(FEATURES)" scripts/docs

check: fmt clippy doc sqlx-check deny

fmt:
	cargo fmt --check

clippy:
	cargo clippy --all-targets $(FEATURES) -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

# Check the SQL of src/store against a Postgres of its own, and rewrite the committed cache. After every change of SQL.
sqlx:
	scripts/prepare-sql

sqlx-check:
	scripts/prepare-sql --check

# Licences, advisories and sources of the dependencies; needs cargo-deny.
deny:
	cargo deny --locked check bans licenses sources

# Lints and renders the chart in every way of charts/longshore/ci and holds it against its promises; lints the Dockerfile
# and docker-compose.yml. Needs Python; Docker Compose and promtool where they are installed.
chart:
	scripts/chart

# Installs the chart into the cluster that KUBECONFIG names, in a namespace of its own that is deleted afterwards.
chart-cluster:
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG to the cluster to install into" >&2; exit 2; }
	scripts/chart --cluster

# The image, as longshore:dev. Needs Docker.
image:
	docker build --tag longshore:dev --build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git log -1 --format=%cI) .

# A kind cluster, and a replica in docker-compose.yml that uses it, at http://localhost:8010. Needs Docker and kind.
kind-up:
	kind get clusters | grep -qx longshore || kind create cluster --name longshore
	kind get kubeconfig --name longshore --internal > compose/kind.kubeconfig
	chmod 644 compose/kind.kubeconfig # the container's user reads it
	docker compose --profile kind up --build --detach
	@echo "try: curl -s localhost:8010/jobs -d '{\"name\":\"hello\"}'; kubectl --context kind-longshore get jobs,pods"

kind-down:
	docker compose --profile kind rm --stop --force kind
	kind delete cluster --name longshore
	rm -f compose/kind.kubeconfig
