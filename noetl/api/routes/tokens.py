"""Tokens: made, listed and revoked; and what the audit log holds."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from noetl.api.problem import Refusal
from noetl.api.route import Answer, Call, Route
from noetl.api.routes.audit import note
from noetl.engine.client import AuditEntry, AuditList, NewToken, TokenList, TokenRequest, TokenView
from noetl.gateway.principal import EVERYWHERE
from noetl.gateway.tokens import new_token
from noetl.store.access import TokenRow


class Latest(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


async def make(call: Call) -> Any:
    """Who is for some domains gives away no others."""
    wanted: TokenRequest = call.body
    domains = wanted.domains or (EVERYWHERE,)
    if call.principal.domains is not None and not set(domains) <= set(call.principal.domains):
        raise Refusal(403, f"the token is for the domains {', '.join(call.principal.domains)}: name only these in 'domains'")
    token, row = new_token(wanted.name, wanted.role, call.deps.now(), domains=domains, ttl_s=wanted.ttl_s, by=call.principal.name)
    await call.deps.tokens.add(row)
    await note(call, "token.make", f"{row.id} {row.name}", "done")
    return Answer(NewToken(token=token, about=_view(row)), status=201)


async def list_all(call: Call) -> Any:
    return TokenList(entries=tuple(_view(row) for row in await call.deps.tokens.all() if _sees(call, row)))


async def revoke(call: Call) -> Any:
    rows = {row.id: row for row in await call.deps.tokens.all() if _sees(call, row)}
    row = rows.get(call.path["id"])
    if row is None:
        raise Refusal(404, "there is no such token")
    await call.deps.tokens.revoke(row.id, call.deps.now())
    if call.deps.doorkeeper is not None:
        call.deps.doorkeeper.forget()
    await note(call, "token.revoke", f"{row.id} {row.name}", "done")
    return Answer(None, status=204)


async def audit(call: Call) -> Any:
    if call.principal.domains is not None:
        raise Refusal(403, "the audit log is of all domains: the token is for some")
    rows = await call.deps.audit.latest(call.query.limit)
    return AuditList(
        entries=tuple(AuditEntry(at=row.at, actor=row.actor, action=row.action, subject=row.subject, outcome=row.outcome) for row in rows)
    )


def _sees(call: Call, row: TokenRow) -> bool:
    return call.principal.domains is None or set(row.domains) <= set(call.principal.domains)


def _view(row: TokenRow) -> TokenView:
    about = msgspec.structs.asdict(row)
    del about["hash"]
    return TokenView(**about)


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/tokens",
        handler=make,
        role="admin",
        summary="Make a token, which is shown this once",
        body=TokenRequest,
        answers={201: NewToken},
    ),
    Route(method="GET", path="/api/tokens", handler=list_all, role="admin", summary="The tokens, without themselves", answers={200: TokenList}),
    Route(
        method="DELETE",
        path="/api/tokens/{id}",
        handler=revoke,
        role="admin",
        summary="Revoke a token",
        answers={204: None},
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/api/audit",
        handler=audit,
        role="admin",
        summary="Who has changed something, or was not allowed to; the newest first",
        query=Latest,
        answers={200: AuditList},
    ),
)
