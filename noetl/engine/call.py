"""One call of a tool, from its order to its outcome: render, open credentials, run, keep the result. No actor: a coroutine."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from noetl.clock import Clock
from noetl.dsl.lookup import settle
from noetl.dsl.playbook import Output
from noetl.dsl.sandbox import Function
from noetl.dsl.template import Renderable, compile_text
from noetl.engine.binding import Bound, CallNames, bound, check_expected, check_returned, to_input
from noetl.engine.cache import Fate, Hold, ValueCache
from noetl.engine.credentials import Access, Credentials
from noetl.engine.failure import Error, failure, unrendered
from noetl.engine.fetched import Fetched
from noetl.engine.keychain import SECRET_NAMES, OpenKeychain
from noetl.engine.order import Order
from noetl.engine.session import Session
from noetl.errors import LogUnavailable, NotFound, TemplateError, ToolError, ToolTimeout
from noetl.settings import Settings
from noetl.tools.tool import Resources, StartChild, Tool, ToolContext, find
from noetl.values import Handle, encode, handle_of, to_plain
from noetl.vault.credential import Use, domain_of
from noetl.vault.secrets import Secrets

_READS_ARTIFACTS: Final = frozenset({"python"})
"""Kinds whose processes read artifacts themselves."""


class Done(Struct, frozen=True):
    """The call gave a result. `helper` is what its kind adds to the envelope."""

    result: Any
    helper: dict[str, Any] = {}


class Refused(Struct, frozen=True):
    """The call failed. `result` is what the other side answered all the same."""

    error: Error
    result: Any = None
    helper: dict[str, Any] = {}


Outcome = Done | Refused | StartChild


class Caller:
    """What the calls of a node share. `log(order, stream, line)` takes the output of the author's code."""

    def __init__(
        self,
        *,
        resources: Resources,
        cache: ValueCache,
        credentials: Credentials,
        fetched: Fetched,
        secrets: Secrets,
        settings: Settings,
        clock: Clock,
        base_dirs: Callable[[Order], tuple[Path, ...]],
        log: Callable[[Order, str, str], None],
    ) -> None:
        self.clock = clock
        self._resources = resources
        self._cache = cache
        self._credentials = credentials
        self._fetched = fetched
        self._secrets = secrets
        self._settings = settings
        self._base_dirs = base_dirs
        self._log = log

    async def call(self, order: Order) -> Outcome:
        """Never raises, except for cancellation: whatever goes wrong is the outcome."""
        try:
            with self._cache.hold() as hold:
                return await self._call(order, hold)
        except TemplateError as error:
            return self._hidden(unrendered(error))
        except NotFound as error:
            return self._hidden(failure("not_found", str(error)))
        except LogUnavailable as error:
            return self._hidden(failure("connection", str(error)))
        except ToolError as error:
            return await self._refused(order, error)
        except Exception as error:  # noqa: BLE001  a bug of a tool is an error of this attempt, with its traceback
            text = "".join(traceback.format_exception(error))
            name = type(error).__name__
            return self._hidden(failure("internal", f"{name}: {error}", exception_type=name, traceback=text))

    async def _call(self, order: Order, hold: Hold) -> Outcome:
        task = order.program.task
        tool = find(task.kind)
        session = self._session(order, hold)
        order, render = session.opened(order), _renderer(hold)
        given: Bound = await session.run(lambda: bound(order, render))
        args, names, fields = given.args, given.names, dict(given.fields)
        check_expected(order, args)
        auth = fields.pop("auth", None)
        fate = _fate(task.kind)
        ctx = ToolContext(
            call=order.call,
            resources=self._resources,
            clock=self.clock,
            args=await hold.plain(settle(args), fate),
            names=await self._wanted(order, names, hold),
            iterator=order.iterator,
            credentials=await session.credentials(settle(auth)),
            hosts=session.hosts,
            env=order.env,
            log=lambda stream, line: self._log(order, stream, line),
            base_dirs=self._base_dirs(order),
            timeout_s=given.timeout_s,
            memory_bytes=None if given.memory_bytes is None else int(given.memory_bytes),
            render=lambda text: _render_text(text, names, session, hold),
            scrub=self._secrets.scrub if self._secrets.known else None,
            sensitive=self._secrets.known,
        )
        wanted, unknown = to_input(tool.Input, await hold.plain(fields, fate), task.kind)
        if unknown:
            ctx.log("warning", f"{task.kind} does not know {', '.join(unknown)}: ignored")
        answer = await _run(tool, wanted, ctx, task.label)
        return answer if isinstance(answer, StartChild) else await self._done(order, answer, hold)

    def _session(self, order: Order, hold: Hold) -> Session:
        use = Use(order.call.execution_id, order.call.step, domain_of(order.path))
        ctx = ToolContext(call=order.call, resources=self._resources, clock=self.clock)
        return Session(order, hold, Access(self._credentials, use, ctx), self._fetched)

    async def _wanted(self, order: Order, names: CallNames, hold: Hold) -> Mapping[str, Any]:
        """What the tool itself asked for, raw."""
        if order.wants is None:
            found = {name: settle(value) for name, value in order.context.items()}
        else:
            found = {name: settle(names[name]) for name in order.wants if name in names and not _is_secret(name, names)}
        plain: dict[str, Any] = await hold.plain(found, _fate(order.program.task.kind))
        return plain

    async def _done(self, order: Order, answer: Any, hold: Hold) -> Outcome:
        value = answer if isinstance(answer, Handle) else to_plain(_as_data(answer))
        helper = _helper(order.program.task.kind, value)
        check_returned(order, await _top_level(value, order, hold))
        kept = await self._keep(value, order.output, hold)
        return kept if isinstance(kept, Refused) else Done(kept, helper)

    async def _keep(self, value: Any, output: Output | None, hold: Hold) -> Any:
        """The value, or the handle under which it was stored because it is large; or the refusal because it is too large."""
        limits = self._settings.values
        if isinstance(value, Handle):
            if output is None:
                await self._cache.share(value)
                return value
            value = await hold.fetch(value)
        encoded = encode(value)
        if len(encoded) > limits.result_max_bytes:
            return Refused(
                failure("limit", f"the result has {len(encoded)} bytes; at most {limits.result_max_bytes} are allowed (values.result_max_bytes)")
            )
        inline = limits.inline_max_bytes if output is None or output.inline_max_bytes is None else output.inline_max_bytes
        if len(encoded) <= min(inline, limits.inline_max_bytes):
            return value
        handle = handle_of(value, encoded, tier=_tier(output), select=None if output is None else output.select)
        if self._secrets.found_in(encoded):
            encoded = encode(self._secrets.seal(value))
            handle = handle_of(self._secrets.seal(value), encoded, tier=handle.data.tier, select=handle.data.select)
        await self._cache.store({handle.hash: encoded})
        return handle

    async def _refused(self, order: Order, error: ToolError) -> Refused:
        about = failure(error.kind, error.message, **error.extra)
        about["retryable"] = error.retryable
        if error.retry_after_s is not None:
            about["retry_after_s"] = error.retry_after_s
        value = to_plain(_as_data(error.result))
        with self._cache.hold() as hold:
            kept = await self._keep(value, order.output, hold) if value is not None else None
        if isinstance(kept, Refused):
            kept = None
        refused = self._hidden(about)
        return Refused(refused.error, kept, _failed_helper(order.program.task.kind, error, value))

    def _hidden(self, error: Error) -> Refused:
        """Errors are for readers: no secret stays in them."""
        return Refused(self._secrets.hide(error))


