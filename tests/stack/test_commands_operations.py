"""What `check`, `backup`, `restore` and `migrate` say of the options that they are given, and where they look."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from compose.stack.__main__ import main
from compose.stack.backup import MANIFEST


def test_the_commands_say_what_is_wrong_with_what_they_are_given(tmp_path: Path) -> None:
    """A login in an address, a junk authority, an unreadable secret, no such backup: a sentence without the secret."""
    junk, empty = tmp_path / "junk", tmp_path / "empty"
    junk.write_bytes(b"\xff\xfe")
    empty.touch()
    (tmp_path / "backups" / "20260101T000000Z").mkdir(parents=True)
    (tmp_path / "backups" / "20260101T000000Z" / MANIFEST).write_text("{}")
    cases = [
        (["check", "daily", "--ca", str(junk)], "holds no certificate"),
        (["check", "daily", "--ca", str(tmp_path / "none")], "cannot be read: No such file or directory"),
        (["check", "daily", "--app-key-file", str(junk)], "holds no text"),
        (["check", "daily", "--app-key-file", str(empty)], "is empty"),
        (["check", "daily", "--app-key-file", str(tmp_path)], "cannot be read: Is a directory"),
        (["check", "daily", "--elasticsearch", "localhost:9200"], "http://host:port or https://host:port"),
        (["check", "daily", "--elasticsearch", "http://elastic:hunter2@127.0.0.1:9"], "give that with --user"),
        (["check", "daily", "--acceptance"], "one of them"),
        (["restore", "newest", "--from", str(tmp_path / "none")], "name the folder of all backups with --from"),
        (["restore", "../etc"], "is no whole backup in"),
        (["migrate", "--to", "http://127.0.0.1:9", "--user", "x"], "go together"),
    ]
    environment = {"STACK_DIR": str(tmp_path / "stack")}
    for arguments, words in cases:
        done = CliRunner().invoke(main, arguments, env=environment)
        assert words in done.output, (arguments, done.output)
        assert done.exit_code in (1, 2)
        assert "hunter2" not in done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception


def test_backups_lie_beside_the_stack_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron job begins in another folder than a person: both find the same backups."""
    (tmp_path / "home").mkdir()
    (tmp_path / "backups").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    done = CliRunner().invoke(main, ["restore", "newest"], env={"STACK_DIR": str(tmp_path / "stack")})
    assert f"there is no backup in {tmp_path / 'backups'}" in done.output
