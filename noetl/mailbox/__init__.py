"""Mailboxes: how messages reach a receiver, and how many may wait."""
