"""The store is the truth: logs of executions, their rows, inbox, shards, catalog, artifacts. Tables: docs/reference/store.md."""
