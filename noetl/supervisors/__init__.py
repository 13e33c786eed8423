"""Supervision trees: specifications as data, and the two supervisors that carry them out."""
