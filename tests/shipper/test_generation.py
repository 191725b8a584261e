"""Which file this is: pure decisions over first bytes, size and the bytes before the offset."""

from __future__ import annotations

import pytest

from shipper.generation import (
    ALIKE_BYTES,
    MARKER_BYTES,
    SIGNATURE_BYTES,
    Kind,
    Record,
    begins_alike,
    compare,
    digest,
    generation_id,
    is_copy,
    rewind,
    seed_of,
    sign,
    telling,
)

VOLUME = "4d1c7f30-5b1f-4a57-9d0e-6f6f0f0a9c11"
CONTENT = bytes(range(256)) * 16


def remembered(content: bytes, offset: int) -> Record:
    """The record of a file with this content, acknowledged up to the offset."""
    record = Record(generation="g", path="a", device=1, inode=2, offset=offset)
    sign(record, content[:offset])
    record.marker_length = min(MARKER_BYTES, offset)
    record.marker = digest(content[offset - record.marker_length : offset])
    return record


def looked_at(record: Record, content: bytes) -> Kind:
    """What the record's file is found to be when it has this content now."""
    before = content[record.offset - record.marker_length : record.offset]
    return compare(record, content[:SIGNATURE_BYTES], len(content), before)


def test_hashes_are_those_that_ids_on_servers_were_made_with() -> None:
    """A changed hash would send every line of every file again: these values are a contract."""
    assert generation_id(VOLUME, 7, b"first line\nsecond", 0) == "774044253929c6cd"
    assert seed_of(VOLUME) == 0x8BEF43BD6A54DBC8
    assert digest(b"first") == "370f0f1c16b0aa53"


@pytest.mark.parametrize(
    ("head", "enough"),
    [
        (b'{"@timestamp":"2026-11-24T10:00:00.000001Z"}\n', True),
        (b"2026-11-24 10:00:00,123 INFO began\n", True),
        (b"2026-11-24T10:00:00Z began\n", False),
        (b"began\n", False),
        (b"x" * (ALIKE_BYTES - 1), False),
        (b"x" * ALIKE_BYTES, True),
    ],
)
def test_a_beginning_tells_by_its_length_or_a_moment(head: bytes, enough: bool) -> None:
    """A moment to the millisecond is no accident; what lies behind the signature does not count."""
    record = Record(generation="g", path="a", device=1, inode=2)
    sign(record, head)
    assert telling(record, head) is enough
    assert telling(record, head + b" 2026-11-24T10:00:00.000001Z") is enough


def test_an_identity_is_of_volume_inode_first_line_and_incarnation() -> None:
    """Each of the four changes it; what follows the first line does not."""
    own = generation_id(VOLUME, 7, b"first line\nsecond", 0)
    assert len(own) == 16
    assert own == generation_id(VOLUME, 7, b"first line\nother and more", 0)
    others = {
        generation_id("other", 7, b"first line\n", 0),
        generation_id(VOLUME, 8, b"first line\n", 0),
        generation_id(VOLUME, 7, b"first lines\n", 0),
        generation_id(VOLUME, 7, b"first line\n", 1),
        generation_id(VOLUME, 7, b"first line\n", 2),
    }
    assert len(others | {own}) == 6


def test_of_a_long_first_line_the_first_kibibyte_counts() -> None:
    """So an identity can be made before a long line is complete."""
    line = b"x" * SIGNATURE_BYTES
    assert generation_id(VOLUME, 7, line + b"a\n", 0) == generation_id(VOLUME, 7, line + b"b\n", 0)
    assert generation_id(VOLUME, 7, line[:-1] + b"a\n", 0) != generation_id(VOLUME, 7, line[:-1] + b"b\n", 0)


def test_the_seed_is_of_the_volume() -> None:
    """Other volumes have other hashes, and the seed is no hash of the bare volume id."""
    assert seed_of("a") != seed_of("b")
    assert 0 < seed_of("a") < 2**64


def test_a_signature_grows_up_to_a_kibibyte_and_never_shrinks() -> None:
    """A file of one line has a signature at once; a longer look improves it, a shorter one does not spoil it."""
    record = Record(generation="g", path="a", device=1, inode=2)
    assert not begins_alike(record, CONTENT)
    sign(record, CONTENT[:10])
    assert (record.signature_length, record.signature) == (10, digest(CONTENT[:10]))
    sign(record, CONTENT[:5])
    assert record.signature_length == 10
    sign(record, b"y" * 10)
    assert record.signature == digest(CONTENT[:10])
    sign(record, CONTENT)
    assert (record.signature_length, record.signature) == (SIGNATURE_BYTES, digest(CONTENT[:SIGNATURE_BYTES]))


def test_a_file_begins_alike_when_it_has_the_signed_bytes() -> None:
    """More may follow; fewer or other bytes are another file."""
    record = Record(generation="g", path="a", device=1, inode=2)
    sign(record, CONTENT[:10])
    assert begins_alike(record, CONTENT[:10])
    assert begins_alike(record, CONTENT[:500])
    assert not begins_alike(record, CONTENT[:9])
    assert not begins_alike(record, b"y" + CONTENT[1:10])
    sign(record, CONTENT[:1])
    assert begins_alike(record, CONTENT[:10])
    single = Record(generation="g", path="a", device=1, inode=2)
    sign(single, b"x")
    assert begins_alike(single, b"x")


