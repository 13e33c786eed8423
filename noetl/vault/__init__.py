"""Credentials, and the secrets in them."""