def _fate(kind: str) -> Fate:
    return "brought" if kind in _READS_ARTIFACTS else "opened"


def _renderer(hold: Hold) -> Callable[[str, Renderable, CallNames], Any]:
    """Renders one field; an error says which."""

    def render(field: str, value: Renderable, names: CallNames) -> Any:
        try:
            return value.render(names, hold.load)
        except TemplateError as error:
            error.within(field)
            raise

    return render


def _is_secret(name: str, names: CallNames) -> bool:
    """Whether a name that code reads is ours for secrets, and no argument: code gets secrets as arguments only."""
    return name in SECRET_NAMES and isinstance(names[name], (OpenKeychain, Function))


async def _render_text(text: str, names: CallNames, session: Session, hold: Hold) -> str:
    """A text that the tool has fetched, rendered like a field."""
    rendered = await session.run(lambda: compile_text(text).render(names, hold.load))
    return rendered if isinstance(rendered, str) else str(rendered)


async def _run(tool: Tool, given: Any, ctx: ToolContext, label: str) -> Any:
    """Run under the task's timeout. A tool that is cancelled stops its remote work first."""
    if ctx.timeout_s is None:
        return await tool.run(given, ctx)
    async with asyncio.timeout(ctx.timeout_s) as deadline:
        try:
            return await tool.run(given, ctx)
        except asyncio.CancelledError:
            if not deadline.expired():
                raise
            raise ToolTimeout(f"task '{label}' took longer than {ctx.timeout_s:g} s") from None


async def _top_level(value: Any, order: Order, hold: Hold) -> Any:
    """What has the value's keys."""
    if not order.program.task.returns or not isinstance(value, Handle):
        return value
    return await hold.fetch(value) if value.data.names is None else dict.fromkeys(value.data.names)


def _as_data(answer: Any) -> Any:
    if isinstance(answer, Struct):
        return {field.encode_name: getattr(answer, field.name) for field in msgspec.structs.fields(answer)}
    return answer


def _helper(kind: str, value: Any) -> dict[str, Any]:
    if kind != "http":
        return {}
    seen = value.data.visible if isinstance(value, Handle) else value
    return {"http": {"status": seen.get("status"), "headers": seen.get("headers")}}


def _failed_helper(kind: str, error: ToolError, value: Any) -> dict[str, Any]:
    if kind == "http":
        answer = value if isinstance(value, dict) else {}
        return {"http": {"status": answer.get("status", error.extra.get("status_code")), "headers": answer.get("headers")}}
    if kind in ("postgres", "duckdb"):
        return {"pg": {"code": error.extra.get("code"), "sqlstate": error.extra.get("sqlstate")}}
    return {"py": {"exception_type": error.extra.get("exception_type")}} if kind == "python" else {}


def _tier(output: Output | None) -> str | None:
    """The store that the author named; None: the one that fits the size."""
    return None if output is None or output.store in ("auto", "inline") else output.store