@pytest.mark.parametrize("offset", [1, 300, SIGNATURE_BYTES, 3000])
def test_what_only_grew_is_the_same_file(offset: int) -> None:
    """Not a byte more than acknowledged, or many: it is read on."""
    record = remembered(CONTENT, offset)
    assert looked_at(record, CONTENT[:offset]) is Kind.SAME
    assert looked_at(record, CONTENT) is Kind.SAME


def test_nothing_acknowledged_needs_no_marker() -> None:
    """A file whose beginning fits and of which nothing is acknowledged is the same."""
    record = Record(generation="g", path="a", device=1, inode=2, marker="of something")
    sign(record, CONTENT[:10])
    assert compare(record, CONTENT[:10], 10, b"") is Kind.SAME
    assert compare(record, b"y" * 10, 10, b"") is Kind.OTHER


@pytest.mark.parametrize(
    ("offset", "content", "kind"),
    [
        (300, b"y" * 4096, Kind.OTHER),
        (3000, b"y" * 4096, Kind.OTHER),
        (300, CONTENT[:299] + b"y" * 500, Kind.OTHER),
        (1023, CONTENT[:1000] + b"y" * 3000, Kind.OTHER),
        (3000, CONTENT[:2900] + b"\0" * 1000, Kind.REWOUND),
        (3000, CONTENT[:2000], Kind.REWOUND),
        (3000, CONTENT[:SIGNATURE_BYTES], Kind.REWOUND),
        (3000, CONTENT[: SIGNATURE_BYTES - 1], Kind.OTHER),
        (3000, b"y" + CONTENT[1:2000], Kind.OTHER),
        (500, CONTENT[:400], Kind.OTHER),
    ],
    ids=[
        "other bytes, short", "other bytes, long", "alike up to the marker, short", "just below a full signature",
        "a tail of NULs", "a tail lost", "a tail lost to the signature", "less than a signature", "shorter and other",
        "a short file, shorter",
    ],
)  # fmt: skip
def test_what_a_file_with_the_same_inode_is_found_to_be(offset: int, content: bytes, kind: Kind) -> None:
    """Other bytes are another file; a lost tail is a rewind only where a whole signature proves it."""
    assert looked_at(remembered(CONTENT, offset), content) is kind


def copied(record: Record, content: bytes) -> bool:
    """Whether a file of another inode with this content is taken for a copy."""
    before = content[record.offset - record.marker_length : record.offset]
    return is_copy(record, content[:SIGNATURE_BYTES], len(content), before, packed=False)


def test_a_copy_has_the_beginning_and_the_bytes_before_the_offset() -> None:
    """As long as the offset or longer; one byte short or other bytes prove nothing."""
    record = remembered(CONTENT, 300)
    assert copied(record, CONTENT[:300])
    assert copied(record, CONTENT)
    assert not copied(record, CONTENT[:299])
    assert not copied(record, b"y" + CONTENT[1:])
    assert not copied(remembered(CONTENT, 3000), CONTENT[:2999] + b"y" + CONTENT[3000:])
    assert not copied(remembered(CONTENT, 3000), b"y" + CONTENT[1:])


def test_of_several_lines_the_first_counts() -> None:
    """However many follow."""
    assert generation_id(VOLUME, 7, b"a\nb\nc\nd", 0) == generation_id(VOLUME, 7, b"a\n", 0)


def test_a_short_signature_does_not_prove_a_rewind() -> None:
    """Other bytes before the offset, and only a hundred bytes known to be the same: another file."""
    record = remembered(CONTENT, 300)
    record.signature_length, record.signature = 100, digest(CONTENT[:100])
    assert looked_at(record, CONTENT[:250] + b"y" * 500) is Kind.OTHER


def test_a_rewound_generation_begins_anew() -> None:
    """Offset, size, marker and stamp are forgotten; who it is stays."""
    record = remembered(CONTENT, 3000)
    record.size, record.stamp = 4096, "2026-11-24T10:00:00.000000Z"
    rewind(record)
    assert (record.offset, record.size, record.marker_length, record.marker, record.stamp) == (0, 0, 0, "", "")
    assert (record.generation, record.signature_length) == ("g", SIGNATURE_BYTES)


@pytest.mark.parametrize(
    ("length", "packed", "more", "copy"),
    [
        (ALIKE_BYTES, False, 0, True),
        (ALIKE_BYTES - 1, False, 0, False),
        (ALIKE_BYTES - 1, True, 0, True),
        (ALIKE_BYTES - 1, True, 1, False),
        (ALIKE_BYTES, True, 1, True),
    ],
)
def test_a_beginning_of_which_nothing_was_acknowledged(length: int, packed: bool, more: int, copy: bool) -> None:
    """It proves a copy where it is long enough, or is all that a packed file holds."""
    record = Record(generation="g", path="a", device=1, inode=2)
    sign(record, CONTENT[:length])
    content = CONTENT[: length + more]
    assert is_copy(record, content[:SIGNATURE_BYTES], len(content), b"", packed) is copy


def test_a_file_without_a_signature_is_like_no_other() -> None:
    """An empty beginning is no proof, whatever stands in the checkpoint."""
    record = Record(generation="g", path="a", device=1, inode=2, signature=digest(b""))
    assert not begins_alike(record, CONTENT)
