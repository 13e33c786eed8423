"""Names under which somebody is reached on the bus: roles, that outlive whoever has them now. Each part is one word of a NATS subject."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

NODES: Final = "noetl.nodes"
"""All nodes."""
COMMANDS: Final = "noetl.commands"
EVENTS: Final = "noetl.events"
DEAD: Final = "noetl.dead"

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_@-]")


def mailbox(shard: int, execution_id: int) -> str:
    """Whoever owns the shard, about one of its executions."""
    return f"noetl.mailbox.{shard}.{execution_id}"


def mailboxes(shard: int) -> str:
    """All executions of a shard."""
    return f"noetl.mailbox.{shard}.*"


def node_address(node: str) -> str:
    return f"noetl.node.{word(node)}"


def commands(pool: str, priority: int) -> str:
    """Attempts that a pool is to run."""
    return f"{COMMANDS}.{word(pool)}.{priority}"


def pool_commands(pool: str) -> str:
    """Those of all priorities."""
    return f"{COMMANDS}.{word(pool)}.*"


def events(domain: str, execution_id: int) -> str:
    return f"{EVENTS}.{word(domain)}.{execution_id}"


def dead(subject: str) -> str:
    """Where lies what nobody can read of a subject."""
    return f"{DEAD}.{subject.removeprefix(f'{COMMANDS}.').removeprefix('noetl.')}"


def word(text: str) -> str:
    """A text as one word: what is not safe in it is written as in a URL, with `=` for `%`."""
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode() or "="


def unword(part: str) -> str:
    """The text of a word."""
    return "" if part == "=" else unquote(part.replace("=", "%"))
