"""NoETL: declarative playbooks on a supervised, event-sourced actor runtime."""

__version__ = "0.1.0"
