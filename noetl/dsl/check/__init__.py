"""Warnings that need the whole playbook."""
