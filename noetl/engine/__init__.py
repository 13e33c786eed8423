"""The engine: executions as actors over pure decisions. How one runs: docs/design/execution.md."""
