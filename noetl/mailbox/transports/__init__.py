"""The ways between nodes: within one process, and over NATS JetStream."""
