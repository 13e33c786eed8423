"""A wire between a node and a server that can be cut: in both directions, or in one. On the loopback."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

_CHUNK = 65_536


class Proxy:
    """`with Proxy(port) as proxy:` — `proxy.port` leads to `port`. A cut wire is silent: nothing is refused, nothing arrives."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut_up = threading.Event()
        self._cut_down = threading.Event()
        self._stalled = threading.Event()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Proxy:
        self._accepting.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()  # so that it stops accepting
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def cut(self, *, up: bool = True, down: bool = True) -> None:
        """`up`: what the node sends; `down`: what it is sent."""
        if up:
            self._cut_up.set()
        if down:
            self._cut_down.set()

    def stall(self) -> None:
        """As a node that does not get to reading: what it is sent backs up."""
        self._stalled.set()

    def heal(self) -> None:
        self._stalled.clear()
        self._cut_up.clear()
        self._cut_down.clear()

    def _accept(self) -> None:
        while not self._closed.is_set():
            near, _ = self._listener.accept()
            if self._closed.is_set():
                near.close()
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            thread = threading.Thread(target=self._carry, args=(near, far))
            self._threads.append(thread)
            thread.start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Until one end closes. What comes while the wire is cut is dropped, so that the connection is of no use any more."""
        ways = {near: (far, self._cut_up), far: (near, self._cut_down)}
        with near, far, selectors.DefaultSelector() as waiting, contextlib.suppress(OSError):
            for end in ways:
                waiting.register(end, selectors.EVENT_READ)
            while not self._closed.is_set():
                if self._stalled.is_set():
                    self._closed.wait(0.05)
                    continue
                for key, _ in waiting.select(timeout=0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    other, is_cut = ways[key.fileobj]
                    data = key.fileobj.recv(_CHUNK)
                    if not data:
                        return
                    if not is_cut.is_set():
                        other.sendall(data)
