"""From a command's parameters to its session: settings, format, and what is logged."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile
from typing import Any
from uuid import uuid4

from domainsched.config import Settings, environment, origin, scraper_api_key, unknown, utf8
from domainsched.errors import ConfigError, UsageError
from domainsched.reporting.formats import Format, asked_format
from domainsched.reporting.report import Report, Style
from domainsched.session import Session


def speaker(parameters: Mapping[str, Any]) -> Report:
    """Find somebody who speaks as the parameters say, so that even their errors are told so."""
    verbosity = -1 if parameters["quiet"] else parameters["verbose"]
    color = not (parameters["no_color"] or os.environ.get("NO_COLOR"))
    asks = parameters["json"] or parameters.get("json_lines")
    return Report(Style(Format.JSON if asks else None, verbosity, color))


def early_speaker(arguments: Sequence[str]) -> Report:
    """Find somebody who speaks as arguments wish that could not be understood altogether."""
    before = list(takewhile(lambda argument: argument != "--", arguments))
    words = {*before, *map("=".join, pairwise(before))}
    asks = words & {"--json", "--jsonl", "--format=json", "--format=jsonl"}
    color = not ("--no-color" in words or os.environ.get("NO_COLOR"))
    return Report(Style(Format.JSON if asks else None, color=color))


def started(report: Report, parameters: Mapping[str, Any]) -> Session:
    """Set up a command from its parameters: those named like settings are settings.

    Raises:
        UsageError: an option cannot be used.
        ConfigError: a setting cannot be used.
    """
    report.style = replace(report.style, format=_form(parameters))
    _refuse_bytes(parameters)
    environ = environment(os.environ, parameters["env_file"])
    settings = Settings.load(_flags(parameters), environ)
    run_id = uuid4().hex[:8]
    if "log_format" in parameters:
        report.style = replace(
            report.style,
            run_id=run_id,
            log_format=settings.log_format,
            log_level=settings.log_level,
        )
    _log_to(report)
    _warn_of_unknown(report, environ)
    if report.threshold <= logging.DEBUG:
        from domainsched.connect import secrets  # it loads psycopg

        report.secrets = (*secrets(settings, environ), *_scraper_secrets(settings))
    return Session(settings, environ, report, run_id)


def _flags(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: "true" if value is True else value
        for name, value in parameters.items()
        if name in Settings.__dataclass_fields__ and value is not False
    }


def _warn_of_unknown(report: Report, environ: Mapping[str, str]) -> None:
    """Tell of a setting that was misspelt: the default would be used in silence."""
    odd = []
    for name, near in unknown(environ).items():
        remarks = filter(None, (origin(environ, name), near and f"is it {near}?"))
        odd.append(f"{name} ({'; '.join(remarks)})" if near or origin(environ, name) else name)
    if odd:
        report.warning(
            f"no such setting: {', '.join(odd)}", "it changes nothing; .env.example lists them all"
        )


def _form(parameters: Mapping[str, Any]) -> Format | None:
    """Find the format that was asked for; `--format` comes as `form`."""
    shorthands = {"json": "json", "json_lines": "jsonl", "as_csv": "csv"}
    options = {word: parameters.get(name) for name, word in shorthands.items()}
    return asked_format({**options, "format": parameters.get("form")})


def _scraper_secrets(settings: Settings) -> tuple[str, ...]:
    try:
        key = scraper_api_key(settings)
    except ConfigError:  # it is told where the key is needed
        return ()
    return (key,) if key else ()


class _ToReport(logging.Handler):
    """Has the report write what is logged: it may hold what a site or server said.

    A warning of ours is for people; what libraries log, and a bug, is for who looks into it.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and record.name.startswith("domainsched."):
            self._report.warning(record.getMessage())
        else:
            self._report.relay(record.levelno, self.format(record))


def _log_to(report: Report) -> None:
    level = report.threshold
    if level > logging.DEBUG:  # what libraries say at INFO is no news to an operator
        level = max(level, logging.WARNING)
    logging.basicConfig(
        level=level, format="%(name)s: %(message)s", handlers=[_ToReport(report)], force=True
    )
    if level > logging.DEBUG:  # its warnings are about connections whose loss we tell in words
        logging.getLogger("psycopg").setLevel(logging.ERROR)


def _refuse_bytes(parameters: Mapping[str, Any]) -> None:
    """Refuse what no database can be asked for; domains and settings are checked where read."""
    for name in ("status", "kind", "like", "batch", "technology"):
        try:
            utf8("".join(parameters.get(name) or ()))
        except ValueError as error:
            raise UsageError(f"--{name}: unusable value", why=str(error)) from None
