# Types of python_version.py, which Python 2.7 has to read.
OLDEST: tuple[int, int]

def refuse_old(version: tuple[int, ...] | None = None) -> None: ...
