"""What must not leave the machine: e-mail, IBAN, payment card and phone numbers, and fields by name."""

from __future__ import annotations

import re

import xxhash

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.]\d)(?!\d)")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,6}(?!\w)")
_MAY = re.compile(r"@|\d[\d ./()-]{6}|[A-Z]{2}\d\d")
_CLEAN_LIMIT = 4096


def luhn(digits: str) -> bool:
    """Whether a number's check digit is right (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def iban(text: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616: modulo 97)."""
    packed = text.replace(" ", "")
    return 15 <= len(packed) <= 34 and int("".join(str(int(c, 36)) for c in packed[4:] + packed[:4])) % 97 == 1


def mask(text: str) -> str:
    """Return text with personal numbers and addresses replaced by what they were."""
    if not _MAY.search(text):
        return text
    text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub(lambda match: "[iban]" if iban(match[0]) else match[0], text)
    text = _CARD.sub(lambda match: "[card]" if luhn(re.sub(r"\D", "", match[0])) else match[0], text)
    return _PHONE.sub("[phone]", text)


class Redaction:
    """Masks texts; texts known to be clean cost one look-up, for a log says the same few things over and over."""

    def __init__(self, on: bool, *, drop: str = "", masked: str = "", hashed: str = "", seed: int = 0) -> None:
        self.on = on
        self.drop = frozenset(filter(None, drop.split(",")))
        self.masked = frozenset(filter(None, masked.split(",")))
        self.hashed = frozenset(filter(None, hashed.split(",")))
        self.fields = bool(self.drop or self.masked or self.hashed)
        self.clean: set[str | None] = {"", None}
        self._seed = seed

    def text(self, text: str) -> str:
        """Return the text as it may leave."""
        if not self.on or text in self.clean:
            return text
        masked = mask(text)
        if masked is text or masked == text:
            if len(self.clean) >= _CLEAN_LIMIT:
                self.clean.clear()
                self.clean.update(("", None))
            if len(text) <= 256:
                self.clean.add(text)
        return masked

    def keyed(self, raw: bytes) -> str:
        """Return the keyed hash that stands for a field's value."""
        return xxhash.xxh3_128_hexdigest(raw, self._seed)
