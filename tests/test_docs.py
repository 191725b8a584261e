"""The docs: links lead somewhere, tests run the commands, settings and commands have a line, nothing is said twice."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from app.settings import AppSettings
from compose.console.settings import ConsoleSettings
from compose.provision.objectives import Objectives
from compose.stack.settings import VARIABLES
from compose.store.settings import StoreSettings
from shipper.settings import ShipperSettings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.md")])
_FENCE = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#{1,6} +(.+?)\s*$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        for title in titles
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each link to a file of ours finds it, and each anchor its heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        assert aim.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(aim), f"{aim.name} has no heading for #{anchor}: {sorted(anchors(aim))}"


# -- commands

PROGRAMS = (
    ".venv/bin/ml-app",
    "apt-get", "cd", "cp", "curl", "docker", "export", "for", "git", "jq", "ml-app", "ml-shipper", "ml-stack", "mkdir",
    "openssl", "pip", "pipx", "pre-commit", "promtool", "python", "python3", "uv",
)  # fmt: skip
# What tests/stack/test_documented_commands.py runs as printed against a live stack.
TRIED = (
    r"curl .*http://(localhost|127\.0\.0\.1):(5000|9200|9108|5601)/|python3 compose (status|traffic|licences|check)\b"
)
# Every other command, as a pattern, and the test that runs it.
_BOOTSTRAP = "tests/stack/test_bootstrap.py::test_a_launcher_works_from_another_directory"
_DEPENDENCIES = "tests/stack/test_dependencies.py"
_OWN_SERVICE = "tests/stack/test_own_service.py::test_the_page_s_program_is_seen_by_every_log_panel"
_STRANGER = "tests/stack/test_bare_debian.py::test_a_strangers_first_try"
_HOST = "tests/docker/test_variants.py::test_with_the_app_on_the_host_its_lines_and_metrics_arrive"
_LIBRARY = "tests/app/test_own_model.py::test_a_library_beside_the_module_is_found_before_the_environment_s"
_SECURED, _SECURE = "docker compose .*compose.secure.yaml", "tests/docker/test_secure.py"
_OPERATIONS = "tests/docker/test_operations.py"
_ACCEPTED = "test_the_acceptance_script_passes_and_says_what_it_left_out"
_PUT_BACK = "test_a_backup_is_put_back_into_an_empty_stack"
_RUNBOOK = "tests/docker/test_runbook.py::test_a_command_of_the_runbook_works_as_printed"
ELSEWHERE = {
    r"python3 tests( --fast)?": _BOOTSTRAP,
    r"python3 compose up": "tests/stack/test_end_to_end.py::test_down_stops_it_and_the_next_up_has_everything",
    r"git clone .*": _STRANGER,
    r"pipx install pre-commit .*": "tests/test_docs.py::test_pre_commit_runs_what_is_here",
    r"python3 compose outdated": f"{_DEPENDENCIES}::test_what_has_a_newer_version_is_listed",
    r"python3 compose audit": f"{_DEPENDENCIES}::test_a_known_vulnerability_is_shown",
    r"python3 compose lock --upgrade": "tests/test_house.py::test_the_lock_holds_what_the_project_asks_for",
    r"python3 compose store|python3 orders\.py .*|mkdir -p logs": _OWN_SERVICE,
    r"SHIPPER_PATHS=.* ml-shipper (check|run)|export PATH=.*": _OWN_SERVICE,
    r"python3 -m venv shipper-venv|shipper-venv/bin/pip install .*": (
        "tests/stack/test_own_service.py::test_the_shipper_is_installed_alone_as_the_page_says"
    ),
    r"\./program \| jq .*": (
        "tests/stack/test_own_service.py::test_the_page_s_other_loggers_write_the_contract_s_names"
    ),
    r"HOST_UID=.* docker compose .* up -d|APP_HOST=.* .venv/bin/ml-app serve|mkdir -p logs && openssl .*": _HOST,
    r"\.venv/bin/ml-app train --if-missing": _HOST,
    r"export STACK_DIR=.*|python3 compose restore newest .*": (
        "tests/stack/test_local_restore.py::test_a_local_backup_is_put_back_into_a_new_folder"
    ),
    r"python3 -m pip install --target my_libs .*": _LIBRARY,
    r"export APP_MODEL=.*": "tests/stack/test_own_model.py::test_the_whole_stack_runs_on_the_page_s_model",
    r"python3 compose secrets .*": "tests/stack/test_secrets.py::test_the_commands_say_what_to_do",
    r"curl --cacert .*": "tests/docker/test_secure.py::test_the_proxy_asks_for_a_login_and_speaks_only_tls",
    rf"{_SECURED} up -d": f"{_SECURE}::test_every_part_is_up",
    rf"{_SECURED} restart elasticsearch-exporter": f"{_SECURE}::test_a_users_password_is_rotated",
    rf"{_SECURED} (run .* accounts|kill .*)": f"{_SECURE}::test_the_shippers_key_is_rotated_under_traffic",
    r"docker compose .*my-model\.yaml up -d": (
        "tests/docker/test_own_model.py::test_the_page_s_file_puts_the_model_into_the_container"
    ),
    r"docker compose down": "tests/docker/test_stack.py::test_down_and_up_keeps_everything",
    r"docker compose run --rm operations check --acceptance": f"{_OPERATIONS}::{_ACCEPTED}",
    r"docker compose (run --rm operations restore newest|up -d --wait setup .*)": f"{_OPERATIONS}::{_PUT_BACK}",
    r"docker compose (run --rm operations (check (daily|weekly)|backup.*)|up -d --wait|restart prometheus)": _RUNBOOK,
    r"docker compose (exec|logs|ps|restart|stats) .*|docker compose up -d elasticsearch": _RUNBOOK,
    r"curl .*http://localhost:909[03]/.*|promtool check rules .*": _RUNBOOK,
    r"docker compose (--profile traffic )?up -d( traffic)?": "tests/docker/test_stack.py::test_traffic_flows_on_demand",
    r"ml-app evaluate --data .*": "tests/app/test_model.py::test_figures_on_the_real_file",
    r"ml-app evaluate": "tests/app/test_commands.py::test_evaluate_measures_the_active_model",
}


# Variables before a command: NAME=value, also quoted or of a command's output.
_VARIABLES = re.compile(r"^(?:[A-Z][A-Z0-9_]*=(?:'[^']*'|\"[^\"]*\"|\$\([^)]*\)|[^\s'\"$]|\$(?!\())*\s+)+")


def commands(page: Path) -> list[str]:
    """The commands in a page's fenced blocks: continued lines joined, comments left out.

    In a block that says it is a shell's, each line is one; in a block of no language, which may be a drawing, each line
    that begins with a program or with a variable.
    """
    found = []
    for _fence, language, text in _FENCE.findall(page.read_text()):
        if language not in ("", "sh", "bash", "shell", "console"):
            continue
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            bare = re.sub(r"(^|\s+)#.*$", "", line.removeprefix("$ ")).strip()
            if bare and (language or _VARIABLES.match(bare) or bare.split(" ")[0] in PROGRAMS):
                found.append(bare)
    return found


def test_every_command_in_a_fenced_block_is_run_by_a_test() -> None:
    """A command is tried against a live stack, or is listed with the test that runs it."""
    stray = [
        f"{page.name}: {command}"
        for page in PAGES
        for command in commands(page)
        if not re.match(TRIED, command) and not any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)
    ]
    assert not stray, "\n".join(stray)


def test_the_tests_named_for_commands_exist_and_each_pattern_is_used() -> None:
    """The list holds no test that is gone and no command that is gone."""
    every = [command for page in PAGES for command in commands(page)]
    for pattern, node in ELSEWHERE.items():
        file, _, function = node.partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), f"{node} is not there"
        assert any(re.fullmatch(pattern, command) for command in every), f"no page has a command like {pattern}"


# A command in a sentence: not run, but what it calls and the options it names are there.
VERBS = ("--all", "--fast", "--bench", "--soak", "--coverage", "--mutate")
_CALLED = {
    "ml-app": "ml-app", "ml-shipper": "ml-shipper", "ml-stack": "ml-stack", "python3 compose": "ml-stack",
    "python -m app": "ml-app", "python -m shipper": "ml-shipper", "python -m compose.stack": "ml-stack",
}  # fmt: skip


def in_sentences(page: Path) -> list[str]:
    """What a page's sentences and tables show in code."""
    return re.findall(r"`([^`\n]+)`", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_in_a_sentence_names_what_there_is(page: Path) -> None:
    """Our programs have the subcommands and options that a page gives them; a test that is named is a file."""
    for shown in [*in_sentences(page), *commands(page)]:
        bare = _VARIABLES.sub("", shown).removeprefix(".venv/bin/")
        way = next((way for way in _CALLED if bare.startswith(f"{way} ")), None)
        if way is not None:
            command: click.Command = importlib.import_module(PROGRAM_GROUPS[_CALLED[way]]).main
            words = re.split(r"\s+", re.split(r"[|;&>]", bare.removeprefix(way), maxsplit=1)[0].strip())
            while words and isinstance(command, click.Group) and words[0] != "X" and not words[0].startswith("-"):
                assert words[0] in command.commands, f"{shown}: there is no {words[0]}"
                command = command.commands[words.pop(0)]
            known = {name for option in command.params for name in option.opts} | {"--help"}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, shown
        if bare.startswith("python3 tests "):
            for word in bare.split()[2:]:
                assert not word.startswith("tests/") or (ROOT / word.partition("::")[0]).exists(), f"{shown}: {word}"
                assert not word.startswith("--") or word in VERBS, shown


def test_pre_commit_runs_what_is_here() -> None:
    """Each hook is local, needs no network, and starts a program of the checkout's own environment."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program, *rest = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert (Path(sys.prefix) / "bin" / Path(program).name).exists(), program
        if rest[:1] == ["-m"]:
            assert importlib.util.find_spec(rest[1]), rest[1]


def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Each command below a group with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


PROGRAM_GROUPS = {"ml-app": "app.__main__", "ml-shipper": "shipper.__main__", "ml-stack": "compose.stack.__main__"}
CALLS = [
    call for program, module in PROGRAM_GROUPS.items() for call in walk(importlib.import_module(module).main, program)
]


@pytest.mark.parametrize("call", [words for words, _ in CALLS])
def test_every_command_of_ours_has_a_line_in_the_docs(call: str) -> None:
    """Nobody has to find a command by --help alone."""
    text = "\n".join(page.read_text() for page in PAGES)
    other = {"ml-app": "python -m app", "ml-shipper": "python -m shipper", "ml-stack": "python3 compose"}
    program, _, rest = call.partition(" ")
    assert any(re.search(rf"{re.escape(way)} {re.escape(rest)}\b", text) for way in (program, other[program])), call


@pytest.mark.parametrize("call", CALLS, ids=[words for words, _ in CALLS])
def test_a_command_s_line_in_the_help_is_a_whole_sentence(call: tuple[str, click.Command]) -> None:
    """`--help` cuts a first sentence that is too long in its middle: in 80 columns none is."""
    words, command = call
    room = 78 - 6 - max(len(other.split(" ", 2)[1]) for other, _ in CALLS if other.split(" ")[0] == words.split(" ")[0])
    assert command.get_short_help_str(limit=room)[-1] == "."
    assert not command.get_short_help_str(limit=room).endswith("..."), command.get_short_help_str(limit=room)


@pytest.mark.parametrize(("program", "module"), PROGRAM_GROUPS.items())
def test_a_program_says_its_version(program: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in an image, where the code lies without its package's metadata."""
    main = importlib.import_module(module).main
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CliRunner().invoke(main, ["--version"]).output == f"{program}, version {version}\n"

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    said = CliRunner().invoke(main, ["--version"])
    assert (said.exit_code, "not known" in said.output) == (0, True)


# -- settings

STRUCTS = {
    "APP": AppSettings,
    "SHIPPER": ShipperSettings,
    "STORE": StoreSettings,
    "CONSOLE": ConsoleSettings,
}
FIXED = {"SHIPPER_CONFIG", "ML_VENV", *VARIABLES.values()}
_SETTING = re.compile(
    r"\b(?:APP|SHIPPER|STORE|CONSOLE|STACK|OBJECTIVE|SETUP|OPS)_[A-Z][A-Z_]*[A-Z]\b(?!_|\*| is not a setting)"
)


def settings() -> set[str]:
    """Every variable that the code reads: fields of the settings, of the objectives, and options' variables."""
    fields = {f"{prefix}_{name.upper()}" for prefix, struct in STRUCTS.items() for name in struct.__struct_fields__}
    objectives = {f"OBJECTIVE_{name.upper()}" for name in Objectives.__struct_fields__}
    options = {
        variable
        for _words, command in CALLS
        for option in command.params
        for variable in ([option.envvar] if isinstance(option.envvar, str) else option.envvar or [])
    }
    return fields | objectives | options | FIXED


@pytest.mark.parametrize("name", sorted(settings()))
def test_every_setting_has_a_line_in_the_docs(name: str) -> None:
    """A variable that is read is described in a page, or in compose/.env.example."""
    pages = [*PAGES, ROOT / "compose" / ".env.example"]
    assert any(re.search(rf"\b{name}\b", page.read_text()) for page in pages), f"{name} has no line in docs/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_in_the_docs_is_read(page: Path) -> None:
    """No page names a variable that changes nothing."""
    assert set(_SETTING.findall(page.read_text())) <= settings()


# -- nothing twice

ALIKE_WORDS = 14


def test_no_page_repeats_anothers_sentence() -> None:
    """So many words in a row stand on one page only: a fact has one place, others link to it."""
    seen: dict[tuple[str, ...], Path] = {}
    for page in PAGES:
        for block in re.split(r"\n\s*\n|\n\|", prose(page)):
            words = re.findall(r"[\w./@-]+", block.lower())
            for start in range(len(words) - ALIKE_WORDS + 1):
                phrase = tuple(words[start : start + ALIKE_WORDS])
                first = seen.setdefault(phrase, page)
                assert first == page, f"{page.name} and {first.name} both say: {' '.join(phrase)}"
