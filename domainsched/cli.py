"""The command line: parses, calls, renders."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from domainsched import __version__
from domainsched.config import Settings, about, duration, environment
from domainsched.errors import (
    DatabaseError,
    DomainschedError,
    ExitCode,
    Incomplete,
    NetworkDown,
    UsageError,
)
from domainsched.report import Report, Style
from domainsched.wording import count, span

if TYPE_CHECKING:
    from domainsched.database import Database
    from domainsched.models import RunSummary, Upcoming
    from domainsched.schema import Table
    from domainsched.store import Selection
    from domainsched.worker import Stop

EXIT_CODES = """\b
Exit codes:
  0 done   1 failure   2 usage or configuration   3 database   4 no network
  5 some domains failed (--strict)   130, 143 stopped by a signal"""


def _examples(*lines: str) -> str:
    return "\n\n".join(("\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines), EXIT_CODES))


class _Commands(TyperGroup):
    """The one place where expected errors are told, and turned into exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types of it are private
        try:
            return super().invoke(ctx)
        except DomainschedError as error:
            ctx.ensure_object(_Speaker).report.error(error)
            raise typer.Exit(error.exit_code) from error

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - as above
        """List commands in the order of their use, not of the alphabet."""
        return ["add", "process", "inspect", "reset", "watch", "init", "demo"]


