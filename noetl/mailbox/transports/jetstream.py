"""The bus over NATS: subjects as they are, commands and events in streams of JetStream.

The object stays the same while connections come and go: `connect` makes the next one, `lost` says when it is over. In between everything raises
`BusUnavailable` at once, what waits for an answer too; what listens and pulls goes on when the next connection is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import UnexpectedEOF

from noetl.errors import AskTimeout
from noetl.mailbox.address import dead
from noetl.mailbox.transport import MESSAGE_MAX_BYTES, BusUnavailable, Delivery
from noetl.mailbox.transports.nats_messages import ID_HEADER, NO_RESPONDERS, REASON_HEADER, NatsDelivery, status_of
from noetl.mailbox.transports.nats_puller import NatsPuller
from noetl.mailbox.transports.streams import COMMAND_STREAM, Streams
from noetl.settings import NatsSettings

Job = Callable[[Client], Awaitable[Any]]

_log: Final = logging.getLogger("noetl.bus")
_ACK_S: Final = 1.0
"""How long the stream may take to confirm. The leader of a stream may be changing: then it is asked again."""
_ACK_TRIES: Final = 5
_PAUSE_S: Final = 0.5
_UNSENT_BYTES: Final = 64 * 1024 * 1024


class PubAck(Struct, frozen=True):
    """What a stream answers."""

    stream: str = ""
    seq: int = 0
    error: Any = None


_decode_ack = msgspec.json.Decoder(PubAck).decode


class NatsListening:
    """A subject that is listened to, over all connections."""

    def __init__(self, subject: str, handle: Callable[[Delivery], None], bus: NatsBus) -> None:
        self.subject = subject
        self._handle = handle
        self._bus = bus

    async def hear(self, msg: Msg) -> None:
        self._handle(NatsDelivery(msg, self._bus))

    def stop(self) -> None:
        self._bus.forget(self)


class NatsBus:
    """See the module. `node` is how the servers call the connection in their reports."""

    def __init__(self, settings: NatsSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._client: Client | None = None
        self._streams: Streams | None = None
        self._inbox = ""
        self._tokens = itertools.count(1)
        self._asked: dict[str, asyncio.Future[Msg]] = {}
        self._out: deque[Job] = deque()
        """What is to be done on the connection, in order."""
        self._out_bell = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._listening: dict[NatsListening, Subscription | None] = {}
        self._pullers: dict[NatsPuller, Subscription | None] = {}
        self._watchers: list[Callable[[bool], None]] = []
        self._new_stream: list[Callable[[], None]] = []
        self._born: str | None = None
        """When the stream of commands was made, as far as it is known: another time is another stream."""
        self.lost: asyncio.Future[None] | None = None
        """Of the connection that there is: done when it is over."""

    # -- connections ---------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._client is not None

    async def connect(self) -> None:
        """Raises `BusUnavailable`."""
        client, lost = Client(), asyncio.get_running_loop().create_future()

        async def closed() -> None:
            if not lost.done():
                lost.set_result(None)

        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s * len(settings.urls)):  # it would try on and on
                await client.connect(
                    servers=list(settings.urls),
                    name=self._node,
                    allow_reconnect=False,
                    reconnect_time_wait=1,
                    closed_cb=closed,
                    disconnected_cb=closed,
                    error_cb=_reported,
                    pending_size=_UNSENT_BYTES,
                )
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=self._answered)
            streams = Streams(client.jsm(timeout=settings.connect_timeout_s), settings.replicas)
            await streams.ensure()
        except (NatsError, OSError, TimeoutError, ssl.SSLError) as error:
            with contextlib.suppress(Exception):
                await client.close()
            raise BusUnavailable(f"NATS can't be reached: {str(error) or type(error).__name__}") from error
        self._client, self._streams, self.lost = client, streams, lost
        self._sender = asyncio.get_running_loop().create_task(self._send_out(client))
        await self._take_up(client)
        self._say(is_up=True)
        self._see_birth(streams.born)

    async def _take_up(self, client: Client) -> None:
        """What listened and pulled goes on."""
        for listening in list(self._listening):
            self._listening[listening] = await client.subscribe(listening.subject, cb=listening.hear)
        for puller in list(self._pullers):
            self._pullers[puller] = await client.subscribe(f"{self._inbox}.pull.{next(self._tokens)}", cb=puller.hear)
            puller.begin_again()

    async def disconnect(self) -> None:
        """Let the connection go, as over. Nothing when there is none."""
        client, self._client, self._streams = self._client, None, None
        if client is None:
            return
        if self._sender is not None:
            self._sender.cancel()
        self._out.clear()
        asked, self._asked = self._asked, {}
        for future in asked.values():
            if not future.done():
                future.set_exception(BusUnavailable("the connection to NATS was lost"))
                future.exception()  # perhaps nobody waits any more
        self._listening = dict.fromkeys(self._listening)
        self._pullers = dict.fromkeys(self._pullers)
        for puller in self._pullers:
            puller.begin_again()
        self._say(is_up=False)
        with contextlib.suppress(Exception):  # whatever state it is in, it is over
            async with asyncio.timeout(1.0):
                await client.close()

    async def close(self) -> None:
        if self._client is not None:
            flushed = asyncio.get_running_loop().create_future()
            self._do(lambda client: _flushed(client, flushed))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await flushed
        await self.disconnect()

    async def check(self, timeout_s: float) -> bool:
        """Whether what is sent comes back, through the server, and the streams are there; those that are not are made."""
        try:
            await self._ask_self(timeout_s)
            if self._streams is not None:
                await self._streams.ensure()
                self._see_birth(self._streams.born)
        except (BusUnavailable, AskTimeout, NatsError, OSError, TimeoutError):
            return False
        return True

    async def _ask_self(self, timeout_s: float) -> None:
        token, future = self._expect()
        subject = f"{self._inbox}.{token}"
        self.send(subject, b"sentinel")
        await self._wait(future, token, timeout_s, subject)

    def watch(self, changed: Callable[[bool], None]) -> None:
        self._watchers.append(changed)

    def on_new_stream(self, told: Callable[[], None]) -> None:
        self._new_stream.append(told)

    def _say(self, *, is_up: bool) -> None:
        for changed in self._watchers:
            changed(is_up)

    def _see_birth(self, born: str | None) -> None:
        if self._born is not None and born != self._born:
            for puller in self._pullers:
                puller.begin_again()
            for told in self._new_stream:
                told()
        self._born = born

    # -- sending -------------------------------------------------------------------------------------------------------

    def publish(self, subject: str, body: bytes) -> None:
        if self._client is None:
            raise BusUnavailable("NATS can't be reached")
        self.send(subject, body)

    def send(self, subject: str, body: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        if len(body) <= MESSAGE_MAX_BYTES:
            self._do(lambda client: client.publish(subject, body, reply, headers))

    def _do(self, job: Job) -> None:
        if self._client is not None:
            self._out.append(job)
            self._out_bell.set()

    async def _send_out(self, client: Client) -> None:
        """One task for all that is sent: sending does not wait for the socket, and makes no task of its own."""
        try:
            while True:
                await self._out_bell.wait()
                self._out_bell.clear()
                while self._out:
                    await self._out.popleft()(client)
        except (NatsError, OSError, ConnectionError) as error:
            _log.warning("NATS: %s", error)
            if self.lost is not None and not self.lost.done():
                self.lost.set_result(None)

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        msg = await self._request(subject, body, timeout_s)
        return msg.data

    async def _request(self, subject: str, body: bytes, timeout_s: float, headers: dict[str, str] | None = None) -> Msg:
        if self._client is None:
            raise BusUnavailable("NATS can't be reached")
        token, future = self._expect()
        self.send(subject, body, f"{self._inbox}.{token}", headers)
        msg = await self._wait(future, token, timeout_s, subject)
        if not msg.data and status_of(msg) == NO_RESPONDERS:
            raise BusUnavailable(f"nobody listens at {subject}")
        return msg

    def _expect(self) -> tuple[str, asyncio.Future[Msg]]:
        token = str(next(self._tokens))
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[token] = future
        return token, future

    async def _wait(self, future: asyncio.Future[Msg], token: str, timeout_s: float, subject: str) -> Msg:
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise AskTimeout(f"no answer from {subject} within {timeout_s:g} s") from None
        finally:
            self._asked.pop(token, None)

    async def _answered(self, msg: Msg) -> None:
        future = self._asked.get(msg.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(msg)

    async def command(self, subject: str, body: bytes, message_id: str) -> None:
        await self._into_stream(subject, body, message_id)

    def dead_letter(self, address: str, body: bytes, reason: str) -> None:
        self.send(dead(address), body, headers={REASON_HEADER: reason})

    async def event(self, subject: str, body: bytes, message_id: str) -> None:
        await self._into_stream(subject, body, message_id)

    async def _into_stream(self, subject: str, body: bytes, message_id: str) -> None:
        """Under one id it is there once, however often it is sent."""
        why = ""
        for _ in range(_ACK_TRIES):
            try:
                ack = _decode_ack((await self._request(subject, body, _ACK_S, {ID_HEADER: message_id})).data)
            except AskTimeout as error:
                why = str(error)
                continue
            except msgspec.MsgspecError as error:
                raise BusUnavailable(f"{subject}: what answers is no stream: {error}") from error
            if ack.error is None:
                return
            why = str(ack.error)
        raise BusUnavailable(f"{subject}: the stream does not confirm: {why}")

    # -- listening and pulling -----------------------------------------------------------------------------------------

    def listen(self, subject: str, handle: Callable[[Delivery], None]) -> NatsListening:
        listening = NatsListening(subject, handle, self)
        self._listening[listening] = None
        self._do(lambda client: self._begin_listening(listening, client))
        return listening

    async def _begin_listening(self, listening: NatsListening, client: Client) -> None:
        if listening in self._listening and self._listening[listening] is None:
            self._listening[listening] = await client.subscribe(listening.subject, cb=listening.hear)

    def forget(self, listening: NatsListening) -> None:
        subscription = self._listening.pop(listening, None)
        if subscription is not None:
            self._do(lambda _: subscription.unsubscribe())

    def puller(self, name: str, subjects: tuple[str, ...], ack_within_s: float) -> NatsPuller:
        puller = NatsPuller(name, subjects, ack_within_s, self)
        self._pullers[puller] = None
        return puller

    def forget_puller(self, puller: NatsPuller) -> None:
        self.deafen(puller)
        self._pullers.pop(puller, None)

    def deafen(self, puller: NatsPuller) -> None:
        subscription = self._pullers.get(puller)
        if subscription is not None:
            self._pullers[puller] = None
            self._do(lambda _: subscription.unsubscribe())

    async def make_consumer(self, puller: NatsPuller) -> None:
        """Raises `BusUnavailable`."""
        client, streams = self._client, self._streams
        if client is None or streams is None:
            await asyncio.sleep(_PAUSE_S)
            raise BusUnavailable("NATS can't be reached")
        try:
            if self._pullers.get(puller) is None:
                self._pullers[puller] = await client.subscribe(f"{self._inbox}.pull.{next(self._tokens)}", cb=puller.hear)
            await streams.ensure()
            await streams.make_consumer(puller.name, puller.subjects, puller.ack_within_s)
            self._see_birth(streams.born)
        except (NatsError, OSError, TimeoutError) as error:
            await asyncio.sleep(_PAUSE_S)
            raise BusUnavailable(f"the consumer {puller.name} can't be made: {error}") from error

    def ask_for_commands(self, puller: NatsPuller, number: int, expires_s: float) -> None:
        subscription = self._pullers.get(puller)
        if subscription is not None:
            body = msgspec.json.encode({"batch": number, "expires": int(expires_s * 1e9)})
            self.send(f"$JS.API.CONSUMER.MSG.NEXT.{COMMAND_STREAM}.{Streams.consumer_name(puller.name)}", body, subscription.subject)


async def _flushed(client: Client, flushed: asyncio.Future[None]) -> None:
    """What was sent before is at the server."""
    await client.flush(timeout=1)
    if not flushed.done():
        flushed.set_result(None)


async def _reported(error: Exception) -> None:
    """What is wrong with the connection itself is said by who keeps it."""
    if not isinstance(error, (OSError, UnexpectedEOF)):
        _log.warning("NATS: %s", str(error) or type(error).__name__)
