"""Nodes that work together: who is there, who owns what, and who can run what."""
