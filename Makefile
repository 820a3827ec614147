# Every command of the house, once. CI calls these.
.PHONY: test test-cluster bench check fmt clippy doc sqlx sqlx-check deny

# The failpoints let a test crash a replica at each of its effects on the world: see src/effects.rs.
FEATURES := --features failpoints

# Everything that needs nothing but this machine: units, the model, the simulator, and the whole against it.
test:
	env -u KUBECONFIG cargo nextest run $(FEATURES)
	cargo test --doc

# The same suite against the real cluster that KUBECONFIG names, less the tests that only a simulator can play.
# It makes namespaces of its own, ls-test-*, and deletes them.
test-cluster:
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG to the cluster to test against" >&2; exit 2; }
	cargo nextest run $(FEATURES) --test it -E 'not test(sim_only) and not test(architecture) and not test(schema) and not test(claim)'

# What docs/benchmarks.md shows, in its short form: ROWS="submit create" measures some of it, FULL=1 for longer. With
# KUBECONFIG set, the rows about Kubernetes ask that control plane besides the simulator.
bench:
	cargo bench --bench longshore -- $(if $(FULL),--full) $(ROWS)

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
