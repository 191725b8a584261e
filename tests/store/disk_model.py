"""What a disk may hold after a power cut, from what strace saw of a program's writes.

A write is only sure once an fsync of its file that began after it has ended. Until then each of its pages may be there
or not. Names (made, renamed, deleted, cut) reach the disk in their order, and are sure once their folder or the new
file itself is synced, as on ext4; until then any first part of them may be there.
"""

from __future__ import annotations

import random
import re
from pathlib import Path, PurePosixPath

import msgspec

PAGE = 4096
CALLS = ("openat,write,writev,pwrite64,lseek,fsync,fdatasync,ftruncate,truncate,rename,renameat,renameat2,unlink,"
         "unlinkat,mkdir,mkdirat,close")  # fmt: skip
_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_UNFINISHED = re.compile(r"(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Write(msgspec.Struct):
    """Bytes at a place of a file; `synced` is the event that made them sure."""

    file: int
    offset: int
    data: bytes
    at: int
    synced: int | None = None


class Named(msgspec.Struct):
    """A change of names: `make`, `move`, `remove`, `cut` or `folder`; `synced` as of a write."""

    kind: str
    path: str
    file: int = 0
    target: str = ""
    size: int = 0
    at: int = 0
    synced: int | None = None


class Disk:
    """The writes below a folder, in the order in which they ended.

    Args:
        trace: made by `strace -f -y -xx -ttt` of `CALLS`, with all bytes.
        root: the folder.

    Attributes:
        moments: when each event began, in seconds since 1970.
    """

    def __init__(self, trace: Path, root: Path) -> None:
        self._root = str(root)
        self.moments: list[float] = []
        self.writes: list[Write] = []
        self.names: list[Named] = []
        self._handles: dict[int, tuple[str, int, bool]] = {}  # number → path, file, whether it appends
        self._places: dict[int, int] = {}  # number → where the next write goes
        self._files: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        self._count = 0
        begun: dict[str, tuple[float, int, str]] = {}
        with trace.open(errors="replace") as lines:
            for line in lines:
                found = _LINE.match(line.rstrip("\n"))
                if not found:
                    continue
                task, moment, text = found[1], float(found[2]), found[3]
                if unfinished := _UNFINISHED.match(text):
                    begun[task] = (moment, len(self.moments), unfinished[1])
                    continue
                began = len(self.moments)
                if resumed := _RESUMED.match(text):
                    moment, began, start = begun.pop(task)
                    text = start + resumed[1]
                call = _CALL.match(text)
                if call and int(call[3]) >= 0:
                    self._event(call[1], call[2], int(call[3]), moment, began)

    def _event(self, name: str, arguments: str, result: int, moment: float, began: int) -> None:
        strings = [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments)]
        number = int(found[0]) if (found := re.match(r"\d+", arguments)) else -1
        now = len(self.moments)
        self.moments.append(moment)
        if name == "openat":
            self._open(strings[0].decode(), arguments, result, now)
        elif name in ("write", "writev", "pwrite64") and number in self._handles:
            self._write(number, b"".join(strings)[:result], arguments if name == "pwrite64" else None, now)
        elif name == "lseek" and number in self._handles:
            self._places[number] = result
        elif name in ("fsync", "fdatasync") and number in self._handles:
            self._sync(self._handles[number], began, now)
        elif name == "ftruncate" and number in self._handles:
            self._cut(self._handles[number][0], int(arguments.rpartition(",")[2]), now)
        elif name == "truncate" and self._within(strings[0].decode()):
            self._cut(strings[0].decode(), int(arguments.rpartition(",")[2]), now)
        elif name in ("rename", "renameat", "renameat2") and self._within(strings[0].decode()):
            source, target = (text.decode() for text in strings[:2])
            self._files[target] = self._files.pop(source, 0)
            self.names.append(Named("move", source, target=target, at=now))
        elif name in ("unlink", "unlinkat") and self._within(strings[0].decode()):
            self._files.pop(strings[0].decode(), None)
            self.names.append(Named("remove", strings[0].decode(), at=now))
        elif name in ("mkdir", "mkdirat") and self._within(strings[0].decode()):
            self.names.append(Named("folder", strings[0].decode(), at=now))
        elif name == "close":
            self._handles.pop(number, None)
            self._places.pop(number, None)

    def _within(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _open(self, path: str, arguments: str, handle: int, now: int) -> None:
        self._handles.pop(handle, None)
        if not self._within(path):
            return
        known = self._files.get(path)
        if known is None:
            self._count += 1
            known = self._files[path] = self._count
            self._sizes[known] = 0
            if "O_CREAT" in arguments:
                self.names.append(Named("make", path, known, at=now))
        elif "O_TRUNC" in arguments:
            self._cut(path, 0, now)
        self._handles[handle] = (path, known, "O_APPEND" in arguments)
        self._places[handle] = 0

    def _write(self, number: int, data: bytes, positioned: str | None, now: int) -> None:
        _, file, appends = self._handles[number]
        offset = self._sizes[file] if appends else self._places[number]
        if positioned is not None:
            offset = int(positioned.rpartition(",")[2])
        else:
            self._places[number] = offset + len(data)
        self._sizes[file] = max(self._sizes[file], offset + len(data))
        self.writes.append(Write(file, offset, data, now))

    def _cut(self, path: str, size: int, now: int) -> None:
        file = self._files[path]
        self._sizes[file] = size
        self.names.append(Named("cut", path, file, size=size, at=now))

    def _sync(self, handle: tuple[str, int, bool], began: int, now: int) -> None:
        path, file, _ = handle
        for write in self.writes:
            if write.file == file and write.synced is None and write.at < began:
                write.synced = now
        own = [place for place, each in enumerate(self.names) if each.at < began and each.synced is None
               and (each.file == file or str(PurePosixPath(each.path).parent) == path)]  # fmt: skip
        for each in self.names[: own[-1] + 1] if own else []:  # names reach the disk in their order
            if each.synced is None:
                each.synced = now

    def after_cut(self, moment: int, folder: Path, chance: random.Random, keep: float) -> None:
        """Make in a folder what the disk may hold.

        Args:
            moment: the event before which the power went.
            folder: an empty one.
            chance: decides what of the unsure is there.
            keep: how likely a page that is not sure is there.
        """
        past = [each for each in self.names if each.at < moment]
        sure = max((place + 1 for place, each in enumerate(past) if each.synced is not None and each.synced < moment),
                   default=0)  # fmt: skip
        kept = past[: sure if keep == 0 else chance.randint(sure, len(past))]
        contents: dict[int, bytearray] = {}
        paths: dict[str, int] = {}
        happened: list[Write | Named] = sorted(
            [*(each for each in self.writes if each.at < moment), *kept], key=lambda each: each.at
        )
        for each in happened:
            if isinstance(each, Write):
                self._put(each, contents.setdefault(each.file, bytearray()), moment, chance, keep)
            elif each.kind == "make":
                paths[each.path] = each.file
            elif each.kind == "move" and each.path in paths:
                paths[each.target] = paths.pop(each.path)
            elif each.kind == "remove":
                paths.pop(each.path, None)
            elif each.kind == "cut":
                held = contents.setdefault(each.file, bytearray())
                held[:] = held[: each.size].ljust(each.size, b"\0")
            elif each.kind == "folder":
                (folder / Path(each.path).relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        for path, file in paths.items():
            target = folder / Path(path).relative_to(self._root)
            if target.parent.exists():
                target.write_bytes(contents.get(file, b""))

    def _put(self, write: Write, held: bytearray, moment: int, chance: random.Random, keep: float) -> None:
        sure = write.synced is not None and write.synced < moment
        for start, end in _pages(write):
            if sure or chance.random() < keep:
                if len(held) < end:
                    held.extend(bytes(end - len(held)))
                held[start:end] = write.data[start - write.offset : end - write.offset]


def _pages(write: Write) -> list[tuple[int, int]]:
    """Return the parts of a write, cut where a page of the file ends."""
    edges = [write.offset, *range(write.offset // PAGE * PAGE + PAGE, write.offset + len(write.data), PAGE)]
    return list(zip(edges, [*edges[1:], write.offset + len(write.data)], strict=True))
