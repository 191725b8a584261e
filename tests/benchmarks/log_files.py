"""Log files of the contract's form for the benchmarks: made once, the same bytes for every contender."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

BLOCK = 20_000  # lines made and written at a time


def lines(count: int, first: int, start: dt.datetime, seed: int = 10) -> Iterator[bytes]:
    """Yield blocks of lines as the app writes them: predictions, 2 % refusals, about 320 bytes each.

    Args:
        count: of lines.
        first: number of the first line; each number has its own request id.
        start: of the first line, UTC; a line is 5 ms later than the one before.
        seed: of the random values.
    """
    chance = random.Random(seed + first)
    block: list[str] = []
    moment, step = start, dt.timedelta(microseconds=5003)
    for number in range(first, first + count):
        moment += step
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        identity = f"{chance.getrandbits(64):016x}-{number:015x}"
        if chance.random() < 0.02:
            block.append(
                f'{{"@timestamp":"{stamp}","level":"WARNING","service":"ml-pipeline","message":"request refused",'
                f'"request_id":"{identity}","error":"age: Expected `int`","duration":{chance.random() / 500:.6f},'
                f'"endpoint":"/predict","method":"POST","status":400,"logger":"app.api.predict","host":"host-1"}}\n'
            )
        else:
            share = chance.random()
            block.append(
                f'{{"@timestamp":"{stamp}","level":"INFO","service":"ml-pipeline","message":"prediction served",'
                f'"request_id":"{identity}","prediction":{int(share > 0.8)},"confidence":{0.5 + share / 2:.6f},'
                f'"duration":{chance.random() / 100:.6f},"model_type":"logistic",'
                f'"endpoint":"/predict","method":"POST","status":200,"logger":"app.api.predict"}}\n'
            )
        if len(block) == BLOCK:
            yield "".join(block).encode()
            block.clear()
    yield "".join(block).encode()


def write(path: Path, count: int, first: int = 0, seed: int = 10, start: dt.datetime | None = None) -> int:
    """Write a log file and return its size, bytes.

    Args:
        path: of the file.
        count: of lines.
        first, seed: as of `lines`.
        start: of the first line; by default so that the newest lines are of yesterday, within every retention.
    """
    midnight = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with path.open("wb") as file:
        for block in lines(count, first, start or midnight - dt.timedelta(days=1), seed):
            file.write(block)
    return path.stat().st_size
