"""Who calls, and what that one may do."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from noetl.store.access import Role, TokenRow

EVERYWHERE: Final = "*"
"""The domain that stands for all."""
_RANK: Final[dict[Role, int]] = {"viewer": 0, "operator": 1, "editor": 2, "admin": 3}


class Principal(Struct, frozen=True):
    """`domains` are first parts of catalog paths; None for all."""

    name: str
    role: Role
    domains: tuple[str, ...] | None

    def has_role(self, least: Role) -> bool:
        return _RANK[self.role] >= _RANK[least]

    def has_domain(self, domain: str) -> bool:
        return self.domains is None or domain in self.domains


LOCAL: Final = Principal("local", "admin", None)
"""Whoever reaches a node that listens on loopback only and asks nobody who he is."""


def principal_of(token: TokenRow) -> Principal:
    return Principal(token.name, token.role, None if EVERYWHERE in token.domains else token.domains)
