"""The command line as a person and a program meet it: real processes, pipes and terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Condition, Thread
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from conftest import Database, reachable_directory
from programs import PATIENCE, Ended, Surroundings, launch
from zygote import Process

from domainsched import __version__
from domainsched.columns import PURPOSES
from domainsched.config import Settings
from domainsched.database.schema import statements
from domainsched.database.table import TableName
from domainsched.models import Kind
from domainsched.reporting.wording import width

COMMANDS = ("add", "process", "inspect", "reset", "watch", "init", "demo")
NOT_OPTIONS = {
    "--database-url",
    "--database-url-file",
    "--table",
    "--default-tenant",
    "--log-level",
    "--user-agent",
    "--connect-to",
    "--scraper-api-key",
    "--scraper-api-key-file",
    "--scraper-api-url",
    "--scraper-render",
    "--scraper-premium",
    "--scraper-ultra-premium",
    "--scraper-country",
    "--scraper-retries",
    "--scraper-timeout",
}
"""Settings that have only a variable: secrets, and what nobody changes from run to run."""
HEAVY = frozenset(
    {
        "asyncio",
        "psycopg",
        "httpx",
        "h11",
        "rich",
        "selectolax",
        "tldextract",
        "prometheus_client",
    }
)
PASSWORD = "hunter2-never-shown"

MASKS = (
    (re.compile(r"PostgreSQL .*"), "PostgreSQL VERSION"),
    (re.compile(r"\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\dZ|[\d:]*…)"), "TIME"),  # or cut at the edge
    (re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d UTC \(.*?\)|[^)\n]*…)"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b|\b\d+[mhd]( \d+[mh])?\b"), "SPAN"),
)


def masked(text: str) -> str:
    """Hide what differs from run to run."""
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text


# --- terminals --------------------------------------------------------------------------------


class Terminal:
    """A program with a terminal for stdin and stdout, and a second one for stderr.

    Nothing is echoed, so each holds only what the program wrote.
    """

    def __init__(
        self, process: Process | subprocess.Popen[bytes], keyboard: int, screens: Mapping[str, int]
    ) -> None:
        self._process, self._keyboard = process, keyboard
        self._shown = dict.fromkeys(screens, "")
        self._changed = Condition()
        self._readers = [
            Thread(target=self._read, args=screen, daemon=True) for screen in screens.items()
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, screen: int) -> None:
        decoder = getincrementaldecoder("utf-8")()  # a character may come in two pieces
        while data := _read(screen):
            with self._changed:  # and so may the end of a line
                shown = self._shown[name] + decoder.decode(data)
                self._shown[name] = shown.replace("\r\n", "\n")
                self._changed.notify_all()

    def wait_for(self, text: str, screen: Literal["out", "err"] = "err") -> None:
        with self._changed:
            shown = self._changed.wait_for(lambda: text in self._shown[screen], PATIENCE)
        assert shown, f"{text!r} was never shown: {self._shown}"

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> Ended:
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return Ended(code if code >= 0 else 128 - code, self._shown["out"], self._shown["err"])


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


@contextmanager
def terminal(
    surroundings: Surroundings, *arguments: str, columns: int = 80, term: str = "dumb"
) -> Iterator[Terminal]:
    """Start `domainsched` in terminals of so many `columns`."""
    pairs = [pty.openpty(), pty.openpty()]
    for _, slave in pairs:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)
    (front, front_end), (back, back_end) = pairs
    with_term = replace(surroundings, variables={**surroundings.variables, "TERM": term})
    streams = (front_end, front_end, back_end)
    process = launch(with_term, arguments, streams, new_session=True)
    os.close(front_end)
    os.close(back_end)
    running = Terminal(process, front, {"out": front, "err": back})
    try:
        yield running
    finally:
        process.kill()
        running.end()
        os.close(front)
        os.close(back)


def in_terminal(
    surroundings: Surroundings, *arguments: str, columns: int = 80, term: str = "dumb"
) -> Ended:
    with terminal(surroundings, *arguments, columns=columns, term=term) as running:
        return running.end()


# --- surroundings -----------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Surroundings:
    """No database: none may be needed, and an embedded one must not be started."""
    return Surroundings(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})


ROWS = """
TRUNCATE domains RESTART IDENTITY;
INSERT INTO domains (domain, status, attempts, due_at, title, last_error_kind, last_error,
    claimed_by, updated_at, last_successful_scan)
VALUES
('a.test', 'pending', 0, now() - interval '3 hours', NULL, NULL, NULL, NULL,
    now() - interval '1 hour', NULL),
('b.test', 'processing', 1, now() + interval '10 min', NULL, NULL, NULL, 'web1:4711:7f3a',
    now() - interval '2 hours', NULL),
('c.test', 'completed', 1, now() - interval '1 day', 'See Site', NULL, NULL, NULL,
    now() - interval '3 hours', now() - interval '3 hours'),
('d.test', 'error', 3, now() - interval '1 day', NULL, 'dns', 'no such host', NULL,
    now() - interval '4 hours', NULL);
UPDATE domains SET batch_id = 'leads' WHERE domain <> 'a.test';
UPDATE domains SET last_scan = last_successful_scan, claim_token = gen_random_uuid(),
    tech_stack = '{"technologies": {"WordPress":
        {"version": "6.8", "categories": ["CMS"], "confidence": 100}}}'
WHERE domain = 'c.test';
"""


@pytest.fixture
def table(database: Database) -> Database:
    """A table with four domains, one of each status."""
    with database.connect() as connection:
        for statement in statements(None, TableName("domains"), timedelta(minutes=15)):
            connection.execute(statement)
        connection.execute(ROWS)
    return database


@pytest.fixture
def queue(tmp_path: Path, table: Database) -> Surroundings:
    return Surroundings(tmp_path, {"DATABASE_URL": table.url, "TZ": "Asia/Tokyo"})


PLAIN = """
DROP TABLE domains;
CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE, status text);
"""


@pytest.fixture
def plain(queue: Surroundings, table: Database) -> Surroundings:
    """A table of somebody else's that an older `init` completed: no tenants, no times."""
    with table.connect() as connection:
        connection.execute(PLAIN)
        assert queue.run("init", "--yes").code == 0
        connection.execute("ALTER TABLE domains DROP last_scan, DROP updated_at")
    return queue


def attempts(table: Database) -> dict[str, int]:
    with table.connect() as connection:
        return dict(connection.execute("SELECT domain, attempts FROM domains").fetchall())


def redirected(redirection: str) -> tuple[str, ...]:
    """A wrapper by which a shell redirects a stream before the program starts."""
    return ("sh", "-c", f'exec "$@" {redirection}', "sh")


# --- help, version, usage ---------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_plain_and_narrow_and_complete(bare: Surroundings, command: str) -> None:
    ended = bare.run(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.isascii()
    assert "\x1b" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "list[str]" not in ended.out
    narrow = replace(bare, variables={**bare.variables, "COLUMNS": "60"})
    shown = narrow.run(*command.split(), "--help").out.splitlines()
    codes_of_60 = shown[shown.index("  Exit codes:") :]
    assert max(map(len, codes_of_60)) <= 60
    options, examples, codes = re.split(r"\n  Examples:\n|\n  Exit codes:\n", ended.out)
    assert f"domainsched {command}".rstrip() in examples
    assert "130, 143 stopped by a signal" in codes
    assert variables_of(command).items() <= variables_named(options).items()


def variables_of(command: str) -> dict[str, str]:
    """The variable of each option that is a setting."""
    flags = {
        f"--{name.replace('_', '-')}": field.metadata["env"]
        for name, field in Settings.__dataclass_fields__.items()
    }
    own = {
        "add": ("--tenant",),
        "process": tuple(flags.keys() - NOT_OPTIONS - {"--interval"}),
        "inspect": ("--tenant",),
        "reset": ("--tenant",),
        "watch": (
            *("--interval", "--limit", "--concurrency", "--allow-network", "--tenant"),
            *("--metrics-file", "--log-format"),
        ),
        "init": ("--lease",),
    }
    of_all = {"--no-color": "NO_COLOR", "--env-file": "DOMAINSCHED_ENV_FILE"} if command else {}
    return {flag: flags[flag] for flag in own.get(command, ())} | of_all


def variables_named(options: str) -> dict[str, str]:
    """What help says: option to variable."""
    words = " ".join(options.split())
    return dict(re.findall(r"(--[a-z-]+)(?:(?! --).)*?\[env: (\w+)", words))


def test_the_list_of_commands_is_whole(bare: Surroundings) -> None:
    listed = bare.run("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert tuple(line.split()[0] for line in listed.splitlines()) == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines())


def test_help_in_a_terminal_is_the_same_at_any_width(bare: Surroundings) -> None:
    piped = bare.run("process", "--help").out
    for columns in (80, 200):
        shown = in_terminal(bare, "process", "-h", columns=columns, term="xterm-256color")
        assert shown.out == piped


def test_no_arguments_show_the_help_and_are_a_usage_error(bare: Surroundings) -> None:
    ended = bare.run()
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err == bare.run("--help").out


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_one_line(bare: Surroundings, flag: str) -> None:
    assert bare.run(flag) == Ended(0, f"domainsched {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("nonsense",),
        ("add", "--nonsense"),
        ("inspect", "--limit", "-1"),
        ("inspect", "--limit", "9" * 20),
    ],
)
def test_an_unknown_word_is_a_usage_error(bare: Surroundings, arguments: tuple[str, ...]) -> None:
    ended = bare.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err


INTERRUPTED_WHILE_LOADING = """
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell starts us by `&`
sys.meta_path.insert(0, Interrupting())
runpy.run_module("domainsched", run_name="__main__")
"""


def test_ctrl_c_while_loading_ends_it_silently(bare: Surroundings) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_LOADING],
        env=bare.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


