"""Server-sent events: the stream's text as frames, and one execution's events out of any number of streams. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from noetl.client import calls
from noetl.client.address import Address
from noetl.client.answer import error_of
from noetl.client.attempts import Attempts, Retries
from noetl.client.call import request_of
from noetl.client.connection import Request, Response
from noetl.engine.client import EventView
from noetl.errors import NoetlError, ServerFailed

_END = "end"


class Frame(Struct, frozen=True):
    """One event of a stream, as HTML's section 9.2 defines it. `event` is empty when the stream names none."""

    event: str
    data: str


class Frames:
    """Takes a stream in pieces, of whatever size."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Frame]:
        *lines, self._rest = (self._rest + self._decoder.decode(piece)).split("\n")
        for line in lines:
            frame = self._line(line.removesuffix("\r"))
            if frame is not None:
                yield frame

    def _line(self, line: str) -> Frame | None:
        if not line:
            return self._dispatched()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        return None

    def _dispatched(self) -> Frame | None:
        """The blank line ends a frame. One that has neither a name nor data, such as a comment that keeps the connection alive, is none."""
        frame = Frame(self._event, "\n".join(self._data))
        self._event, self._data = "", []
        return frame if frame.event or frame.data else None


class Watching:
    """The events of one execution behind `after`: each once and in order, over as many streams as it takes."""

    def __init__(self, execution_id: str, after: int, retries: Retries) -> None:
        self._execution_id = execution_id
        self._last = after
        self._attempts = Attempts(retries)
        self._frames = Frames()
        self.is_over = False
        """The execution has ended and all its events were given."""

    def request(self, address: Address, token: str | None) -> Request:
        """What opens the next stream."""
        call = calls.events(self._execution_id, self._last, None)
        more = {"last_event_id": str(self._last)} if self._last else {}
        self._frames = Frames()
        return request_of(call, address, token, accept="text/event-stream", **more)

    def opened(self, response: Response, address: Address) -> None:
        """Raises what the server has answered instead of a stream."""
        if response.is_stream:
            return
        if response.status == 200:
            raise ServerFailed(f"{address.url} answered with {response.media_type or 'nothing'} instead of a stream of events", status=200)
        raise error_of(response, address)

    def feed(self, piece: bytes) -> Iterator[EventView]:
        for frame in self._frames.feed(piece):
            if frame.event == _END:
                self.is_over = True
                return
            if not frame.data:
                continue
            event = _event(frame.data)
            if event.seq > self._last:
                self._last = event.seq
                self._attempts.succeeded()
                yield event

    def delay_s(self, error: NoetlError) -> float:
        """Seconds until the next stream, after one was lost. Raises `error` when it is no use."""
        return self._attempts.delay_s(error)


def _event(data: str) -> EventView:
    try:
        return msgspec.json.decode(data, type=EventView)
    except msgspec.MsgspecError as error:
        raise ServerFailed(f"an event of the stream can't be read: {error}", status=200) from error