@dataclass
class _Speaker:
    """The report that is in use, so that an error is told in the same way."""

    report: Report


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only errors.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv for developers.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.  [env: NO_COLOR]")]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Read settings from here.  [env: DOMAINSCHED_ENV_FILE; default: .env]"
    ),
]
Domains = Annotated[list[str] | None, typer.Argument(metavar="[DOMAIN]...", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _flag(name: str, metavar: str, *also: str) -> Any:  # noqa: ANN401 - Typer's own type is private
    """Make the option for a setting; its text is read and checked by the settings."""
    return typer.Option(f"--{name.replace('_', '-')}", *also, metavar=metavar, help=about(name))


Tenant = Annotated[str | None, _flag("tenant", "UUID")]
Limit = Annotated[str | None, _flag("limit", "N", "-n")]
Concurrency = Annotated[str | None, _flag("concurrency", "N", "-c")]
Processes = Annotated[str | None, _flag("processes", "N")]
Timeout = Annotated[str | None, _flag("timeout", "DURATION")]
Deadline = Annotated[str | None, _flag("deadline", "DURATION")]
Lease = Annotated[str | None, _flag("lease", "DURATION")]
Grace = Annotated[str | None, _flag("grace", "DURATION")]
MaxAttempts = Annotated[str | None, _flag("max_attempts", "N")]
Interval = Annotated[str | None, _flag("interval", "DURATION")]
AllowNetwork = Annotated[str | None, _flag("allow_network", "CIDR,...")]
AllowPrivate = Annotated[bool, typer.Option("--allow-private", help=about("allow_private"))]
Insecure = Annotated[bool, typer.Option("--insecure", help=about("insecure"))]

File = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", metavar="PATH", help="One domain or URL a line; - for stdin."),
]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave invalid lines out, and say so.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 5 if a domain failed for good.")]
OfStatus = Annotated[
    list[str] | None, typer.Option("--status", metavar="STATUS", help="Domains with this status.")
]
OfKind = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="Domains that failed like this.")
]
Rows = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="List at most N.")]
Check = Annotated[
    bool, typer.Option("--check", help="Check database, table and rights: the smoke test.")
]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show what a visit would store of this page.")
]
Url = Annotated[str, typer.Option(metavar="URL", help="Where that page is from.")]
Expired = Annotated[bool, typer.Option("--expired", help="Domains whose lease has run out.")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Domains not visited for so long.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every domain.")]
Force = Annotated[
    bool, typer.Option("--force", help="Those being processed too; their results are refused.")
]
ClearMetadata = Annotated[
    bool, typer.Option("--clear-metadata", help="Forget what was found, too.")
]
UntilIdle = Annotated[
    bool, typer.Option("--until-idle", help="End when nothing is pending or processing.")
]
GiveUpAfter = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="End after this time, with exit code 1."),
]
Observe = Annotated[bool, typer.Option("--observe", help="Only show the queue.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        typer.echo(f"domainsched {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", "-V", help="Say the version.", callback=_version, is_eager=True),
]


@dataclass(frozen=True)
class _Session:
    """What every command has: its settings, and somebody to talk to."""

    settings: Settings
    environ: Mapping[str, str]
    report: Report

    def announce(self, text: str) -> None:
        """Say which database is used; only people want to know."""
        if self.report.is_attended:
            self.report.info(text)

    def execute(self, command: Coroutine[Any, Any, int | None]) -> None:
        """Run an asynchronous command to its end, and exit with its code."""
        raise typer.Exit(asyncio.run(command) or ExitCode.OK)


def _session(ctx: typer.Context, parameters: Mapping[str, Any]) -> _Session:
    """Set up a command from its parameters: those named like settings are settings."""
    verbosity = -1 if parameters["quiet"] else parameters["verbose"]
    color = not (parameters["no_color"] or os.environ.get("NO_COLOR"))
    report = Report(Style(json=parameters["json"], verbosity=verbosity, color=color))
    ctx.find_root().obj = _Speaker(report)
    level = logging.DEBUG if verbosity > 1 else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    environ = environment(os.environ, parameters["env_file"])
    flags = {
        name: "true" if value is True else value
        for name, value in parameters.items()
        if name in Settings.__dataclass_fields__ and value is not False
    }
    return _Session(Settings.load(flags, environ), environ, report)


@app.callback(epilog=EXIT_CODES)
def root(
    *,
    version: Version = False,
) -> None:
    """Work through a PostgreSQL table of web domains: visit each site, store what it is.

    The queue is the table itself: add puts domains in, process takes those that are due, inspect
    shows them. Without DATABASE_URL, an embedded PostgreSQL serves.
    """


@app.command(
    epilog=_examples(
        "domainsched add example.com https://www.example.org/",
        "domainsched add --file domains.txt --skip-invalid",
        "psql -At -c 'SELECT site FROM leads' | domainsched add -",
    )
)
def add(
    ctx: typer.Context,
    domains: Domains = None,
    file: File = None,
    skip_invalid: SkipInvalid = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Put domains into the queue; a site that is there already is left as it is.

    Everything is checked first: one invalid line, and nothing is added.
    """
    session = _session(ctx, locals())
    if not domains and not file:
        raise UsageError("no domain was named", hint="domainsched add example.com, or --file PATH")
    session.execute(_add(session, domains or [], file or [], dry_run=dry_run, skip=skip_invalid))


async def _add(
    session: _Session, domains: list[str], files: list[str], *, dry_run: bool, skip: bool
) -> None:
    from domainsched.connect import opened_table
    from domainsched.intake import read
    from domainsched.store import Store

    settings = session.settings
    with closing(read(domains, files, sys.stdin)) as intake:
        if intake.rejected and not skip:
            raise intake.refusal()
        for line in intake.first_rejected:
            session.report.warning(f'{line.source}: "{line.text}"  {line.reason}')
        async with opened_table(settings, session.environ, session.announce) as (database, table):
            store = Store(database, table, tenant=settings.tenant)
            tenant = settings.tenant or settings.default_tenant
            added = await store.add(intake.names(), tenant=tenant, dry_run=dry_run)
        session.report.added(added, intake.rejected, dry_run=dry_run)


@app.command(
    epilog=_examples(
        "domainsched process --limit 10",
        "domainsched process --limit 0 --concurrency 100 --deadline 50m",
        "domainsched process --json | jq -c 'select(.outcome == \"error\")'",
    )
)
def process(
    ctx: typer.Context,
    limit: Limit = None,
    concurrency: Concurrency = None,
    processes: Processes = None,
    timeout: Timeout = None,
    deadline: Deadline = None,
    lease: Lease = None,
    grace: Grace = None,
    max_attempts: MaxAttempts = None,
    allow_network: AllowNetwork = None,
    allow_private: AllowPrivate = False,
    insecure: Insecure = False,
    strict: Strict = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Claim domains that are due, visit their sites, store what is found.

    Sites that cannot be read are recorded and tried again later; they do not make the command fail.
    Run it from cron or a timer as often as you like: runs never claim the same domain.
    """
    session = _session(ctx, locals())
    session.execute(_preview(session) if dry_run else _process(session, strict=strict))


async def _preview(session: _Session) -> None:
    from domainsched.connect import opened_table
    from domainsched.store import Store

    settings = session.settings
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        rows = await store.due(settings.limit or None)
        upcoming = await store.upcoming()
    session.report.preview(rows, upcoming.due, settings.max_attempts)


async def _process(session: _Session, *, strict: bool) -> int:
    from domainsched.connect import opened_table
    from domainsched.worker import Stop

    settings = session.settings
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        stop = Stop()
        with _stopping(session, stop, database):
            summary = await _round(session, database, table, stop)
    if stop.signal is not None:
        return 128 + stop.signal
    if strict and summary.failed:
        raise Incomplete(f"{count(summary.failed, 'domain')} failed for good")
    return ExitCode.OK


async def _round(session: _Session, database: Database, table: Table, stop: Stop) -> RunSummary:
    """Do one run, and say how it went."""
    from domainsched.batch import process as run
    from domainsched.store import Store

    settings, report = session.settings, session.report
    with report.running(settings.limit or None):
        summary = await run(
            database,
            table,
            settings,
            stop=stop,
            on_begin=report.begun,
            on_settled=lambda settled: report.settled(settled, settings.max_attempts),
        )
    upcoming = await Store(database, table, tenant=settings.tenant).upcoming()
    report.summary(summary, upcoming.due, upcoming.next_due)
    return summary


def _stopping(session: _Session, stop: Stop, database: Database) -> AbstractContextManager[None]:
    """Finish on the first signal, within the grace time; leave on the second."""
    task = asyncio.current_task()

    def announce() -> None:
        grace = span(session.settings.grace)
        session.report.info(f"finishing what is in flight, up to {grace}; once more to leave now")

    def leave() -> None:
        database.abandon()
        if task is not None:
            task.cancel()

    return stop.on_signals(announce, leave)


@app.command(
    epilog=_examples(
        "domainsched inspect",
        "domainsched inspect example.com",
        "domainsched inspect --status error --limit 50",
        "domainsched inspect --html page.html --url https://example.com/",
    )
)
def inspect(
    ctx: typer.Context,
    domains: Domains = None,
    status: OfStatus = None,
    kind: OfKind = None,
    rows: Rows = 20,
    check: Check = False,
    html: Html = None,
    url: Url = "",
    tenant: Tenant = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Show the queue at a glance, a list of domains, or one domain in full.

    A domain that is named but not there is a failure (exit code 1).
    """
    session = _session(ctx, locals())
    if html is not None:
        _inspect_page(session, html, url)
        return
    session.execute(_inspect(session, _selection(domains, status, kind), rows, check=check))


def _inspect_page(session: _Session, path: Path, url: str) -> None:
    from domainsched.extract import extract_page

    if not url:
        raise UsageError("--html needs --url", why="links on the page are relative to it")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}", why=error.strerror or "") from None
    session.report.page(extract_page(body, url))


async def _inspect(session: _Session, selection: Selection, limit: int, *, check: bool) -> None:
    from domainsched.connect import opened_table
    from domainsched.store import Store

    settings, report = session.settings, session.report
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        if check:
            report.checked(await store.check())
        elif selection.names:
            found, missing = await store.named(selection.names)
            alone = len(selection.names) == 1
            report.records(found, alone=alone, max_attempts=settings.max_attempts)
            if missing:
                what = f"not in the table: {', '.join(missing)}"
                raise DomainschedError(what, hint=f"domainsched add {missing[0]}")
        elif selection.is_empty:
            report.glance(await store.glance())
        else:
            report.rows(*await store.rows(selection, limit=limit))


def _selection(
    domains: list[str] | None,
    status: list[str] | None,
    kind: list[str] | None,
    **more: Any,  # noqa: ANN401
) -> Selection:
    from domainsched.names import canonical
    from domainsched.store import Selection

    names = tuple(dict.fromkeys(canonical(domain) for domain in domains or ()))
    return Selection(names, tuple(status or ()), tuple(kind or ()), **more)


@app.command(
    epilog=_examples(
        "domainsched reset example.com",
        "domainsched reset --status error",
        "domainsched reset --status completed --older-than 30d --yes",
    )
)
def reset(
    ctx: typer.Context,
    domains: Domains = None,
    status: OfStatus = None,
    kind: OfKind = None,
    expired: Expired = False,
    older_than: OlderThan = None,
    everything: Everything = False,
    force: Force = False,
    clear_metadata: ClearMetadata = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Make domains pending again, attempts 0; what was found is kept.

    Conditions add up. Domains under a live lease are left alone unless --force is given.
    """
    session = _session(ctx, locals())
    age = _duration("--older-than", older_than)
    selection = _selection(domains, status, kind, expired=expired, older_than=age)
    if selection.is_empty and not everything:
        raise UsageError("no domain was named", hint="name one, or give --status, --kind or --all")
    if everything and not selection.is_empty:
        raise UsageError("--all stands alone", why="it was given together with a condition")
    how = _Reset(selection, force=force, clear=clear_metadata, yes=yes, dry_run=dry_run)
    session.execute(_reset(session, how))


def _duration(option: str, text: str | None) -> timedelta | None:
    try:
        return None if text is None else duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: unusable value {text!r}", why=str(error)) from None


@dataclass(frozen=True)
class _Reset:
    """What a reset was asked to do."""

    selection: Selection
    force: bool
    clear: bool
    yes: bool
    dry_run: bool


async def _reset(session: _Session, how: _Reset) -> None:
    from domainsched.connect import opened_table
    from domainsched.store import Store

    settings, report = session.settings, session.report
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store = Store(database, table, tenant=settings.tenant)
        reach = await store.reach(how.selection)
        number = reach.free + (reach.leased if how.force else 0)
        skipped = 0 if how.force else reach.leased
        if how.dry_run or not number:
            report.reset(number, skipped, dry_run=how.dry_run)
            return
        if not how.yes and not how.selection.names:
            _confirm_reset(report, how, number, skipped)
        done = await store.reset(how.selection, force=how.force, clear_metadata=how.clear)
    report.reset(done, skipped, dry_run=False)


def _confirm_reset(report: Report, how: _Reset, number: int, skipped: int) -> None:
    """Ask in proportion to what is at stake: y for a filter, the number itself for all."""
    kept = "What was found is forgotten." if how.clear else "Their metadata is kept."
    lines = [f"{count(number, 'domain')} will be pending again, with attempts set to 0. {kept}"]
    if skipped:
        lines.append(f"{count(skipped, 'domain')} being processed now: left alone (--force)")
    if how.selection.is_empty:
        wanted = str(number)
        lines.append("Every site will be visited again.")
        report.ask("\n".join(lines), f"Type {wanted} to go on: ", wanted)
    else:
        report.ask("\n".join(lines), "Go on? [y/N] ", "y")


@app.command(
    epilog=_examples(
        "domainsched watch",
        "domainsched watch --interval 5m --limit 100",
        "domainsched watch --until-idle --timeout 10m",
        "domainsched watch --observe",
    )
)
def watch(
    ctx: typer.Context,
    interval: Interval = None,
    limit: Limit = None,
    concurrency: Concurrency = None,
    until_idle: UntilIdle = False,
    give_up_after: GiveUpAfter = None,
    observe: Observe = False,
    allow_network: AllowNetwork = None,
    allow_private: AllowPrivate = False,
    tenant: Tenant = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Do what process does, every interval, until stopped.

    A lost database is waited for. SIGTERM ends it with exit code 0, after what is in flight.
    """
    session = _session(ctx, locals())
    patience = _duration("--timeout", give_up_after)
    session.execute(_watch(session, patience, until_idle=until_idle, observe=observe))


async def _watch(
    session: _Session, patience: timedelta | None, *, until_idle: bool, observe: bool
) -> int:
    from domainsched.connect import opened_table
    from domainsched.store import Store
    from domainsched.worker import Stop

    settings, report = session.settings, session.report
    end = None if patience is None else time.monotonic() + patience.total_seconds()
    async with opened_table(settings, session.environ, session.announce) as (database, table):
        store, stop = Store(database, table, tenant=settings.tenant), Stop()
        with _stopping(session, stop, database):
            while not stop.is_set:
                upcoming = None
                try:
                    if observe:
                        report.glimpse(await store.glance())
                    else:
                        await _round(session, database, table, stop)
                    upcoming = await store.upcoming()
                except (DatabaseError, NetworkDown) as error:
                    report.warning(f"{error.what}: {error.why}", "trying again")
                if until_idle and upcoming is not None and not upcoming.unfinished:
                    break
                if end is not None and time.monotonic() > end:
                    return ExitCode.FAILURE
                await stop.wait(_pause(settings.interval, upcoming, end))
    return 128 + stop.signal if stop.signal == signal.SIGINT else ExitCode.OK


def _pause(interval: timedelta, upcoming: Upcoming | None, end: float | None) -> timedelta:
    """Say how long to sleep: until a row falls due, at most one interval, never past the end."""
    pause = interval
    if upcoming is not None and upcoming.next_due is not None:
        pause = min(pause, max(upcoming.next_due - upcoming.now, timedelta(seconds=1)))
    if end is not None:
        pause = min(pause, timedelta(seconds=max(end - time.monotonic(), 0) + 0.01))
    return pause


@app.command(
    epilog=_examples("domainsched init --dry-run", "domainsched init", "domainsched init --yes")
)
def init(
    ctx: typer.Context,
    dry_run: DryRun = False,
    yes: Yes = False,
    lease: Lease = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Create the table, or add what an existing one lacks; nothing is ever changed or dropped.

    An existing table is only touched after its statements were shown and agreed to.
    """
    session = _session(ctx, locals())
    session.execute(_init(session, dry_run=dry_run, yes=yes))


async def _init(session: _Session, *, dry_run: bool, yes: bool) -> None:
    from domainsched import schema
    from domainsched.connect import opened

    settings, report = session.settings, session.report
    async with opened(settings, session.environ, session.announce) as place:
        found = await place.database.run(lambda: schema.find_table(place.database, place.name))
        wanted = schema.statements(found, place.name, settings.lease)
        texts = [statement.as_string().strip() + ";" for statement in wanted]
        if dry_run or not wanted:
            report.initialised(place.name.table, texts, done=False)
            return
        if found is not None and not yes:
            where = f"{found.schema}.{found.name}"
            report.ask("\n".join(texts), f"Execute this on {where}? [y/N] ", "y")
        table = await schema.init(place.database, place.name, settings.lease)
    report.initialised(f"{table.schema}.{table.name}", texts, done=True)


@app.command(epilog=_examples("domainsched demo", "domainsched demo --json"))
def demo(
    ctx: typer.Context,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    env_file: EnvFile = None,
) -> None:
    """Serve a dozen sample sites on this machine, process them, and check what was found.

    Needs no network and no database of yours, and leaves your queue untouched. Exits with 1 if
    anything differs from what is known to be right.
    """
    from domainsched.demo import demonstrate

    session = _session(ctx, locals())
    session.execute(demonstrate(session.environ, session.report))


def main() -> None:
    """Run the command line; the entry point of the `domainsched` program."""
    try:
        app(prog_name="domainsched")
    except BrokenPipeError:  # the reader of our output left: nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILURE)
    except Exception:
        sys.stderr.write("error: unexpected; this is a bug, please report it with what follows\n")
        raise
