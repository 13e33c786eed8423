"""Credentials: kept, listed and deleted; never shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from noetl.api.problem import Refusal
from noetl.api.route import Answer, Call, Route
from noetl.api.routes.audit import note
from noetl.engine.client import CredentialList, CredentialRequest, CredentialView
from noetl.vault.kinds import problems_of
from noetl.vault.vaults.sealed import CredentialInfo


async def put(call: Call) -> Any:
    wanted: CredentialRequest = call.body
    _check_domains(call, wanted.domains)
    found = await call.deps.credentials.info(wanted.name)
    if found is not None:
        _check_domains(call, found.domains)
    about: dict[str, Any] = {"domains": wanted.domains, "hosts": wanted.hosts, "description": wanted.description, "by": call.principal.name}
    try:
        made = await call.deps.credentials.put(wanted.name, wanted.type, wanted.data, **about)
    except ValueError as error:
        raise Refusal(400, str(error)) from error
    await note(call, "credential.put", f"{made.name}@{made.version}", "done")
    return Answer(_view(made, problems_of(wanted.type, wanted.data)), status=201 if found is None else 200)


async def list_all(call: Call) -> Any:
    return await listed(call)


async def listed(call: Call) -> CredentialList:
    return CredentialList(entries=tuple(_view(info) for info in await call.deps.credentials.list() if _sees(call, info)))


async def show(call: Call) -> Any:
    return _view(await _found(call))


async def delete(call: Call) -> Any:
    info = await _found(call)
    _check_domains(call, info.domains)
    await call.deps.credentials.delete(info.name, by=call.principal.name)
    await note(call, "credential.delete", info.name, "done")
    return Answer(None, status=204)


async def _found(call: Call) -> CredentialInfo:
    info = await call.deps.credentials.info(call.path["name"])
    if info is None or not _sees(call, info):
        raise Refusal(404, f"there is no credential '{call.path['name']}'")
    return info


def _sees(call: Call, info: CredentialInfo) -> bool:
    return call.principal.domains is None or any(call.principal.has_domain(domain) for domain in info.domains)


def _check_domains(call: Call, domains: tuple[str, ...]) -> None:
    """Who is not for all domains may change only what is for his."""
    if call.principal.domains is not None and (not domains or not all(call.principal.has_domain(domain) for domain in domains)):
        raise Refusal(403, f"the token is for the domains {', '.join(call.principal.domains)}: name only these in 'domains'")


def _view(info: CredentialInfo, warnings: Iterable[str] = ()) -> CredentialView:
    return CredentialView(
        name=info.name,
        type=info.kind,
        version=info.version,
        fields=tuple(info.fields),
        domains=tuple(info.domains),
        hosts=tuple(info.hosts),
        description=info.description,
        created_at=info.created_at,
        updated_at=info.updated_at,
        updated_by=info.updated_by,
        warnings=tuple(warnings),
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/api/credentials",
        handler=list_all,
        role="viewer",
        summary="The credentials, without their data",
        answers={200: CredentialList},
    ),
    Route(
        method="POST",
        path="/api/credentials",
        handler=put,
        role="editor",
        summary="Keep a credential: a new one, or a new version",
        body=CredentialRequest,
        answers={201: CredentialView, 200: CredentialView},
    ),
    Route(
        method="GET",
        path="/api/credentials/{name}",
        handler=show,
        role="viewer",
        summary="One credential, without its data",
        answers={200: CredentialView},
        refusals=(404,),
    ),
    Route(
        method="DELETE",
        path="/api/credentials/{name}",
        handler=delete,
        role="editor",
        summary="Delete a credential with all its versions",
        answers={204: None},
        refusals=(404,),
    ),
)
