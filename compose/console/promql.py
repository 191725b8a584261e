"""Reads the part of PromQL that our panels, rules and alerts use into a tree; anything else is refused by name.

Grammar: https://prometheus.io/docs/prometheus/latest/querying/basics/ and …/operators/. Left out on purpose, because no
definition uses it: subqueries, `@`, `bool`, group_left/right, `%`, `^`, by-less grouping with `without`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec


class PromqlError(ValueError):
    """An expression is not in the part of PromQL that is evaluated here; the message says where it stops."""


class Matcher(msgspec.Struct, frozen=True):
    """`label op "text"` with op one of = != =~ !~."""

    label: str
    operator: str
    text: str


class Number(msgspec.Struct, frozen=True):
    """A literal."""

    value: float


class Selector(msgspec.Struct, frozen=True):
    """A metric with matchers; `window` and `offset` in seconds, window None for an instant vector."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    window: float | None = None
    offset: float = 0.0


class Call(msgspec.Struct, frozen=True):
    """A function with its arguments."""

    name: str
    arguments: tuple[Expression, ...]


class Aggregate(msgspec.Struct, frozen=True):
    """sum, min, max or count over the series that share the labels `by`."""

    name: str
    by: tuple[str, ...]
    operand: Expression


class Binary(msgspec.Struct, frozen=True):
    """An operator between two expressions; `on` None: matched on all labels."""

    operator: str
    left: Expression
    right: Expression
    on: tuple[str, ...] | None = None


Expression = Number | Selector | Call | Aggregate | Binary

FUNCTIONS = {
    "rate": 1, "increase": 1, "changes": 1, "avg_over_time": 1, "predict_linear": 2, "histogram_quantile": 2,
    "absent": 1, "vector": 1, "time": 0,
}  # fmt: skip
AGGREGATES = ("sum", "min", "max", "count")
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
# lowest first; all are left-associative
PRECEDENCE: tuple[tuple[str, ...], ...] = (("or",), ("and", "unless"), COMPARISONS, ("+", "-"), ("*", "/"))
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<duration>\d+(?:ms|[smhdw])\b)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<sign>=~|!~|==|!=|<=|>=|[-+*/<>=(){}\[\],])
    )""",
    re.VERBOSE,
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(duration: str) -> float:
    """Return a duration such as `5m` in seconds."""
    number = re.match(r"\d+", duration)
    if number is None or duration[number.end() :] not in _UNITS:
        raise PromqlError(f"{duration!r} is no duration")
    return int(number[0]) * _UNITS[duration[number.end() :]]


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None:
                raise PromqlError(f"{text[at:].strip()[:30]!r} is not understood in {text!r}")
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None, *, kind: str | None = None) -> str:
        found = self.peek()
        if not found or (expected is not None and found != expected) or (kind is not None and self.kind() != kind):
            raise PromqlError(f"{expected or kind} is wanted, not {found or 'the end'!r}, in {self.text!r}")
        self.at += 1
        return found

    def expression(self, level: int = 0) -> Expression:
        if level == len(PRECEDENCE):
            return self.unary()
        left = self.expression(level + 1)
        while self.peek() in PRECEDENCE[level] and self.peek():
            operator = self.take()
            on = self.labels() if self.peek() == "on" and self.take() else None
            left = Binary(operator, left, self.expression(level + 1), on)
        return left

    def labels(self) -> tuple[str, ...]:
        self.take("(")
        names = []
        while self.peek() != ")":
            names.append(self.take(kind="name"))
            if self.peek() == ",":
                self.take()
        self.take(")")
        return tuple(names)

    def unary(self) -> Expression:
        if self.peek() == "-":
            self.take()
            return Binary("*", Number(-1.0), self.unary())
        if self.peek() == "(":
            self.take()
            inner = self.expression()
            self.take(")")
            return inner
        if self.kind() == "number":
            return Number(float(self.take()))
        name = self.take(kind="name")
        if name in AGGREGATES and self.peek() in ("by", "("):
            by = self.labels() if self.peek() == "by" and self.take() else ()
            self.take("(")
            operand = self.expression()
            self.take(")")
            return Aggregate(name, by, operand)
        if self.peek() == "(":
            return self.call(name)
        return self.selector(name)

    def call(self, name: str) -> Expression:
        if name not in FUNCTIONS:
            raise PromqlError(f"function {name} is not evaluated here, in {self.text!r}")
        self.take("(")
        arguments: list[Expression] = []
        while self.peek() != ")":
            arguments.append(self.expression())
            if self.peek() == ",":
                self.take()
        self.take(")")
        if len(arguments) != FUNCTIONS[name]:
            raise PromqlError(f"{name} takes {FUNCTIONS[name]} arguments, in {self.text!r}")
        return Call(name, tuple(arguments))

    def selector(self, name: str) -> Expression:
        matchers: list[Matcher] = []
        if self.peek() == "{":
            self.take()
            while self.peek() != "}":
                label, operator = self.take(kind="name"), self.take(kind="sign")
                if operator not in ("=", "!=", "=~", "!~"):
                    raise PromqlError(f"{operator} is no matcher, in {self.text!r}")
                matchers.append(Matcher(label, operator, _unquoted(self.take(kind="text"))))
                if self.peek() == ",":
                    self.take()
            self.take("}")
        window = None
        if self.peek() == "[":
            self.take()
            window = seconds(self.take(kind="duration"))
            self.take("]")
        offset = seconds(self.take(kind="duration")) if self.peek() == "offset" and self.take() else 0.0
        return Selector(name, tuple(matchers), window, offset)


def _unquoted(text: str) -> str:
    value: str = msgspec.json.decode(text)
    return value


def parse(text: str) -> Expression:
    """Return the tree of an expression.

    Raises:
        PromqlError: it holds something that is not evaluated here.
    """
    reader = _Reader(text)
    tree = reader.expression()
    if reader.peek():
        raise PromqlError(f"{reader.peek()!r} is not understood in {text!r}")
    return tree


def selectors(tree: Expression) -> Iterator[Selector]:
    """Yield every selector in the tree."""
    match tree:
        case Selector():
            yield tree
        case Call():
            for argument in tree.arguments:
                yield from selectors(argument)
        case Aggregate():
            yield from selectors(tree.operand)
        case Binary():
            yield from selectors(tree.left)
            yield from selectors(tree.right)
        case Number():
            pass


def replaced(tree: Expression, rules: dict[str, Expression]) -> Expression:
    """Return the tree with the names of recording rules replaced by what they record."""
    match tree:
        case Selector() if tree.name in rules and not tree.matchers and tree.window is None:
            return replaced(rules[tree.name], rules)
        case Call():
            return Call(tree.name, tuple(replaced(argument, rules) for argument in tree.arguments))
        case Aggregate():
            return Aggregate(tree.name, tree.by, replaced(tree.operand, rules))
        case Binary():
            return Binary(tree.operator, replaced(tree.left, rules), replaced(tree.right, rules), tree.on)
        case _:
            return tree
