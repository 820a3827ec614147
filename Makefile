# Every command of the house, once. CI calls these.
.PHONY: sqlx

PG_BIN ?= $(shell ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)

# Check the SQL of src/store against a database of its own and rewrite the committed cache.
sqlx:
	scripts/prepare-sql
