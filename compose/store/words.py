"""Text cut into words as Elasticsearch's standard analyser does: Unicode's word boundaries, folded to lower case.

Rules: Unicode Standard Annex 29, section 4 (word boundary rules WB4 to WB13), by Python's own character data.
The words of one field are kept as one string, ` word word `, so that a word or a phrase is found by a plain search;
values of an array are separated by a unit separator that no phrase crosses.
"""

from __future__ import annotations

import functools
import itertools
import re

from compose.store.errors import UnsupportedError

MAX_TOKEN = 255  # the standard analyser cuts longer words
GAP = "\x1f"
MAX_PLACES = 1024  # of words in a sloppy phrase

_IDEOGRAPH = (
    "\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_KATAKANA = "\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_EXTEND = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f"
    "\u0900-\u0903\u093a-\u094f\u200d\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
)
_LETTER = rf"(?:[^\W\d_{_IDEOGRAPH}{_KATAKANA}][{_EXTEND}]*)"
_DIGIT = rf"(?:\d[{_EXTEND}]*)"
_JOIN = rf"(?:_[{_EXTEND}]*)"
_MID_LETTER = "[:.'\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a]"
_MID_NUMBER = (
    "[,;.'\u037e\u0589\u060c\u060d\u066c\u07f8"
    "\u2018\u2019\u2024\u2044\ufe10\ufe14\ufe50\ufe52\ufe54\uff07\uff0c\uff0e\uff1b]"
)
_WORD = re.compile(
    # A run that begins with joins only counts when a letter or a digit is in it.
    rf"(?:{_JOIN}*(?:{_LETTER}(?:{_MID_LETTER}(?={_LETTER}))?|{_DIGIT}(?:{_MID_NUMBER}(?={_DIGIT}))?)"
    rf"|{_JOIN}*[{_KATAKANA}][{_EXTEND}]*)+{_JOIN}*"
    rf"|[{_IDEOGRAPH}][{_EXTEND}]*"
    r"|[\U0001f300-\U0001faff\u2600-\u27bf]\ufe0f?"
)


# The same rules where all is ASCII, in one simple run: three times as fast.
_ASCII_WORD = re.compile(r"[a-z0-9_]+(?:(?:(?<=[a-z])[:.'](?=[a-z])|(?<=[0-9])[,;.'](?=[0-9]))[a-z0-9_]+)*")


def cut(text: str) -> list[str]:
    """Return the words of a text, folded."""
    if text.isascii():
        words = [word for word in _ASCII_WORD.findall(text.lower()) if word.strip("_")]
        if not words or len(max(words, key=len)) <= MAX_TOKEN:
            return words
    found = []
    for word in _WORD.findall(text):
        folded = word.lower()
        if len(folded) <= MAX_TOKEN:
            found.append(folded)
        else:
            found += [folded[start : start + MAX_TOKEN] for start in range(0, len(folded), MAX_TOKEN)]
    return found


@functools.lru_cache(maxsize=16384)  # log messages repeat
def _joined(text: str) -> str:
    return f" {' '.join(cut(text))} "


def joined(text: str) -> str:
    """Return the words as they are kept: ` word word `."""
    return _joined(text) if len(text) < 256 else _joined.__wrapped__(text)


def as_regular_expression(pattern: str, *, within_word: bool) -> str:
    r"""Return a pattern with `*`, `?` and `\` as a regular expression."""
    anything = "[^ ]" if within_word else "."
    result, position = "", 0
    while position < len(pattern):
        letter = pattern[position]
        if letter == "\\" and position + 1 < len(pattern):
            position += 1
            result += re.escape(pattern[position])
        elif letter == "*":
            result += anything + "*"
        elif letter == "?":
            result += anything
        else:
            result += re.escape(letter)
        position += 1
    return result


def sloppy(words: list[str], slop: int) -> str:
    """Return a regular expression for words that may be moved from their places, by `slop` positions over all.

    As Lucene's SloppyPhraseMatcher counts: the largest difference between where the words are and where the phrase has
    them.

    Raises:
        UnsupportedError: there are too many ways to place them.
    """
    if (slop + 1) ** len(words) > MAX_PLACES:
        raise UnsupportedError(f"a slop of {slop} over {len(words)} words")
    ways = set()
    for moves in itertools.product(range(slop + 1), repeat=len(words)):
        places = [place + move for place, move in enumerate(moves)]
        if min(moves) == 0 and len(set(places)) == len(places):
            order = sorted(range(len(words)), key=places.__getitem__)
            text = f" {re.escape(words[order[0]])} "
            for before, after in itertools.pairwise(order):
                gap = places[after] - places[before] - 1
                text += (f"(?:[^ {GAP}]+ ){{{gap}}}" if gap else "") + f"{re.escape(words[after])} "
            ways.add(text)
    return "|".join(sorted(ways))
