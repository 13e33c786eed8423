"""Booting a node: profile and settings, the supervision tree, the process."""