LOADED = """
import atexit, sys
said = sys.stderr
atexit.register(lambda: print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}),
                              file=said))
from domainsched.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "process --help",
        "nonsense",
        "add --file nowhere.txt",
        "process --limit many",
        "reset",
        "inspect --html page.html",
    ],
)
def test_start_up_loads_no_heavy_library(bare: Surroundings, arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments.split()],
        env=bare.environment,
        cwd=bare.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = next(line for line in ended.stderr.splitlines() if line.startswith("LOADED"))
    assert HEAVY.intersection(loaded.split()) == set()
    assert "typer" in loaded.split()


# --- expected errors: what, why, what next ------------------------------------------------------

MISTAKES = {
    "add": "error: no domain was named\nhint: domainsched add example.com, or --file PATH\n",
    "reset": (
        "error: no domain was named\n"
        "hint: name one, or give --status, --kind, --like, --batch, --expired, --older-than"
        " or --all\n"
    ),
    "reset --all a.test": (
        "error: --all stands alone\n  it was given together with a domain or a condition\n"
    ),
    "reset --older-than soon": (
        "error: --older-than: unusable value 'soon'\n"
        "  not a duration such as 30s, 8m, 1h30m or 2d\n"
    ),
    "reset --kind odd": (f"error: no such kind: odd\n  there are {', '.join(Kind)}\n"),
    "inspect --since soon": (
        "error: --since: unusable value 'soon'\n  not a duration such as 30s, 8m, 1h30m or 2d\n"
    ),
    "inspect --sort size": (
        "error: --sort: unusable value 'size'\n"
        "  there are domain, updated, due, attempts, created\n"
    ),
    "inspect --csv --format plain": "error: --csv and --format plain exclude each other\n",
    "add a.test --format xml": (
        "error: no such format: xml\n  there are table, plain, json, jsonl, csv\n"
    ),
    "inspect --check --status error": (
        "error: --check stands alone\n  it was given together with another argument or option\n"
    ),
    "inspect a.test --kind dns": (
        "error: a DOMAIN stands alone\n  it was given together with another argument or option\n"
    ),
    "add a.test --batch=": "error: --batch: unusable value ''\n  it is empty\n",
    "inspect --html page.html": (
        "error: --html needs --url\n  links on the page are relative to it\n"
    ),
    "inspect --url http://a.test/": (
        "error: --url needs --html\n  it says where that page comes from\n"
    ),
    "inspect --html page.html --url nonsense": (
        "error: --url is not an http or https URL with a host\n"
    ),
    "inspect --html page.html --url http://a.test/ --status error": (
        "error: --html stands alone\n  it was given together with another argument or option\n"
    ),
    "inspect a.test --html page.html --url http://a.test/": (
        "error: a DOMAIN stands alone\n  it was given together with another argument or option\n"
    ),
    "inspect --env-file=": "error: --env-file: unusable value ''\n  it is empty\n",
    "--env-file x inspect": (
        "error: no such option: --env-file\n"
        "hint: options stand behind the command; domainsched --help\n"
    ),
    "inspect --html nowhere.html --url http://a.test/": (
        "error: cannot read nowhere.html\n  No such file or directory\n"
    ),
    "inspect b_c.test": (
        'error: "b_c.test" is not a domain name\n'
        "  an underscore, which host names cannot have\n"
        "hint: write the name of a web site, such as example.com\n"
    ),
    "process --limit many": (
        "error: --limit: unusable value 'many'\n  not a whole number from 0 up\n"
    ),
    "process --limit 2147483648": (
        "error: --limit: unusable value '2147483648'\n  must be at most 999,999,999\n"
    ),
    "inspect --limit 99999999999999999999": (
        "error: --limit: unusable value '99999999999999999999'\n  must be at most 999,999,999\n"
    ),
    "process --timeout 10m": (
        "error: the lease is too short for the timeout\n"
        "  a claim must outlive the visit it is for, twice over\n"
        "hint: raise --lease, or lower --timeout\n"
    ),
    "inspect --env-file nowhere.env": (
        "error: there is no file nowhere.env\nhint: correct --env-file or DOMAINSCHED_ENV_FILE\n"
    ),
    "add --file nowhere.txt": "error: cannot read nowhere.txt\n  No such file or directory\n",
    "add --file .": "error: cannot read .\n  Is a directory\n",
    "procss": "error: no such command 'procss'\n  is it 'process'?\nhint: domainsched --help\n",
    "process --deadlin 3": (
        "error: no such option: --deadlin\n  is it --deadline or --domain?\n"
        "hint: domainsched process --help\n"
    ),
    "process postgresql://u:secret@db/x": (
        "error: got unexpected extra argument(s) (postgresql://u:***)\n"
        "hint: --domain NAME does a domain now; domainsched process --help\n"
    ),
    "process u:secret@h": (
        "error: got unexpected extra argument(s) (u:***)\n"
        "hint: --domain NAME does a domain now; domainsched process --help\n"
    ),
    "add --file": ("error: option '--file' requires an argument\nhint: domainsched add --help\n"),
    "inspect -n x": ("error: --limit: unusable value 'x'\n  not a whole number from 0 up\n"),
    "reset --all -n x": "error: --limit: unusable value 'x'\n  not a whole number from 1 up\n",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_told_exactly(bare: Surroundings, arguments: str) -> None:
    assert bare.run(*arguments.split()) == Ended(2, "", MISTAKES[arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        *("add", "reset --all a.test", "process --limit many", "procss", "process --deadlin 3"),
        *(
            "process postgresql://u:secret@db/x",
            "inspect -n x",
        ),
    ],
)
def test_with_json_an_error_is_one_line_of_json_on_stderr(
    bare: Surroundings, arguments: str
) -> None:
    ended = bare.run(*arguments.split(), "--json")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    error = json.loads(line)
    told = MISTAKES[arguments].splitlines()
    assert error["type"] == "error"
    assert error["code"] == 2
    assert told[0] == f"error: {error['message']}"
    assert [line.removeprefix("  ") for line in told[1:] if line.startswith("  ")] == (
        error["why"] or ""
    ).splitlines()
    assert told[-1] == f"hint: {error['hint']}" or error["hint"] is None


def test_only_very_verbose_errors_come_with_a_traceback(bare: Surroundings) -> None:
    assert "Traceback" not in bare.run("reset", "-v").err
    assert "Traceback" in bare.run("reset", "-vv").err
    assert bare.run("reset", "-q").err == MISTAKES["reset"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"mysql://u:{PASSWORD}@db/x", 'its scheme is "mysql", not postgresql'),
        (f"u:{PASSWORD}@db/x", "it is neither a postgresql:// URL nor a list of key=value"),
        (f"postgresql://u:{PASSWORD}@db:port/x", "where host:port should be"),
        (f"postgresql://u:{PASSWORD}@db/x?sslmode=maybe", "the value of sslmode is none of"),
        (f"postgresql://u:{PASSWORD}@db/x?nonsense=1", "unknown parameter nonsense"),
        (f"host=db password={PASSWORD} nonsense", "it is neither"),
        (f"jdbc:postgresql://db/x?password={PASSWORD}", "it is a JDBC URL"),
    ],
)
def test_a_bad_database_url_is_told_without_its_password(
    tmp_path: Path, url: str, why: str
) -> None:
    ended = Surroundings(tmp_path, {"DATABASE_URL": url}).run("inspect", "-vv")
    told = ended.err[ended.err.index("error: ") :].splitlines()
    assert ended.code == 2
    assert told[0] == "error: DATABASE_URL is not a PostgreSQL connection string"
    assert told[1].startswith(f"  {why}")
    assert PASSWORD not in ended.err + ended.out


def test_a_database_that_is_down_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://app:{PASSWORD}@127.0.0.1:1/sites"
    ended = Surroundings(tmp_path, {"DATABASE_URL": url}).run("inspect")
    assert ended == Ended(
        3,
        "",
        "error: cannot connect to PostgreSQL at 127.0.0.1:1/sites as app\n"
        "  connection refused\n"
        "hint: is the server up and reachable from here?  pg_isready tells\n",
    )
    verbose = Surroundings(tmp_path, {"DATABASE_URL": url}).run("inspect", "-vv", "--json")
    assert PASSWORD not in verbose.err


def test_a_server_without_tls_is_not_taken_for_one_that_is_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        declining = Thread(target=_decline_tls, args=(server,), daemon=True)
        declining.start()
        port = server.getsockname()[1]
        url = f"postgresql://app:{PASSWORD}@127.0.0.1:{port}/sites?sslmode=require"
        ended = Surroundings(tmp_path, {"DATABASE_URL": url}).run("inspect")
        declining.join(PATIENCE)
    assert ended == Ended(
        3,
        "",
        f"error: cannot connect to PostgreSQL at 127.0.0.1:{port}/sites as app\n"
        "  server does not support SSL, but SSL was required\n"
        "hint: it has no TLS, which sslmode in DATABASE_URL, or PGSSLMODE, asks for\n",
    )


def _decline_tls(server: socket.socket) -> None:
    """Answer as a PostgreSQL without TLS does (manual, "SSL Session Encryption")."""
    connection, _ = server.accept()
    with connection:
        while connection.recv(8):
            connection.sendall(b"N")


def test_what_is_odd_about_a_url_is_told_where_that_helps(
    queue: Surroundings, table: Database
) -> None:
    """To who sets it up, and when the database cannot be reached; never before every command."""
    odd = "the database's URL: ignored pgbouncer: domainsched never prepares statements\n"
    joint = "&" if "?" in table.url else "?"
    loud = replace(queue, variables={"DATABASE_URL": f"{table.url}{joint}pgbouncer=true"})
    assert in_terminal(loud, "inspect").err == ""
    assert in_terminal(loud, "inspect", "--check").err == odd
    assert in_terminal(loud, "init").err == f"{odd}table public.domains has all it needs\n"
    assert loud.run("inspect", "--check", "-v").err == odd
    assert loud.run("inspect", "--check").err == ""
    away = {"DATABASE_URL": "postgresql://app@127.0.0.1:1/sites?pgbouncer=true"}
    assert (
        f"  connection refused\n  {odd}" in Surroundings(queue.directory, away).run("inspect").err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "--file", f"postgresql://u:{PASSWORD}@db/x"),
        ("add", "--file", f"u:{PASSWORD}@db/x"),
        ("process", f"SCRAPER_API_KEY={PASSWORD}"),
        (f"SCRAPER_API_KEY={PASSWORD}", "process"),
        ("process", f"postgresql://u:two {PASSWORD} words@db/x"),
        (f"postgresql://u:{PASSWORD} words@db/x",),
        ("process", f"--postgresql://u:{PASSWORD} words@db/x"),
        ("inspect", "--html", f"postgresql://u:{PASSWORD}@db/x", "--url", "a.test"),
        ("process", "--limit", f"postgresql://u:{PASSWORD}@db/x"),
        ("process", "--tenant", f"postgresql://u:{PASSWORD}@db/x"),
        ("inspect", "--env-file", f"postgresql://u:{PASSWORD}@db/x"),
        ("reset", "--older-than", f"postgresql://u:{PASSWORD}@db/x"),
        ("reset", "--kind", f"postgresql://u:{PASSWORD}@db/x"),
    ],
)
def test_a_url_in_the_wrong_place_is_told_without_its_password(
    bare: Surroundings, arguments: tuple[str, ...]
) -> None:
    for how in ("-vv", "--json"):
        ended = bare.run(*arguments, how)
        assert (ended.code, ended.out) == (2, "")
        assert "error" in ended.err
        assert PASSWORD not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "--status", "\udcff"),
        ("inspect", "--kind", "\udcff"),
        ("inspect", "a\udcff.test"),
        ("inspect", "--tenant", "\udcff"),
        ("inspect", "--html", "p", "--url", "http://a\udcff.test/"),
        ("reset", "--status", "\udcff", "--yes"),
        ("add", "a\udcff.test"),
        ("add", "--file", "\udcff"),
        ("\udcff",),
    ],
)
def test_arguments_that_are_not_utf8_are_refused(
    bare: Surroundings, arguments: tuple[str, ...]
) -> None:
    ended = bare.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "error: " in ended.err.lower()
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("name", ["DATABASE_URL_FILE", "DOMAINSCHED_HOME", "DOMAINSCHED_TABLE"])
def test_a_nul_in_a_setting_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / ".env").write_text(f"A=b\n{name}=a\0b\n")
    ended = Surroundings(tmp_path).run("inspect")
    assert ended == Ended(2, "", "error: .env: line 2 holds a NUL character\n")


def test_an_unreadable_database_url_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    ended = Surroundings(tmp_path, {"DATABASE_URL_FILE": str(path)}).run("inspect")
    assert ended == Ended(
        2,
        "",
        f"error: cannot read DATABASE_URL_FILE {path}\n"
        "  No such file or directory\n"
        "hint: correct the path, or its permissions\n",
    )


def test_a_missing_table_is_told(tmp_path: Path, database: Database) -> None:
    name = database.keywords["dbname"]
    ended = Surroundings(tmp_path, {"DATABASE_URL": database.url}).run("process")
    assert ended == Ended(
        3,
        "",
        f'error: table public.domains does not exist in database "{name}"\n'
        "hint: check DOMAINSCHED_TABLE, or create it: domainsched init\n",
    )


def test_missing_columns_are_told_all_at_once(queue: Surroundings, database: Database) -> None:
    with database.connect() as connection:
        connection.execute("ALTER TABLE domains DROP attempts, DROP claim_token, DROP title")
    ended = queue.run("inspect")
    assert ended == Ended(
        3,
        "",
        "error: table public.domains lacks 3 of the things that domainsched needs\n"
        "  attempts integer, claim_token uuid, title text\n"
        "hint: domainsched init\n",
    )


@pytest.mark.parametrize("command", ["reset --all", "reset --status error"])
def test_reset_asks_nothing_off_a_terminal(
    queue: Surroundings, table: Database, command: str
) -> None:
    before = attempts(table)
    ended = queue.run(*command.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "error: --yes is required when stdin is not a terminal\n"
        f"  {'3 domains' if 'all' in command else '1 domain'} will be pending again,"
    )
    assert attempts(table) == before
    assert queue.run(*command.split(), "--yes") == Ended(0, "", "")
    assert attempts(table) == before | dict.fromkeys(
        ("a.test", "c.test", "d.test") if "all" in command else ("d.test",), 0
    )


def test_init_says_in_json_whether_all_is_there(queue: Surroundings, table: Database) -> None:
    """Also where nothing was left to do; the table is named as it is in both."""
    told = {"table": "public.domains", "statements": [], "done": True}
    assert queue.run("init", "--json").records == [told]
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP COLUMN title")
    (dry,) = queue.run("init", "--dry-run", "--json").records
    assert (dry["table"], dry["done"], len(dry["statements"])) == ("public.domains", False, 1)
    (wet,) = queue.run("init", "--yes", "--json").records
    assert (wet["done"], wet["statements"]) == (True, dry["statements"])
    with table.connect() as connection:
        connection.execute("DROP TABLE domains")
    (dry,) = queue.run("init", "--dry-run", "--json").records
    assert (dry["table"], dry["done"]) == ("public.domains", False)


def test_a_row_without_a_name_is_shown_as_that(queue: Surroundings, table: Database) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains ALTER domain DROP NOT NULL")
        connection.execute("UPDATE domains SET domain = NULL WHERE domain = 'a.test'")
    listing = ("inspect", "--status", "pending")
    assert queue.run(*listing).out.startswith("\tpending\t0\t")
    assert json.loads(queue.run(*listing, "--json").out)[0]["domain"] is None
    assert in_terminal(queue, *listing).out.splitlines()[1].startswith("(no name)  pending ")
    assert queue.run("process", "--dry-run", "--json").records[0]["would_claim"] == [None]
    ended = queue.run("process", "--json", "-v")
    assert (ended.records[0]["domain"], ended.records[0]["kind"]) == (None, "invalid_domain")
    assert "None" not in ended.err


def test_init_asks_nothing_off_a_terminal(queue: Surroundings, table: Database) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP title, DROP language")
    shown = queue.run("init", "--dry-run")
    assert shown.code == 0
    assert "ADD COLUMN IF NOT EXISTS" in shown.out
    refused = queue.run("init")
    assert refused == Ended(
        2,
        "",
        "error: --yes is required when stdin is not a terminal\n"
        + "".join(f"  {line}\n" for line in shown.out.splitlines()),
    )
    assert queue.run("inspect").code == 3
    assert queue.run("init", "--yes") == Ended(0, "", "")
    assert queue.run("inspect").code == 0


# --- the input of add ---------------------------------------------------------------------------


def test_invalid_lines_are_listed_with_their_numbers_and_nothing_is_added(
    queue: Surroundings,
) -> None:
    path = queue.directory / "new.txt"
    path.write_text("# leads\nnew.test\n\nhttp//acme.com\nm\u00fcnchen..example\n")
    refused = queue.run("add", "--file", "new.txt")
    assert refused == Ended(
        2,
        "",
        "error: 2 of 3 are not domain names; nothing was added\n"
        '  new.txt:4: "http//acme.com"  a slash where the host should be\n'
        '  new.txt:5: "m\u00fcnchen..example"  an empty label between two dots\n'
        "hint: correct them, or pass --skip-invalid to add the other 1\n",
    )
    taken = queue.run("add", "--file", "new.txt", "--skip-invalid", "--json")
    assert (taken.code, taken.records) == (
        0,
        [
            {
                "added": 1,
                "present": 0,
                "requeued": 0,
                "held": 0,
                "repeated": 0,
                "invalid": 2,
                "rejected": [
                    {
                        "source": "new.txt:4",
                        "text": "http//acme.com",
                        "reason": "a slash where the host should be",
                    },
                    {
                        "source": "new.txt:5",
                        "text": "m\u00fcnchen..example",
                        "reason": "an empty label between two dots",
                    },
                ],
                "dry_run": False,
            }
        ],
    )
    told = [json.loads(line) for line in taken.err.splitlines()]
    assert [(each["type"], each["message"]) for each in told] == [
        ("warning", 'new.txt:4: "http//acme.com"  a slash where the host should be'),
        ("warning", 'new.txt:5: "m\u00fcnchen..example"  an empty label between two dots'),
    ]


@pytest.mark.parametrize("skip", [(), ("--skip-invalid",)])
def test_rows_that_an_open_quote_swallows_are_never_skipped(
    queue: Surroundings, table: Database, skip: tuple[str, ...]
) -> None:
    path = queue.directory / "open.csv"
    path.write_text('domain,email\n"unclosed.test,x\nnew.test,y\n')
    assert queue.run("add", "--file", "open.csv", *skip) == Ended(
        2,
        "",
        "error: cannot read open.csv\n"
        "  a quote in the row that begins in line 2 is not closed where its field ends\n"
        "hint: close it; one that is part of the text is written twice\n",
    )
    assert len(attempts(table)) == 4


def test_of_many_invalid_lines_twenty_are_listed(bare: Surroundings) -> None:
    (bare.directory / "junk.txt").write_text("".join(f"junk{n}\n" for n in range(1, 1236)))
    told = bare.run("add", "--file", "junk.txt").err.splitlines()
    assert told[0] == "error: 1,235 of 1,235 are not domain names; nothing was added"
    assert told[1] == '  junk.txt:1: "junk1"  no dot'
    assert told[20] == '  junk.txt:20: "junk20"  no dot'
    assert told[21:] == ["  ... and 1,215 more", "hint: correct them"]


def test_lines_that_are_not_json_are_told_without_their_text(bare: Surroundings) -> None:
    (bare.directory / "new.jsonl").write_text('{"url": "a.test"}\n{"key": "hunter2"\nbad\n')
    assert bare.run("add", "--file", "new.jsonl") == Ended(
        2,
        "",
        "error: 2 of 3 hold no domain name; nothing was added\n"
        "  new.jsonl:2: not JSON from character 18 on\n"
        "  new.jsonl:3: not JSON from character 1 on\n"
        "hint: correct them, or pass --skip-invalid to add the other 1\n",
    )


@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_is_not_utf8_is_refused_with_what_converts_it(
    bare: Surroundings, *, named: bool
) -> None:
    source = ("--file", "old.txt") if named else ("-",)
    place, file = ("old.txt", " old.txt") if named else ("stdin", "")
    (bare.directory / "old.txt").write_bytes("a.test\nm\u00fcnchen.test\n".encode("latin-1"))
    assert bare.run("add", *source, wrapper=redirected("< old.txt")) == Ended(
        2,
        "",
        "error: 1 of 2 is not a domain name; nothing was added\n"
        f'  {place}:2: "m\\xfcnchen.test"  bytes that are not UTF-8\n'
        "hint: correct it (of a file in Latin-1, say, by iconv -f ISO-8859-1 -t UTF-8),"
        " or pass --skip-invalid to add the other 1\n",
    )
    (bare.directory / "old.txt").write_bytes("m\u00fcnchen.test\n".encode("utf-16"))
    assert bare.run("add", *source, wrapper=redirected("< old.txt")) == Ended(
        2,
        "",
        f"error: cannot read {place}\n  it is UTF-16; UTF-8 is read\n"
        f"hint: iconv -f UTF-16 -t UTF-8{file} | domainsched add -\n",
    )


def test_a_misspelt_setting_is_told_once_and_is_no_error(queue: Surroundings) -> None:
    (queue.directory / ".env").write_text("DOMAINSCHED_LIMITS=3\nLIMITS=3\n")
    odd = Surroundings(queue.directory, {**queue.variables, "DOMAINSCHED_ZZZ": "1"})
    near = "DOMAINSCHED_LIMITS (.env, line 1; is it DOMAINSCHED_LIMIT?)"
    what = f"no such setting: {near}, DOMAINSCHED_ZZZ"
    hint = "it changes nothing; .env.example lists them all"
    assert odd.run("reset", "d.test") == Ended(0, "", f"warning: {what}\nhint: {hint}\n")
    told = json.loads(odd.run("inspect", "--json").err)
    assert told == {"type": "warning", "message": what, "hint": hint}
    assert odd.run("inspect", "--quiet").err == ""


def test_a_list_that_is_cut_short_says_so_and_limit_0_cuts_nothing(queue: Surroundings) -> None:
    names = [f"n{number}.test" for number in range(21)]
    assert queue.run("add", *names).code == 0
    warning = "warning: the list ends after 20 of 22 domains\nhint: --limit 0 lists all\n"
    asked = ("inspect", "--status", "pending")
    for form in ("--csv", "--json", "--format=plain"):
        cut = queue.run(*asked, form)
        told = json.loads(cut.err)["message"] if form == "--json" else cut.err
        assert (cut.code, told in {warning, "the list ends after 20 of 22 domains"}) == (0, True)
        assert queue.run(*asked, form, "--limit", "20").err == "", "it was asked for"
    whole = queue.run(*asked, "--limit", "0")
    assert (len(whole.out.splitlines()), whole.err) == (22, "")
    shown = in_terminal(queue, *asked)
    assert shown.err.endswith("showing 20 of 22; --limit 0 for all\n")
    assert queue.run("inspect", "--limit", "0").out.count("\n") == 25
    assert queue.run("inspect", "a.test", "--limit", "0").code == 2


def test_a_name_of_a_file_is_taken_for_a_site_s_with_a_warning(queue: Surroundings) -> None:
    (queue.directory / "our leads.txt").write_text("new.test\n")
    (queue.directory / "leads.csv").write_text("domain\nnew.test\n")
    assert queue.run("add", "leads.csv", "--dry-run").err == (
        "warning: taken for the name of a site, though there is such a file: leads.csv\n"
        "hint: to read it: domainsched add --file leads.csv\n"
    )
    refused = queue.run("add", "./our leads.txt")
    assert (refused.code, refused.out) == (2, "")
    assert "hint: to read it: domainsched add --file './our leads.txt'\n" in refused.err
    assert queue.run("add", "x" * 5000).code == 2, "no path is so long"
    (queue.directory / "-").touch()
    assert queue.run("add", "-", "--dry-run").err == "", "it is stdin"


def test_who_may_only_read_can_look_at_what_would_be_done(
    queue: Surroundings, reader: Surroundings
) -> None:
    dry = reader.run("process", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert dry.out.startswith("a.test\t1\t")
    observed = reader.run("watch", "--observe", "--timeout", "100ms")
    assert (observed.code, "the time is up" in observed.err) == (1, True)
    assert queue.run("inspect", "a.test", "--json").records[0]["status"] == "pending"


def test_process_that_is_given_a_name_as_the_others_are_says_how(queue: Surroundings) -> None:
    ended = queue.run("process", "a.test")
    assert (ended.code, ended.out) == (2, "")
    hint = "hint: --domain NAME does a domain now; domainsched process --help\n"
    assert ended.err.endswith(hint)


def test_rows_without_a_status_are_found_by_the_word_that_the_glance_has(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains ALTER status DROP NOT NULL")
        connection.execute("UPDATE domains SET status = NULL WHERE domain = 'c.test'")
        connection.execute("UPDATE domains SET due_at = now() + interval '1h'")
    assert "statuses.null\t1\n" in queue.run("inspect").out
    listed = queue.run("inspect", "--status", "null")
    assert (listed.out[:12], listed.err) == ("c.test\tnull\t", "")
    assert "status\tnull\n" in queue.run("inspect", "c.test").out
    assert queue.run("reset", "--status", "null", "--yes", "--json").records[0]["reset"] == 1
    assert queue.run("inspect", "c.test", "--json").records[0]["status"] == "pending"


def test_a_status_that_no_domain_has_and_we_do_not_know_is_told(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP CONSTRAINT domains_status_check")
        connection.execute("UPDATE domains SET status = 'active' WHERE domain = 'c.test'")
    warning = (
        "warning: no domain has the status eror\n"
        "hint: ours are pending, processing, completed, error\n"
    )
    words = ("--status", "eror", "--status", "active", "--status", "completed")
    listed = queue.run("inspect", *words)
    assert (listed.code, listed.out[:6], listed.err) == (0, "c.test", warning)
    assert queue.run("reset", *words, "--yes") == Ended(0, "", warning)
    assert queue.run("inspect", "--status", "completed", "--kind", "dns").err == ""


def test_a_database_that_was_made_for_want_of_another_is_told_where_nobody_sees_it_made(
    tmp_path: Path,
) -> None:
    with reachable_directory() as directory:
        homes = iter(directory / name for name in ("piped", "added", "shown"))
        piped, added, shown = (
            Surroundings(tmp_path, {"DOMAINSCHED_HOME": str(home)}) for home in homes
        )
        where = directory / "piped"
        made, empty = (
            f"made a new, empty database in {where}",
            f"the database in {where} has no domains",
        )
        hint = "looked in the environment and in ./.env; --env-file names another file"
        for told in (made, empty, empty):
            warning = f"warning: DATABASE_URL is not set; {told}\nhint: {hint}\n"
            assert piped.run("process") == Ended(0, "", warning)
        (tmp_path / "settings").write_text("DOMAINSCHED_LIMIT=5\n")
        named = piped.run("process", "--env-file", "settings").err
        assert named.endswith("hint: looked in the environment and in settings\n")
        assert piped.run("add", "a.test").err == ""
        assert piped.run("inspect", "a.test").err == ""
        assert added.run("add", "a.test") == Ended(0, "", "")
        seen = f"using the embedded database in {directory / 'shown'}\nno domain matches\n"
        assert in_terminal(shown, "inspect", "--kind", "dns").err == seen


def test_an_embedded_database_that_cannot_be_used_is_told_with_why_there_is_to_be_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "settings").write_text("DATABASE_URL=\n")
    nowhere = Surroundings(tmp_path, {"DOMAINSCHED_HOME": "/dev/null/home"})
    for options, file in ((), "./.env; --env-file"), (("--env-file", "settings"), "settings\n"):
        ended = nowhere.run("process", *options)
        assert (ended.code, ended.out) == (3, "")
        unset = f"\n  DATABASE_URL is set neither in the environment nor in {file}"
        assert unset in ended.err


def test_closed_stdin_is_told_when_it_is_needed_and_never_else(queue: Surroundings) -> None:
    closed = redirected("<&-")
    assert queue.run("add", "-", wrapper=closed) == Ended(
        2, "", "error: standard input is closed\nhint: name a file: --file PATH\n"
    )
    assert queue.run("add", "new.test", wrapper=closed) == Ended(0, "", "")
    assert queue.run("reset", "--all", wrapper=closed).code == 2


def test_stdin_is_read_only_when_asked_for(queue: Surroundings) -> None:
    (queue.directory / "names").write_text("\ufeffone.test\r\ntwo.test\r\n")
    given = redirected("< names")
    unread = queue.run("add", "three.test", "--json", wrapper=given)
    assert unread.records[0]["added"] == 1
    read = queue.run("add", "three.test", "-", "--json", wrapper=given)
    assert (read.records[0]["added"], read.records[0]["present"]) == (2, 1)


def test_a_long_input_is_counted_in_a_terminal_and_nowhere_else(queue: Surroundings) -> None:
    for name, number in (("short", 4999), ("long", 5001)):
        lines = "".join(f"{name}{each}.test\n" for each in range(number))
        (queue.directory / name).write_text(lines)
    dry = ("add", "--dry-run", "--file")
    shown = in_terminal(queue, *dry, "long", term="xterm-256color")
    assert (shown.code, shown.out) == (0, "would add 5,001 domains\n")
    assert "checking 5,000" in shown.err
    assert "adding 5,000 of 5,001" in shown.err
    for ended in (
        in_terminal(queue, *dry, "short", term="xterm-256color"),
        in_terminal(queue, *dry, "long"),
        in_terminal(queue, *dry, "long", "-q", term="xterm-256color"),
        queue.run(*dry, "long"),
    ):
        assert (ended.code, ended.err) == (0, "")


def test_an_error_in_a_long_input_leaves_no_counter_behind(queue: Surroundings) -> None:
    lines = "".join(f"d{each}.test\n" for each in range(6000))
    (queue.directory / "names").write_text(f"{lines}bad\n")
    shown = in_terminal(queue, "add", "--file", "names", term="xterm-256color")
    assert shown.code == 2
    assert "\x1b[?25h" in shown.err, "the cursor stays hidden"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown.err)
    assert plain.endswith(
        "error: 1 of 6,001 is not a domain name; nothing was added\n"
        '  names:6001: "bad"  no dot\n'
        "hint: correct it, or pass --skip-invalid to add the other 6,000\n"
    )


MEMORY = """
import os, subprocess, sys
program = subprocess.Popen([*sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(program.pid, 0)
program.returncode = os.waitstatus_to_exitcode(status)
print(program.returncode, usage.ru_maxrss)
"""


def test_ten_times_the_lines_need_no_more_memory(queue: Surroundings) -> None:
    peaks = []
    for number in (6_000, 60_000):
        lines = "".join(f"a-rather-long-name-{number}-{each}.test\n" for each in range(number))
        (queue.directory / "names").write_text(lines)
        ended = queue.run("add", "--file", "names", wrapper=(sys.executable, "-c", MEMORY))
        code, peak = map(int, ended.out.split())
        assert (code, ended.err) == (0, "")
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.15


def test_a_sheet_of_leads_is_added_as_a_batch(queue: Surroundings) -> None:
    (queue.directory / "leads.csv").write_text(
        "Name,Website,Mail\nAcme,https://www.acme.test/,x\nNone,,y\nOld,a.test,z\n"
    )
    (queue.directory / "more.jsonl").write_text('{"domain": "more.test"}\n{"url": 5}\n')
    files = ("--file", "leads.csv", "--file", "more.jsonl", "--batch", "fair")
    refused = queue.run("add", *files)
    assert refused == Ended(
        2,
        "",
        "error: 1 of 4 holds no domain name; nothing was added\n"
        "  more.jsonl:2: its url is not a text\n"
        "hint: correct it, or pass --skip-invalid to add the other 3\n",
    )
    taken = in_terminal(queue, "add", *files, "--skip-invalid")
    assert taken.out == "added 2 domains; 1 there already; 1 invalid\n"
    progress = queue.run("inspect", "--batch", "fair", "--json").records
    assert [(each["state"], each["total"]) for each in progress] == [("pending", 2)]


def test_a_batch_that_is_not_there_is_a_failure(queue: Surroundings) -> None:
    for command in (("inspect",), ("reset", "--yes"), ("reset", "--status", "error", "--dry-run")):
        assert queue.run(*command, "--batch", "none") == Ended(
            1,
            "",
            "error: no domain in the table is of batch none\n"
            "hint: domainsched add --batch none --file PATH\n",
        )


def test_a_table_without_batches_says_what_to_do(queue: Surroundings, table: Database) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP batch_id")
    told = Ended(
        3,
        "",
        "error: table public.domains has no column for --batch\n"
        "  batch_id text\n"
        "hint: domainsched init, or: ALTER TABLE public.domains ADD COLUMN batch_id text;\n",
    )
    assert queue.run("add", "new.test", "--batch", "x") == told
    assert queue.run("inspect", "--batch", "x") == told
    assert queue.run("reset", "--batch", "x", "--yes") == told
    assert queue.run("init", "--yes") == Ended(0, "", "")
    assert queue.run("add", "new.test", "--batch", "x") == Ended(0, "", "")


def test_the_schema_of_a_table_that_lacks_something_is_shown(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP title, DROP claim_token, ADD mine money")
    ended = queue.run("inspect", "--schema")
    assert (ended.code, ended.err) == (
        0,
        "warning: it lacks claim_token uuid, title text\nhint: domainsched init\n",
    )
    assert ended.out.splitlines()[-1] == "mine\tmoney\tnot used"
    with table.connect() as connection:
        connection.execute("DROP TABLE domains")
    assert queue.run("inspect", "--schema").code == 3


@pytest.mark.parametrize(
    ("statement", "shown", "told"),
    [
        ("ALTER TABLE domains DROP domain", "mine\tmoney\tnot used", "not a table of domains"),
        (
            "ALTER TABLE domains ALTER attempts TYPE text",
            "attempts\ttext\tcounted by each claim",
            "columns of its own",
        ),
        (
            "ALTER TABLE domains RENAME TO d; CREATE VIEW domains AS SELECT * FROM d",
            "mine\tmoney\tnot used",
            "not an ordinary table",
        ),
    ],
)
def test_the_schema_of_a_table_that_cannot_serve_is_shown_before_the_error(
    queue: Surroundings, table: Database, statement: str, shown: str, told: str
) -> None:
    with table.connect() as connection:
        connection.execute(f"ALTER TABLE domains ADD mine money; {statement}")
    ended = queue.run("inspect", "--schema")
    assert ended.code == 3
    assert shown in ended.out.splitlines()
    assert told in ended.err


SHORT = (
    "ALTER TABLE domains ALTER title TYPE varchar(255), ALTER language TYPE varchar(35),"
    " ALTER email_addresses TYPE varchar(20)[], ALTER batch_id TYPE varchar(5)"
)


def test_columns_too_short_for_what_is_stored_are_named(
    queue: Surroundings, table: Database
) -> None:
    assert queue.run("inspect", "--check").err == ""
    with table.connect() as connection:
        connection.execute(SHORT)
    change = (
        "ALTER TABLE public.domains ALTER batch_id TYPE text, ALTER title TYPE text,"
        " ALTER email_addresses TYPE text[];"
    )
    warning = (
        "warning: too short for all that is stored: batch_id character varying(5), title"
        " character varying(255), email_addresses character varying(20)[]\n"
        f"hint: what is longer is cut, left out or refused: {change}\n"
    )
    for command in ("inspect --check", "init", "init --dry-run"):
        ended = queue.run(*command.split())
        assert (ended.code, ended.err) == (0, warning), command
    assert "title\tcharacter varying(255)\tfound" in queue.run("inspect", "--schema").out
    assert "varchar(255)" in queue.run("inspect", "--schema", "--format", "table").out
    with table.connect() as connection:
        connection.execute(change)
    assert queue.run("inspect", "--check").err == ""


def test_the_blanks_that_fill_up_a_status_are_not_shown(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains ALTER status TYPE char(12)")
    for arguments in ("--status error --json", "--sort domain --csv", "a.test --json", "--json"):
        ended = queue.run("inspect", *arguments.split())
        assert (ended.code, ended.err) == (0, "")
        assert re.search(r"pending|error|completed", ended.out)
        assert not re.search(r"(pending|error|completed) ", ended.out), ended.out


def test_a_label_with_control_characters_is_refused(queue: Surroundings) -> None:
    ended = queue.run("add", "label.test", "--batch", "a\nb\x1b[31m")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: --batch: unusable value ")
    assert "\x1b" not in ended.err
    assert queue.run("inspect", "label.test").code == 1


def test_the_smoke_test_warns_of_what_keeps_add_from_working(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains ALTER id DROP IDENTITY, ADD owner text")
        connection.execute("UPDATE domains SET owner = ''")
        connection.execute("ALTER TABLE domains ALTER owner SET NOT NULL")
    told = queue.run("inspect", "--check")
    assert told.code == 0
    warnings = re.findall(r"warning: add leaves the column (\w+) of public.domains empty", told.err)
    assert (warnings, told.err.count("\nhint: ")) == (["id", "owner"], 2)
    assert queue.run("init").err == told.err


@pytest.mark.parametrize("command", ["inspect", "reset --dry-run"])
def test_a_part_of_an_international_label_is_told_to_find_little(
    queue: Surroundings, command: str
) -> None:
    ended = queue.run(*command.split(), "--like", "münch*.test")
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "warning: --like finds only names that are stored as written by münch*",
        "hint: others are stored as xn--...; write the whole label, and signs in others: münchen.*",
    ]
    assert queue.run(*command.split(), "--like", "münchen.*").err == ""


def test_the_glance_leaves_out_what_the_table_does_not_tell(plain: Surroundings) -> None:
    told = plain.run("inspect", "--json").records[0]
    assert told["completed_last_24h"] is None
    assert "completed_last_24h\t\n" in plain.run("inspect").out
    assert "24 hours" not in plain.run("inspect", "--format", "table").out


NEEDS_TIMES = [
    "inspect --since 1h",
    "inspect --sort updated",
    "reset --status completed --older-than 30d --limit 1000 --yes",
    "watch --observe --until-idle",
]


@pytest.mark.parametrize("command", NEEDS_TIMES)
def test_what_goes_by_a_time_that_the_table_does_not_tell_says_that_init_adds_it(
    plain: Surroundings, command: str
) -> None:
    ended = plain.run(*command.split())
    assert (ended.code, ended.out) == (2, "")
    assert "\nhint: domainsched init" in ended.err
    assert plain.run("init", "--yes").code == 0
    assert plain.run(*command.split()).code == 0


def test_a_domain_of_an_old_table_is_visited_anew_once_it_is_known_for_so_long(
    plain: Surroundings, table: Database
) -> None:
    assert plain.run("init", "--yes").code == 0
    with table.connect() as connection:
        connection.execute("INSERT INTO domains (domain, status) VALUES ('a.test', 'completed')")
        refresh = ("reset", "--status", "completed", "--older-than", "30d", "--yes", "--json")
        assert plain.run(*refresh).records[0]["reset"] == 0
        connection.execute("UPDATE domains SET updated_at = now() - interval '31 days'")
        assert plain.run(*refresh).records[0]["reset"] == 1
        connection.execute(
            "UPDATE domains SET status = 'completed', last_scan = now(),"
            " updated_at = now() - interval '31 days'"
        )
        assert plain.run(*refresh).records[0]["reset"] == 0


def test_the_scheduled_refresh_is_silent_and_takes_the_oldest(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute(
            "INSERT INTO domains (domain, status, last_scan)"
            " SELECT n || '.old', 'completed', now() - make_interval(days => 30 + n)"
            " FROM generate_series(1, 5) n"
        )
    refresh = ("reset", "--status", "completed", "--older-than", "30d", "--limit", "2", "--yes")
    assert queue.run(*refresh) == Ended(0, "", "")
    with table.connect() as connection:
        pending = connection.execute(
            "SELECT domain FROM domains WHERE status = 'pending' AND domain LIKE '%.old'"
        ).fetchall()
    assert sorted(pending) == [("4.old",), ("5.old",)]


# --- the same answer for a terminal, a pipe and a program ----------------------------------------

GLANCE = """\
domains              4
  pending            1   1 due now, oldest waiting SPAN
  processing         1   0 with a lease that has run out
  completed          1   1 in the last 24 hours
  error              1   1 dns

last visit stored SPAN ago
next run claims 1 of 1
"""
LIST = """\
DOMAIN  STATUS      TRIES  UPDATED    REASON
a.test  pending         0  SPAN ago
b.test  processing      1  SPAN ago  held by web1:4711:7f3a until TIME
c.test  completed       1  SPAN ago  See Site
d.test  error           3  SPAN ago  dns: no such host
"""
ONE = """\
DOMAIN  STATUS  TRIES  UPDATED    REASON
d.test  error       3  SPAN ago  dns: no such host
"""
SHEET = (
    "domain,status,attempts,due_at,updated_at,last_error_kind,last_error,title,claimed_by,"
    "language,email_addresses,phone_numbers,batch_id,tenant_id\n"
    "d.test,error,3,TIME,TIME,dns,no such host,,,,,,leads,550e8400-e29b-41d4-a716-446655440000\n"
)
LINE = (
    '{"domain": "d.test", "status": "error", "attempts": 3, "due_at": "TIME",'
    ' "updated_at": "TIME", "last_error_kind": "dns", "last_error": "no such host",'
    ' "title": null, "claimed_by": null, "language": null, "email_addresses": null,'
    ' "phone_numbers": null, "batch_id": "leads",'
    ' "tenant_id": "550e8400-e29b-41d4-a716-446655440000"}\n'
)
BATCH = """\
batch leads
  state       processing
  total                3
  done                 1
  failed               1   1 dns
  share             66 %
"""
SITE = """\
c.test
  status      completed
  attempts    1 of 3
  tried       TIME
  title       See Site
  technology  WordPress 6.8
  batch       leads
  tenant      550e8400-e29b-41d4-a716-446655440000
"""
SCHEMA = "".join(
    f"{line}\n" for line in ("column,type,used_for", *(
        f'{name},{kind},"{PURPOSES[name]}"' if "," in PURPOSES[name]
        else f"{name},{kind},{PURPOSES[name]}"
        for name, kind in {
            "id": "bigint", "tenant_id": "uuid", "domain": "text", "status": "text",
            "attempts": "integer", "due_at": "timestamp with time zone", "claim_token": "uuid",
            "claimed_by": "text", "batch_id": "text", "last_error": "text",
            "last_error_kind": "text", "error_count": "integer", "title": "text",
            "description": "text", "language": "text", "favicon_url": "text", "logo_url": "text",
            "email_addresses": "text[]", "phone_numbers": "text[]", "facebook_url": "text",
            "twitter_url": "text", "linkedin_url": "text", "instagram_url": "text",
            "youtube_url": "text", "is_wordpress": "boolean", "wordpress_version": "text",
            "has_elementor": "boolean", "tech_stack": "jsonb", "domain_metadata": "jsonb",
            "last_scan": "timestamp with time zone",
            "last_successful_scan": "timestamp with time zone",
            "created_at": "timestamp with time zone", "updated_at": "timestamp with time zone",
        }.items()
    ))
)  # fmt: skip
ADDED = "added,present,requeued,held,repeated,invalid,dry_run\n0,1,0,0,0,0,false\n"
ADDED_PLAIN = (
    "added\t0\npresent\t1\nrequeued\t0\nheld\t0\nrepeated\t0\ninvalid\t0\ndry_run\tfalse\n"
)
RECORD = """\
d.test
  status      error
  attempts    3 of 3
  error       dns: no such host
  tried       TIME
  batch       leads
  tenant      550e8400-e29b-41d4-a716-446655440000
"""
CHECK = """\
database    ok   PostgreSQL VERSION
table       ok   public.domains, 4 rows
columns     ok   33, with all 26 that are needed
rights      ok   select, insert, update
"""


@pytest.mark.parametrize("arguments", ["process --dry-run", "watch --observe --timeout 100ms"])
def test_what_is_told_a_line_at_a_time_is_json_lines_by_either_name(
    queue: Surroundings, arguments: str
) -> None:
    both = [queue.run(*arguments.split(), option) for option in ("--json", "--jsonl")]
    (document, *_), lines = ([masked(line) for line in ended.out.splitlines()] for ended in both)
    assert lines == [document]
    assert document.startswith("{")
    assert both[0].code == both[1].code


# --- times that no calendar of ours has ---------------------------------------------------------

ENDLESS = """
ALTER TABLE domains ADD COLUMN a timestamp DEFAULT 'infinity',
    ADD COLUMN b date DEFAULT '-infinity',
    ADD COLUMN c timestamptz[] DEFAULT '{20000-01-01 00:00:00+00, 0044-03-15 12:00:00+00 BC}',
    ADD COLUMN d time DEFAULT '24:00', ADD COLUMN e interval DEFAULT '178000000 years';
UPDATE domains SET updated_at = 'infinity', last_scan = '-infinity';
UPDATE domains SET due_at = '-infinity' WHERE domain = 'a.test';
UPDATE domains SET due_at = 'infinity' WHERE domain = 'b.test';
"""


@pytest.fixture
def endless(queue: Surroundings, table: Database) -> Surroundings:
    with table.connect() as connection:
        connection.execute(ENDLESS)
    return queue


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect",
        "inspect --json",
        "inspect a.test b.test",
        "inspect --status processing",
        "inspect --like test --csv",
        "process --dry-run",
        "reset a.test --dry-run",
    ],
)
def test_a_time_without_end_breaks_no_command(endless: Surroundings, arguments: str) -> None:
    for ended in (endless.run(*arguments.split()), in_terminal(endless, *arguments.split())):
        assert (ended.code, ended.err.count("error:")) == (0, 0)
        assert "9999" not in ended.out
        assert "0001-01-01" not in ended.out


def test_a_time_without_end_has_its_word(endless: Surroundings) -> None:
    row = json.loads(endless.run("inspect", "a.test", "--json").out)
    assert {name: row[name] for name in ("due_at", "updated_at", *"abcde")} == {
        "due_at": "-infinity",
        "updated_at": "infinity",
        "a": "infinity",
        "b": "-infinity",
        "c": ["infinity", "-infinity"],
        "d": "24:00:00",
        "e": "178000000 years",
    }
    assert "due\t-infinity\n" in endless.run("inspect", "a.test").out
    assert "  due         -infinity\n" in in_terminal(endless, "inspect", "a.test").out
    assert "oldest waiting -infinity\n" in in_terminal(endless, "inspect").out


# --- rights -----------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path: Path, table: Database) -> Iterator[Surroundings]:
    """The queue, as a role sees it that may only read."""
    role, password = f"reader_{uuid4().hex[:8]}", uuid4().hex
    with table.connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        connection.execute(f"GRANT SELECT ON domains TO {role}")
        seen = replace(table, keywords=table.keywords | {"user": role, "password": password})
        try:
            yield Surroundings(tmp_path, {"DATABASE_URL": seen.url})
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect",
        "inspect c.test",
        "inspect --status error --technology WordPress --sort domain",
        "inspect --batch leads --json",
        "inspect --schema",
    ],
)
def test_who_may_only_read_can_inspect(
    queue: Surroundings, reader: Surroundings, arguments: str
) -> None:
    ended = reader.run(*arguments.split())
    assert (ended.code, ended.err) == (0, "")
    assert masked(ended.out) == masked(queue.run(*arguments.split()).out)


def role_of(surroundings: Surroundings) -> str:
    return str(urlsplit(surroundings.environment["DATABASE_URL"]).username)


def test_init_says_what_it_may_not_add(reader: Surroundings, table: Database) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP last_scan")
    for options in ("--yes", "--dry-run"):
        ended = reader.run("init", options)
        assert (ended.code, ended.out) == (0, "")
        assert (
            "warning: it stays without last_scan, which only its owner may add\n"
            "hint: nothing is lost, but for what goes by them; have its owner, role"
        ) in ended.err
    owners = replace(reader, variables={**reader.variables, "DATABASE_URL": table.url})
    assert owners.run("init", "--dry-run").err == ""


def test_who_does_not_own_the_table_is_told_who_can_complete_it(
    reader: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP claimed_by, DROP last_scan")
    who, owner = role_of(reader), table.keywords["user"]
    what = f'role "{who}" does not own table public.domains'
    hint = f'hint: have its owner, role "{owner}", do: domainsched init\n'
    refused = reader.run("init", "--yes")
    told = f"error: {what}\n  it lacks claimed_by text\n{hint}"
    assert refused == Ended(3, "", told)
    assert reader.run("init") == Ended(3, "", told), "nobody is asked what cannot be done"
    dry = reader.run("init", "--dry-run")
    assert (dry.code, "ADD COLUMN IF NOT EXISTS" in dry.out) == (0, True)
    assert '"last_scan"' in dry.out, "its owner is shown all that init would add"
    assert dry.err.endswith(f"warning: this would be refused: {what}\n{hint}")
    for command in ("process", "inspect", "inspect --schema"):
        assert reader.run(*command.split()).err.endswith(hint)


def test_a_table_that_is_yet_to_be_made_is_called_as_it_will_be(queue: Surroundings) -> None:
    new = replace(queue, variables={**queue.variables, "DOMAINSCHED_TABLE": "Order"})
    planned, made = (new.run("init", "--json", *dry).records for dry in (("--dry-run",), ()))
    assert planned[0]["table"] == made[0]["table"] == 'public."Order"'


def test_who_may_not_create_a_table_is_told_the_right(
    reader: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    what = f'role "{role_of(reader)}" may not create anything in the schema public'
    new = replace(reader, variables={**reader.variables, "DOMAINSCHED_TABLE": "other"})
    ended = new.run("init")
    assert (ended.code, ended.out) == (3, "")
    what, why, hint = ended.err.splitlines()
    assert why == "  the table is to be made there"
    assert (
        new.run("init", "--dry-run").err == f"warning: this would be refused: {what[7:]}\n{hint}\n"
    )
    with table.connect() as connection:
        connection.execute(hint.removeprefix("hint: "))
    assert new.run("init").code == 0


@pytest.mark.parametrize("kind", ["integer", "text"])
def test_a_tenant_that_is_no_uuid_is_left_alone(
    plain: Surroundings, table: Database, kind: str
) -> None:
    with table.connect() as connection:
        connection.execute(f"ALTER TABLE domains ADD tenant_id {kind}")
    note = (
        f"warning: the column tenant_id of public.domains is {kind}, not a plain uuid\n"
        "hint: it is left alone: a site is there once, whoever's it is\n"
    )
    for command in ("init --yes", "inspect --check"):
        ended = plain.run(*command.split())
        assert (ended.code, ended.err) == (0, note)
    assert plain.run("add", "new.test", "--json").records[0]["added"] == 1
    assert "tenant" not in plain.run("inspect", "new.test").out
    with table.connect() as connection:
        connection.execute("UPDATE domains SET tenant_id = '7'")
        connection.execute("ALTER TABLE domains ALTER tenant_id SET NOT NULL")
    assert plain.run("add", "new.test", "--json").records[0]["present"] == 1
    refused = plain.run("add", "newer.test")
    assert (refused.code, "give it a default" in refused.err) == (3, True)
    told = plain.run("inspect", "--check").err
    assert "warning: add leaves the column tenant_id of public.domains empty" in told


@pytest.mark.parametrize(
    ("kind", "shown"), [("text", "some day"), ("date", "2026-11-22"), ("integer", "7")]
)
def test_a_column_of_somebody_else_s_is_listed_as_it_is(
    queue: Surroundings, table: Database, kind: str, shown: str
) -> None:
    with table.connect() as connection:
        connection.execute(
            f"ALTER TABLE domains DROP updated_at, ADD updated_at {kind} DEFAULT '{shown}'"
        )
    ended = queue.run("inspect", "--status", "error")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split("\t")[3] == shown
    assert shown in in_terminal(queue, "inspect", "--status", "error", columns=120).out


def test_changes_are_not_looked_for_where_no_column_tells_them(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute(
            "ALTER TABLE domains DROP last_scan, DROP updated_at, ADD updated_at text"
        )
    for arguments in ("watch --observe", "inspect --since 1h"):
        ended = queue.run(*arguments.split())
        assert (ended.code, ended.out) == (2, "")
        assert "neither last_scan nor updated_at, of a type for times" in ended.err


def test_the_smoke_test_tells_who_may_only_read_so(reader: Surroundings) -> None:
    role = role_of(reader)
    ended = reader.run("inspect", "--check")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "rights\tok\tselect")
    assert ended.err == (
        f'warning: role "{role}" may only inspect: no INSERT, UPDATE\n'
        f'hint: GRANT SELECT, INSERT, UPDATE ON public.domains TO "{role}";\n'
    )


@pytest.mark.parametrize(
    "arguments", ["add e.test", "process", "reset a.test", "watch --until-idle"]
)
def test_every_other_command_names_the_rights_that_are_missing(
    reader: Surroundings, arguments: str
) -> None:
    ended = reader.run(*arguments.split())
    assert (ended.code, ended.out) == (3, "")
    what = f'error: role "{role_of(reader)}" may not INSERT, UPDATE public.domains\n'
    assert ended.err.startswith(what)


def test_who_may_not_even_read_is_told_so(reader: Surroundings, table: Database) -> None:
    role = role_of(reader)
    with table.connect() as connection:
        connection.execute(f"REVOKE ALL ON domains FROM {role}")
    ended = reader.run("inspect")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f'error: role "{role}" may not SELECT public.domains\n'
        f'hint: GRANT SELECT ON public.domains TO "{role}";\n'
    )


RESET = "reset,skipped,dry_run\n1,0,false\n"


@dataclass(frozen=True)
class Answers:
    """What a command says to a person and to a pipe."""

    shown: str
    piped: str
    remark: str = ""
    """What it says to a person on stderr."""
    warning: str = ""
    """What it says to anybody on stderr."""
    code: int = 0


ANSWERS = {
    "inspect": Answers(
        GLANCE,
        "domains\t4\nstatuses.completed\t1\nstatuses.error\t1\nstatuses.pending\t1\n"
        "statuses.processing\t1\ndue\t1\nexpired\t0\n"
        "waiting_since\tTIME\nnext_due\tTIME\ncompleted_last_24h\t1\nlast_settled\tTIME\n"
        "next_run_claims\t1\nkinds.dns\t1\n",
    ),
    "inspect --limit 4": Answers(
        LIST,
        "a.test\tpending\t0\tTIME\t\t\n"
        "b.test\tprocessing\t1\tTIME\t\theld by web1:4711:7f3a until TIME\n"
        "c.test\tcompleted\t1\tTIME\t\tSee Site\n"
        "d.test\terror\t3\tTIME\tdns\tno such host\n",
    ),
    "inspect --status completed --status error --limit 1": Answers(
        "DOMAIN  STATUS     TRIES  UPDATED    REASON\n"
        "c.test  completed      1  SPAN ago  See Site\n",
        "c.test\tcompleted\t1\tTIME\t\tSee Site\n",
        "showing 1 of 2; --limit 0 for all\n",
    ),
    "inspect --like *.test --sort -domain --limit 1": Answers(
        "DOMAIN  STATUS  TRIES  UPDATED    REASON\n"
        "d.test  error       3  SPAN ago  dns: no such host\n",
        "d.test\terror\t3\tTIME\tdns\tno such host\n",
        "showing 1 of 4; --limit 0 for all\n",
    ),
    "inspect --technology wordpress --since 1d": Answers(
        "DOMAIN  STATUS     TRIES  UPDATED    REASON\n"
        "c.test  completed      1  SPAN ago  See Site\n",
        "c.test\tcompleted\t1\tTIME\t\tSee Site\n",
    ),
    "inspect --kind dns --csv": Answers(SHEET, SHEET),
    "inspect --status error --jsonl": Answers(LINE, LINE),
    "inspect --status error --format table": Answers(ONE, ONE),
    "inspect --batch leads": Answers(
        BATCH,
        "batch\tleads\nstate\tprocessing\ntotal\t3\ndone\t1\nfailed\t1\nshare\t0.6667\n"
        "statuses.completed\t1\nstatuses.error\t1\nstatuses.pending\t0\n"
        "statuses.processing\t1\nkinds.dns\t1\n",
    ),
    "inspect --batch leads --status error": Answers(
        ONE, "d.test\terror\t3\tTIME\tdns\tno such host\n"
    ),
    "inspect c.test -v": Answers(
        SITE,
        "domain\tc.test\nstatus\tcompleted\nattempts\t1 of 3\ntried\tTIME\n"
        "title\tSee Site\n"
        "technology\tWordPress 6.8\nbatch\tleads\n"
        "tenant\t550e8400-e29b-41d4-a716-446655440000\n",
        warning="WordPress 6.8: CMS, 100 % sure\n",
    ),
    "inspect --schema --csv": Answers(SCHEMA, SCHEMA),
    "inspect --expired": Answers("", "", "no domain matches\n"),
    "inspect --status failed": Answers(
        "",
        "",
        "no domain matches\n",
        warning="warning: no domain has the status failed\n"
        "hint: ours are pending, processing, completed, error\n",
    ),
    "inspect --check": Answers(
        CHECK,
        "database\tok\tPostgreSQL VERSION\ntable\tok\tpublic.domains, 4 rows\n"
        "columns\tok\t33, with all 26 that are needed\nrights\tok\tselect, insert, update\n",
    ),
    "inspect d.test": Answers(
        RECORD,
        "domain\td.test\nstatus\terror\nattempts\t3 of 3\nerror\tdns: no such host\n"
        "tried\tTIME\nbatch\tleads\ntenant\t550e8400-e29b-41d4-a716-446655440000\n",
    ),
    "add new.test www.a.test new.test": Answers(
        "added 1 domain; 1 there already; 1 more than once in the input\n",
        "",
        "next: domainsched process --limit 10\n",
    ),
    "add new.test --dry-run": Answers("would add 1 domain\n", "would add 1 domain\n"),
    "add new.test a.test b.test --requeue --batch late": Answers(
        "added 1 domain; 2 there already, 1 of them due again;"
        " 1 left alone, as a worker holds it\n",
        "",
        "next: domainsched process --limit 10\n",
    ),
    "add a.test --csv": Answers(ADDED, ADDED),
    "add a.test --format plain": Answers(ADDED_PLAIN, ADDED_PLAIN),
    "reset --status error --status completed --limit 1 --yes": Answers("reset 1 domain\n", ""),
    "reset --batch leads --like ?.test --dry-run": Answers(
        "would reset 2 domains; 1 left alone, as a worker holds it\n",
        "would reset 2 domains; 1 left alone, as a worker holds it\n",
        "hint: --force takes it too, and refuses its worker's result\n",
    ),
    "reset --status processing --yes": Answers(
        "",
        "",
        warning="warning: all that matches is being processed now: 1 domain left alone\n"
        "hint: --force takes it too, and refuses its worker's result\n",
    ),
    "reset --status processing --yes --quiet": Answers(
        "nothing was reset; 1 left alone, as a worker holds it\n", ""
    ),
    "reset d.test --csv": Answers(RESET, RESET),
    "reset d.test": Answers("reset 1 domain\n", ""),
    "reset b.test": Answers(
        "",
        "",
        warning="error: 1 domain being processed now: left alone; nothing was reset\n"
        "  b.test: held by web1:4711:7f3a until TIME\n"
        "hint: --force takes it too, and refuses its worker's result\n",
        code=1,
    ),
    "reset a.test b.test": Answers(
        "",
        "",
        warning="error: 1 domain being processed now: left alone; 1 domain was reset\n"
        "  b.test: held by web1:4711:7f3a until TIME\n"
        "hint: --force takes it too, and refuses its worker's result\n",
        code=1,
    ),
    "reset b.test --dry-run": Answers(
        "nothing would be reset; 1 left alone, as a worker holds it\n",
        "nothing would be reset; 1 left alone, as a worker holds it\n",
        warning="warning: 1 domain being processed now: left alone:"
        " b.test: held by web1:4711:7f3a until TIME\n"
        "hint: --force takes it too, and refuses its worker's result\n",
    ),
    "reset a.test b.test --quiet": Answers(
        "",
        "",
        warning="error: 1 domain being processed now: left alone; 1 domain was reset\n"
        "  b.test: held by web1:4711:7f3a until TIME\n"
        "hint: --force takes it too, and refuses its worker's result\n",
        code=1,
    ),
    "reset b.test --force": Answers("reset 1 domain\n", ""),
    "reset --kind tls --yes": Answers("no domain matches\n", ""),
    "reset --status error --dry-run": Answers("would reset 1 domain\n", "would reset 1 domain\n"),
    "process --dry-run": Answers(
        "would claim 1 of 1 due, oldest first\n"
        "  a.test  attempt 1 of 3  waiting SPAN\n"
        "nothing was claimed or contacted\n",
        "a.test\t1\tTIME\n",
    ),
    "init --dry-run": Answers("", "", "table public.domains has all it needs\n"),
}


@pytest.mark.parametrize("arguments", ANSWERS)
def test_a_person_and_a_pipe_each_get_their_answer(
    queue: Surroundings, table: Database, arguments: str
) -> None:
    answers = ANSWERS[arguments]
    piped = queue.run(*arguments.split())
    assert (piped.code, masked(piped.out)) == (answers.code, answers.piped)
    assert masked(piped.err) == answers.warning
    with table.connect() as connection:
        connection.execute(ROWS)
    shown = in_terminal(queue, *arguments.split())
    assert (shown.code, masked(shown.out)) == (answers.code, answers.shown)
    assert masked(shown.err) == answers.warning + answers.remark


def test_a_domain_that_is_not_there_is_a_failure(queue: Surroundings) -> None:
    ended = queue.run("inspect", "https://a.test/", "nowhere.test", "--json")
    assert ended.code == 1
    assert [record["domain"] for record in json.loads(ended.out)] == ["a.test"]
    assert json.loads(ended.err) == {
        "type": "error",
        "code": 1,
        "message": "not in the table: nowhere.test",
        "why": None,
        "hint": "domainsched add nowhere.test",
    }


def test_what_was_found_before_a_failure_is_not_shown_as_of_then(
    queue: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute(
            "UPDATE domains SET status = 'error', last_error_kind = 'blocked',"
            " last_error = 'HTTP 403', last_scan = '2026-03-04 06:00Z', domain_metadata ="
            """ '{"visit": {"fetched_at": "2026-03-01T05:00:00Z", "elapsed_ms": 67}}'"""
            " WHERE domain = 'c.test'"
        )
    told = dict(line.split("\t") for line in queue.run("inspect", "c.test").out.splitlines())
    assert told["error"] == "blocked: HTTP 403"
    assert told["tried"] == "2026-03-04T06:00:00Z"
    assert told["fetched"] == "2026-03-01T05:00:00Z, 67 ms; earlier, and kept"
    assert told["title"] == "See Site"
    kept = "fetched     2026-03-01 05:00:00 UTC (TIME), 67 ms; earlier, and kept"
    shown = re.sub(r"\(.*? ago\)", "(TIME)", in_terminal(queue, "inspect", "c.test").out)
    assert kept in " ".join(shown.split("\n              ")), shown


def test_a_reset_of_names_takes_all_or_none(queue: Surroundings, table: Database) -> None:
    before = attempts(table)
    assert queue.run("reset", "d.test", "nowhere.test") == Ended(
        1,
        "",
        "error: not in the table: nowhere.test; nothing was reset\n"
        "hint: domainsched add nowhere.test\n",
    )
    assert attempts(table) == before


def test_an_empty_queue_says_what_to_do_next(queue: Surroundings, table: Database) -> None:
    with table.connect() as connection:
        connection.execute("TRUNCATE domains")
    shown = in_terminal(queue, "inspect")
    assert shown.out.splitlines()[-1] == "next: domainsched add example.com"
    facts = dict(line.split("\t") for line in queue.run("inspect").out.splitlines())
    assert {value for value in facts.values() if value} == {"0"}
    assert facts["waiting_since"] == facts["next_due"] == ""
    assert queue.run("process") == Ended(0, "", "")
    assert in_terminal(queue, "process") == Ended(0, "", "nothing is due\n")


def test_verbosity_never_changes_stdout(queue: Surroundings) -> None:
    assert queue.run("add", "a.test", "-v") == Ended(0, "", "added 0 domains; 1 there already\n")
    assert queue.run("inspect", "-vv").out == queue.run("inspect", "-q").out
    assert in_terminal(queue, "process", "-q") == Ended(0, "", "")


# --- a run --------------------------------------------------------------------------------------

NOBODY = {"DOMAINSCHED_CONNECT_TO": "::127.0.0.1:1", "DOMAINSCHED_ALLOW_NETWORK": "127.0.0.0/8"}
"""Every connection is refused at once."""


def test_a_run_whose_sites_fail_is_silent_unattended_and_told_in_a_terminal(
    queue: Surroundings, table: Database
) -> None:
    offline = Surroundings(queue.directory, {**queue.variables, **NOBODY})
    assert offline.run("process") == Ended(0, "", "")
    with table.connect() as connection:
        connection.execute(ROWS)
    shown = in_terminal(offline, "process")
    assert (shown.code, shown.out) == (0, "")
    retry, summary = shown.err.splitlines()
    assert re.fullmatch(r"retry +a\.test  attempt 1 of 3  connect: .+, again in .+", retry)
    assert re.fullmatch(r"1 domain in .+: 1 to retry\.", summary)
    with table.connect() as connection:
        connection.execute(ROWS)
    told = offline.run("process", "--json", "--max-attempts", "1", "--strict")
    assert told.code == 5
    domain, summary_record = told.records
    assert (domain["type"], domain["outcome"], domain["kind"]) == ("domain", "error", "connect")
    assert (summary_record["type"], summary_record["error"]) == ("summary", 1)
    assert json.loads(told.err)["message"] == "1 domain failed for good"


# --- colours ------------------------------------------------------------------------------------


def test_colours_are_for_terminals_that_want_them(bare: Surroundings) -> None:
    def errors(*arguments: str, term: str = "xterm-256color", **variables: str) -> str:
        surroundings = Surroundings(bare.directory, variables)
        return in_terminal(surroundings, "add", *arguments, term=term).err

    assert "\x1b[31merror: no domain was named\x1b[0m" in errors()
    for uncoloured in (
        errors("--no-color"),
        errors(NO_COLOR="1"),
        errors(term="dumb"),
        bare.run("add").err,
    ):
        assert uncoloured == MISTAKES["add"]
    assert "\x1b" in errors(NO_COLOR="")
    forced = Surroundings(bare.directory, {"FORCE_COLOR": "1", "TERM": "xterm"}).run("add")
    assert "\x1b[31m" in forced.err


# --- reset asks in proportion -------------------------------------------------------------------

FILTERED = "1 domain will be pending again, with attempts set to 0.\nWhat was found is kept.\n"
ALL = (
    "3 domains will be pending again, with attempts set to 0.\nWhat was found is kept.\n"
    "1 domain being processed now: left alone (--force)\n"
    "Each of them will be visited again.\n"
)
REFUSED = "error: nothing was done\n"
LEFT_ALONE = "hint: --force takes it too, and refuses its worker's result\n"


@pytest.mark.parametrize(
    ("arguments", "keys", "code"),
    [
        ("--status error", "y\n", 0),
        ("--status error", "YES\n", 0),
        ("--status error", "n\n", 2),
        ("--status error", "\n", 2),
        ("--status error", "\x04", 2),
        ("--all", "3\n", 0),
        ("--all", "4\n", 2),
        ("--all", "y\n", 2),
    ],
)
def test_reset_does_what_is_answered(
    queue: Surroundings, table: Database, arguments: str, keys: str, code: int
) -> None:
    before = attempts(table)
    with terminal(queue, "reset", *arguments.split()) as running:
        question = "Type 3 to go on: " if arguments == "--all" else "Go on? [y/N] "
        running.wait_for(question)
        running.type(keys)
        ended = running.end()
    told = (ALL if arguments == "--all" else FILTERED) + question
    after = REFUSED if code else LEFT_ALONE * (arguments == "--all")
    assert ended.err == told + "\n" * (keys == "\x04") + after
    assert ended.code == code
    assert (attempts(table) != before) is (code == 0)
    left = "; 1 left alone, as a worker holds it"
    done = f"reset 3 domains{left}\n" if arguments == "--all" else "reset 1 domain\n"
    assert ended.out == ("" if code else done)


def test_ctrl_c_at_a_question_ends_at_once(queue: Surroundings, table: Database) -> None:
    before = attempts(table)
    with terminal(queue, "reset", "--all") as running:
        running.wait_for("Type 3 to go on: ")
        running.interrupt()
        assert running.end().code == 130
    assert attempts(table) == before


def test_named_domains_and_yes_are_not_asked_about(queue: Surroundings) -> None:
    assert in_terminal(queue, "reset", "d.test", "c.test").out == "reset 2 domains\n"
    assert in_terminal(queue, "reset", "--all", "--yes", "--force").out == "reset 4 domains\n"


# --- what the web and other programs wrote ------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/] :smile: \u009b31m \u202egnp.exe\ta\nb\u2028c"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(queue: Surroundings, table: Database) -> Surroundings:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains DROP CONSTRAINT domains_status_check")
        connection.execute('ALTER TABLE domains ADD "a\x1b]0;owned\x07\u202eb" text')
        connection.execute(
            "UPDATE domains SET title = %(text)s, description = %(text)s, last_error = %(text)s,"
            " last_error_kind = %(text)s, claimed_by = %(text)s, email_addresses = %(list)s,"
            " tech_stack = %(json)s, domain_metadata = %(json)s",
            {"text": HOSTILE, "list": [HOSTILE], "json": json.dumps({"technologies": [HOSTILE]})},
        )
        connection.execute(
            "INSERT INTO domains (domain, status)"
            " VALUES (%(text)s, 'pending'), ('e.test', %(text)s)",
            {"text": HOSTILE},
        )
    return Surroundings(queue.directory, {**queue.variables, **NOBODY})


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect",
        "inspect --limit 9",
        "inspect a.test b.test c.test d.test e.test",
        "inspect a.test b.test c.test d.test e.test --json",
        "inspect a.test b.test c.test d.test e.test --csv",
        "inspect a.test -v",
        "inspect --limit 9 --jsonl",
        "inspect --limit 9 --csv",
        "inspect --limit 9 --format plain",
        "inspect --schema",
        "inspect --batch leads --json",
        "process --dry-run",
        "process -v",
    ],
)
def test_what_is_stored_cannot_drive_a_terminal(hostile: Surroundings, arguments: str) -> None:
    shown = in_terminal(hostile, *arguments.split())
    assert HARMFUL.search((shown.out + shown.err).replace("\t", " ")) is None
    assert "Traceback" not in shown.err
    assert "owned" in shown.out + shown.err


def test_what_is_stored_cannot_break_a_line(hostile: Surroundings) -> None:
    listed = hostile.run("inspect", "--limit", "9").out
    assert [line.count("\t") for line in listed.splitlines()] == [5] * 5
    assert HARMFUL.search(listed) is None
    assert "[red]x[/] :smile: " in listed
    glance = hostile.run("inspect").out
    assert {line.count("\t") for line in glance.splitlines()} == {1}
    stored = hostile.run("inspect", "a.test", "--json").records[0]
    assert stored["title"] == HOSTILE


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "arguments",
    ["inspect", "inspect c.test", "inspect --schema", "inspect --batch leads", "inspect --limit 9"],
)
def test_what_is_shown_fits_the_terminal(
    queue: Surroundings, table: Database, arguments: str, columns: int
) -> None:
    with table.connect() as connection:
        connection.execute(
            "UPDATE domains SET description = repeat('word 例え ', 60),"
            " title = repeat('x', 200) WHERE domain = 'c.test'"
        )
    shown = in_terminal(queue, *arguments.split(), columns=columns)
    assert shown.code == 0
    assert all(width(line) <= columns for line in shown.out.splitlines())


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_column_of_a_table_vanishes(queue: Surroundings, table: Database, columns: int) -> None:
    with table.connect() as connection:
        connection.execute(
            "INSERT INTO domains (domain, status, last_error_kind, last_error) VALUES"
            " ('a-very-long-subdomain.of-some-company-with-a-long-name.example.co.uk', 'error',"
            "  'timeout', 'nothing came for thirty seconds, and then some more of nothing'),"
            " ('例え例え例え例え例え.test', 'pending', NULL, NULL)"
        )
    lines = in_terminal(queue, "inspect", "--limit", "9", columns=columns).out.splitlines()
    assert lines[0].split() == ["DOMAIN", "STATUS", "TRIES", "UPDATED", "REASON"]
    start = lines[0].index("STATUS")
    for line, status in zip(lines[1:], ("error", "pending"), strict=False):
        shown = "".join(c + "\0" * (ord(c) > 0x2FFF) for c in line)  # a filler for a wide one
        assert len(shown) <= columns
        assert shown[start:].startswith(status)
    assert "timeout: n" in lines[1]


# --- streams that end early, or cannot say everything ---------------------------------------------


def test_a_reader_who_leaves_is_no_error(queue: Surroundings) -> None:
    names = "".join(f"d{number}.test\n" for number in range(3000))
    (queue.directory / "names").write_text(names)
    assert queue.run("add", "--file", "names").code == 0
    script = '"$@" | head -n 1; exit "${PIPESTATUS[0]}"'
    ended = queue.run("inspect", "--limit", "3000", wrapper=("bash", "-c", script, "bash"))
    assert (ended.code, ended.out.count("\n"), ended.err) == (1, 1, "")


def test_a_run_whose_reader_leaves_is_finished(queue: Surroundings, table: Database) -> None:
    offline = Surroundings(queue.directory, {**queue.variables, **NOBODY})
    script = 'exec > >(true); wait $!; exec "$@"'  # it has left before there is anything to read
    ended = offline.run(
        "process", "--json", "--max-attempts", "1", wrapper=("bash", "-c", script, "bash")
    )
    assert (ended.code, ended.err) == (1, "")
    with table.connect() as connection:
        left = connection.execute("SELECT status FROM domains WHERE domain = 'a.test'").fetchone()
    assert left == ("error",)


def test_an_answer_that_cannot_be_written_is_told(queue: Surroundings) -> None:
    assert queue.run("inspect", wrapper=redirected("> /dev/full")) == Ended(
        1, "", "error: cannot write the answer\n  No space left on device\n"
    )
    assert queue.run("inspect", wrapper=redirected(">&- 2>&-")) == Ended(0, "", "")


@pytest.mark.parametrize("arguments", ["--help", "--version", "process --help"])
def test_help_that_cannot_be_written_is_told(bare: Surroundings, arguments: str) -> None:
    assert bare.run(*arguments.split(), wrapper=redirected("> /dev/full")) == Ended(
        1, "", "error: cannot write the answer\n  No space left on device\n"
    )


def test_what_is_written_is_utf8_whatever_the_locale(queue: Surroundings, table: Database) -> None:
    title = "Музей — 例え"
    with table.connect() as connection:
        connection.execute("UPDATE domains SET title = %s WHERE domain = 'c.test'", [title])
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    surroundings = Surroundings(queue.directory, {**queue.variables, **locale})
    assert title in surroundings.run("inspect", "c.test").out
    assert title in surroundings.run("inspect", "c.test", "--json").out
    assert title in in_terminal(surroundings, "inspect", "c.test").out


@pytest.mark.parametrize("columns", [1, 20])
def test_a_narrow_terminal_loses_no_words_of_an_error(bare: Surroundings, columns: int) -> None:
    for term in ("dumb", "xterm-256color"):
        told = in_terminal(bare, "add", columns=columns, term=term).err
        plain = re.sub("\x1b\\[[0-9;]*m", "", told)
        assert plain == MISTAKES["add"]


# --- a page without a database ------------------------------------------------------------------


def test_a_page_is_inspected_without_a_database(bare: Surroundings) -> None:
    (bare.directory / "page.html").write_text("<title>Hello \x1b[31mworld</title>")
    arguments = ("inspect", "--html", "page.html", "--url", "https://a.test/")
    ended = bare.run(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("title\tHello")
    assert "\x1b" not in ended.out
    (bare.directory / "page.html").write_text('<meta name="generator" content="Hugo 0.1">')
    assert "Hugo 0.1: Static site generator" in bare.run(*arguments, "-v").err
    (columns,) = bare.run(*arguments, "--json").records
    assert columns["favicon_url"] == "https://a.test/favicon.ico"


def test_a_page_may_come_from_stdin(bare: Surroundings) -> None:
    (bare.directory / "page.html").write_text("<title>Hello</title>")
    (bare.directory / "large").write_bytes(b" " * (10 * 1024 * 1024 + 1))
    arguments = ("inspect", "--html", "-", "--url", "https://a.test/")
    ended = bare.run(*arguments, wrapper=redirected("< page.html"))
    assert ended.out.startswith("title\tHello\n")
    for redirection, told in (
        ("< large", "error: cannot read stdin\n  it is larger than 10,240 KB\n"),
        ("<&-", "error: standard input is closed\nhint: name a file: --html FILE\n"),
    ):
        assert bare.run(*arguments, wrapper=redirected(redirection)) == Ended(2, "", told)


@pytest.mark.parametrize(
    "url",
    ["//", "javascript:alert(1)", "ftp://a.test/", "http://[", "http://", "https:///x",
     "http://a.test:port/", "http://a.test/\n", "http://a b.test/", "http://a.test/\x1b[2J"],
)  # fmt: skip
def test_a_page_comes_from_an_http_url_with_a_host(bare: Surroundings, url: str) -> None:
    (bare.directory / "page.html").write_text("<title>Hello</title>")
    assert bare.run("inspect", "--html", "page.html", "--url", url) == Ended(
        2, "", "error: --url is not an http or https URL with a host\n"
    )


def test_a_page_is_a_regular_file_of_bounded_size(bare: Surroundings) -> None:
    os.mkfifo(bare.directory / "fifo")
    with (bare.directory / "large").open("wb") as large:
        large.truncate(10 * 1024 * 1024 + 1)
    for path, why in (
        ("fifo", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        ("large", "it is larger than 10,240 KB"),
        (".", "Is a directory"),
    ):
        ended = bare.run("inspect", "--html", path, "--url", "a.test")
        assert ended == Ended(2, "", f"error: cannot read {path}\n  {why}\n")


# --- tables of somebody else's ----------------------------------------------------------------

UNKNOWN_TENANT = "550e8400-e29b-41d4-a716-446655440099"
OF_A_TENANT = (
    "add a.test",
    "add a.test --dry-run",
    "inspect",
    "inspect --check",
    "inspect a.test",
    "reset --all --yes",
    "process",
    "process --dry-run",
    "watch --until-idle",
    "watch --observe --timeout 2s",
    "init",
)


def test_a_tenant_is_refused_where_no_column_knows_tenants(
    plain: Surroundings, table: Database
) -> None:
    told = [
        "error: table public.domains has no column tenant_id",
        "  so --tenant, or DOMAINSCHED_TENANT, has nothing to choose by",
        "hint: leave the tenant out, or: ALTER TABLE public.domains ADD COLUMN tenant_id uuid;",
    ]
    named = replace(plain, variables={**plain.variables, "DOMAINSCHED_TENANT": UNKNOWN_TENANT})
    for command in OF_A_TENANT:
        ended = named.run(*command.split())
        assert (ended.code, ended.out, ended.err.splitlines()) == (2, "", told), command
    assert attempts(table) == {}
    assert plain.run("add", "a.test").code == 0
    assert plain.run("inspect", "a.test").code == 0


def test_a_tenant_is_refused_where_the_column_holds_something_else(
    plain: Surroundings, table: Database
) -> None:
    with table.connect() as connection:
        connection.execute("ALTER TABLE domains ADD tenant_id integer")
    ended = plain.run("inspect", "--tenant", UNKNOWN_TENANT)
    assert (ended.code, ended.out) == (2, "")
    assert "the column tenant_id of table public.domains is integer, not uuid" in ended.err
    assert plain.run("inspect").code == 0
