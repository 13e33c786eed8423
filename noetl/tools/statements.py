"""SQL text read without parsing it: where its statements end, which words and placeholders they hold.

The lexical rules are PostgreSQL's: quotes, `E''` strings, dollar quotes, nested comments, `BEGIN ATOMIC` bodies. A text that breaks them (a
quote that is never closed) is handed on whole, so that the server reports the mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from noetl.errors import ToolRefused

_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]*+ | /\* )
    | (?P<quoted>  "(?:[^"]++|"")*+(?:"|\Z) | [eE]'(?:[^'\\]++|\\.|'')*+(?:'|\Z) | '(?:[^']++|'')*+(?:'|\Z) )
    | (?P<dollar>  \$(?:[^\W\d]\w*+)?\$ )
    | (?P<param>   \$\d++ )
    | (?P<word>    [^\W\d][\w$]*+ )
    | (?P<name>    (?<![\w\])]):[^\W\d]\w*+ )
    | (?P<mark>    ::|:=|[;()] )
    | (?P<other>   (?:[^\w"'$:;()/-]++|\d[\w.]*+)++|. )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")

_CONTROL: Final = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"})
_ALONE: Final = frozenset({"CALL", "DO"})
_FORBIDDING: Final = (
    ("VACUUM",),
    ("ALTER", "SYSTEM"),
    ("DISCARD", "ALL"),
    *((verb, noun) for verb in ("CREATE", "DROP") for noun in ("DATABASE", "TABLESPACE", "SUBSCRIPTION")),
    ("ALTER", "SUBSCRIPTION"),
)
_REINDEX_WIDE: Final = frozenset({"DATABASE", "SYSTEM", "SCHEMA"})


class Statement(Struct, frozen=True):
    """One statement, without the semicolon. `words` are its words outside of quotes and comments, upper case."""

    text: str
    words: tuple[str, ...]

    def starts(self, *words: str) -> bool:
        return self.words[: len(words)] == words


class Token(NamedTuple):
    kind: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """The whole text, cut into pieces of one kind each."""
    position = 0
    while (match := _TOKEN.match(text, position)) is not None:
        kind, end = match.lastgroup or "other", match.end()
        if kind == "comment" and text.startswith("/*", position):
            end = _block_comment_end(text, end)
        elif kind == "dollar":
            closing = text.find(match[0], end)
            end = len(text) if closing < 0 else closing + len(match[0])
        yield Token(kind, position, end)
        position = end


def _block_comment_end(text: str, position: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def split(text: str) -> list[Statement]:
    """The statements of a text. A semicolon in parentheses (`CREATE RULE … DO (…; …)`) or in a routine's body ends none."""
    statements: list[Statement] = []
    words: list[str] = []
    start = parentheses = body = 0
    empty = True
    for token in tokens(text):
        piece = text[token.start : token.end]
        if piece == ";" and parentheses <= 0 and body == 0:
            if not empty:
                statements.append(Statement(text[start : token.start].strip(), tuple(words)))
            words, start, parentheses, empty = [], token.end, 0, True
            continue
        empty = empty and (token.kind == "comment" or piece.isspace())
        if token.kind == "mark":
            parentheses += {"(": 1, ")": -1}.get(piece, 0)
        elif token.kind == "word":
            words.append(piece.upper())
            if parentheses <= 0:
                body = _body_depth(words, body)
    if not empty:
        statements.append(Statement(text[start:].strip(), tuple(words)))
    return statements


def has_word(text: str, word: str) -> bool:
    """Whether the upper-case word stands in the text outside of quotes and comments."""
    return any(token.kind == "word" and text[token.start : token.end].upper() == word for token in tokens(text))


def _body_depth(words: list[str], depth: int) -> int:
    """How deep in `BEGIN … END` a routine's definition is after its last word; `CASE … END` nests in it."""
    word = words[-1]
    if word not in {"BEGIN", "CASE", "END"} or words[0] != "CREATE":
        return depth
    noun = words[3] if words[1:3] == ["OR", "REPLACE"] and len(words) > 3 else words[1]
    if noun not in {"FUNCTION", "PROCEDURE"}:
        return depth
    if word == "END":
        return max(depth - 1, 0)
    return depth + 1 if word == "BEGIN" or depth > 0 else depth


def controls_transactions(statement: Statement) -> bool:
    """Whether it begins or ends a transaction. Going back to a savepoint is neither."""
    if statement.starts("PREPARE", "TRANSACTION"):
        return True
    return bool(statement.words) and statement.words[0] in _CONTROL and not (statement.words[0] == "ROLLBACK" and "TO" in statement.words[:3])


def forbids_transaction(statement: Statement) -> bool:
    """Whether the server refuses to run it inside a transaction."""
    words = statement.words
    if any(statement.starts(*prefix) for prefix in _FORBIDDING) or words == ("CLUSTER",):
        return True
    if statement.starts("REINDEX"):
        return "CONCURRENTLY" in words or not _REINDEX_WIDE.isdisjoint(words[:4])
    if statement.starts("ALTER", "DATABASE"):
        return "TABLESPACE" in words
    return bool(words) and words[0] in {"CREATE", "DROP", "ALTER"} and "CONCURRENTLY" in words


def fits_one_transaction(statements: Sequence[Statement]) -> bool:
    """Whether the statements may be wrapped in a transaction of ours. A lone CALL or DO may end transactions of its own."""
    if len(statements) == 1 and statements[0].words and statements[0].words[0] in _ALONE:
        return False
    return not any(controls_transactions(statement) or forbids_transaction(statement) for statement in statements)


def bind(statement: Statement, params: Sequence[Any] | Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The statement with its placeholders numbered from 1 without gaps, and their values.

    Values of a list are placed by `$1`, `$2`, …; those of a mapping by `:name`.

    Raises:
        ToolRefused: a placeholder has no value.
    """
    kind = "name" if isinstance(params, Mapping) else "param"
    text = statement.text
    numbers: dict[str, int] = {}
    pieces: list[str] = []
    position = 0
    for token in tokens(text):
        if token.kind != kind:
            continue
        placeholder = text[token.start : token.end]
        number = numbers.setdefault(placeholder, len(numbers) + 1)
        pieces += (text[position : token.start], f"${number}")
        position = token.end
    return "".join((*pieces, text[position:])), [_value(placeholder, params) for placeholder in numbers]


def _value(placeholder: str, params: Sequence[Any] | Mapping[str, Any]) -> Any:
    name = placeholder[1:]
    if isinstance(params, Mapping):
        if name in params:
            return params[name]
        raise ToolRefused(f"params has no '{name}', which the SQL names as {placeholder}")
    if 0 < int(name) <= len(params):
        return params[int(name) - 1]
    raise ToolRefused(f"params has {len(params)} values; the SQL asks for {placeholder}")
