"""Settings: where each comes from, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from programs import Surroundings

from domainsched.config import (
    Settings,
    duration,
    environment,
    scraper_api_key,
    unknown,
    whole,
)
from domainsched.config.values import minutes, user_agent
from domainsched.connect import database_url, secrets
from domainsched.errors import ConfigError, ExitCode
from domainsched.fetch import ConnectTo

FIELDS = Settings.__dataclass_fields__
ONE, TWO, THREE = (str(UUID(int=number)) for number in (1, 2, 3))
VALUES: Mapping[str, tuple[str, str, str]] = {
    "database_url": ("postgresql://a/x", "postgresql://b/x", "postgresql://c/x"),
    "database_url_file": ("a", "b", "c"),
    "table": ("a", "b", "c"),
    "tenant": (ONE, TWO, THREE),
    "default_tenant": (ONE, TWO, THREE),
    "limit": ("0", "2", "3"),
    "concurrency": ("1", "2", "3"),
    "processes": ("11", "12", "13"),
    "timeout": ("1s", "2s", "3s"),
    "deadline": ("1m", "2m", "3m"),
    "lease": ("1h", "2h", "3h"),
    "grace": ("0", "2s", "3s"),
    "max_attempts": ("1", "2", "4"),
    "interval": ("1s", "2s", "3s"),
    "log_format": ("json", "text", "JSON"),
    "log_level": ("debug", "INFO", "error"),
    "metrics_file": ("a.prom", "/b/c.prom", "d"),
    "user_agent": ("a", "b", "c"),
    "allow_private": ("true", "1", "yes"),
    "allow_network": ("10.0.0.0/8", "fd00::/8", "10.0.0.0/8, 127.0.0.1"),
    "insecure": ("true", "on", "YES"),
    "connect_to": ("a:1:b:2", "a:3:b:4", "a:1:b:2, c:3:d:4"),
    "per_address": ("0", "1", "2"),
    "ignore_robots": ("true", "1", "yes"),
    "contact_pages": ("0", "1", "3"),
    "fingerprints": ("a", "b.json", "c/d"),
    "scraper_api": ("fallback", "always", "Always"),
    "scraper_budget": ("1", "2", "3"),
    "scraper_api_key": ("key-of-flag", "key-of-environment", "key-of-file"),
    "scraper_api_key_file": ("a", "b", "c"),
    "scraper_api_url": ("https://a/", "https://b/", "https://c/"),
    "scraper_render": ("true", "1", "yes"),
    "scraper_premium": ("true", "1", "yes"),
    "scraper_ultra_premium": ("true", "1", "yes"),
    "scraper_country": ("de", "FR", "us"),
    "scraper_retries": ("0", "2", "3"),
    "scraper_timeout": ("1s", "2s", "3s"),
}
"""For each setting three texts, of which none means its default."""
SCRAPER_KEY = "sesame-0123456789"


def loaded(name: str, flags: Mapping[str, str], environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - of any setting
    needed = {"SCRAPER_API_KEY": SCRAPER_KEY} if name == "scraper_api" else {}
    return getattr(Settings.load(flags, {**needed, **environ}), name)


# --- precedence -------------------------------------------------------------------------------


def test_each_setting_is_tried_here() -> None:
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", VALUES)
def test_a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default(
    name: str, tmp_path: Path
) -> None:
    by_flag, by_environment, by_file = VALUES[name]
    variable, parse = FIELDS[name].metadata["env"], FIELDS[name].metadata["parse"]
    path = tmp_path / "settings"
    path.write_text(f"{variable}={by_file}\n")
    alone = environment({}, path)
    both = environment({variable: by_environment}, path)
    default = loaded(name, {}, {})
    assert loaded(name, {name: by_flag}, both) == parse(by_flag) != default
    assert loaded(name, {}, both) == parse(by_environment) != default
    assert loaded(name, {}, alone) == parse(by_file) != default


@pytest.mark.parametrize("name", VALUES)
def test_an_empty_variable_counts_as_unset(name: str, tmp_path: Path) -> None:
    variable, parse = FIELDS[name].metadata["env"], FIELDS[name].metadata["parse"]
    default = loaded(name, {}, {})
    path = tmp_path / "settings"
    for empty in ("", "  "):
        assert loaded(name, {}, {variable: empty}) == default
    path.write_text(f"{variable}=\n")
    assert loaded(name, {}, environment({}, path)) == default
    path.write_text(f"{variable}={VALUES[name][2]}\n")
    assert loaded(name, {}, environment({variable: ""}, path)) == parse(VALUES[name][2])


def test_the_defaults_are_these() -> None:
    settings = Settings.load({}, {})
    assert (settings.limit, settings.concurrency, settings.max_attempts) == (10, 20, 3)
    assert settings.timeout == timedelta(seconds=30)
    assert settings.lease == timedelta(minutes=15)
    assert settings.interval == timedelta(minutes=1)
    assert settings.default_tenant == UUID("550e8400-e29b-41d4-a716-446655440000")
    assert (settings.tenant, settings.deadline) == (None, None)
    assert (settings.allow_private, settings.allow_network, settings.insecure) == (False, (), False)
    assert (settings.per_address, settings.contact_pages, settings.ignore_robots) == (4, 2, False)
    assert (settings.scraper_api, settings.scraper_budget) == ("off", 100)
    assert settings.scraper_timeout == timedelta(seconds=75)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("DOMAIN_SCHEDULER_BATCH_SIZE", "50", "limit", 50),
        ("DOMAIN_SCHEDULER_INTERVAL_MINUTES", "5", "interval", timedelta(minutes=5)),
        ("DOMAIN_PROCESSING_INTERVAL_MINUTES", "0.5", "interval", timedelta(seconds=30)),
        ("SCRAPER_API_MAX_RETRIES", "3", "scraper_retries", 2),
        ("SCRAPER_API_MAX_RETRIES", "1", "scraper_retries", 0),
        ("SCRAPER_API_MAX_RETRIES", "0", "scraper_retries", 0),
    ],
)
def test_old_names_still_work_and_give_way_to_the_new(
    variable: str, text: str, name: str, value: object
) -> None:
    assert loaded(name, {}, {variable: text}) == value
    new = {FIELDS[name].metadata["env"]: "7"}
    assert loaded(name, {}, {variable: text, **new}) == FIELDS[name].metadata["parse"]("7")
    assert loaded(name, {name: "8"}, {variable: text}) == FIELDS[name].metadata["parse"]("8")


@pytest.mark.parametrize(("text", "level"), [("WARN", 30), ("trace", None)])
def test_the_old_log_level_gives_way_to_the_new_and_is_no_error(
    text: str, level: int | None
) -> None:
    assert loaded("log_level", {}, {"LOG_LEVEL": text}) == level
    new = {"DOMAINSCHED_LOG_LEVEL": "error"}
    assert loaded("log_level", {}, {"LOG_LEVEL": text, **new}) == 40


@pytest.mark.parametrize(
    ("old", "name", "on", "off"),
    [
        ("SCRAPER_API_ENABLE_JS_RENDERING", "scraper_render", True, False),
        ("SCRAPER_API_ENABLE_PREMIUM", "scraper_premium", True, False),
        ("SCRAPER_API_ENABLE_GEOTARGETING", "scraper_country", "us", None),
    ],
)
def test_old_switches_still_work_and_give_way_to_the_new(
    old: str, name: str, *, on: object, off: object
) -> None:
    assert loaded(name, {}, {}) == off
    assert loaded(name, {}, {old: "true"}) == on
    assert loaded(name, {}, {old: "false"}) == off
    first, _, _ = VALUES[name]
    new = {FIELDS[name].metadata["env"]: first}
    assert loaded(name, {}, {old: "false", **new}) == FIELDS[name].metadata["parse"](first)


def test_the_settings_of_the_old_system_spend_nothing_until_a_mode_is_chosen(
    tmp_path: Path,
) -> None:
    path = tmp_path / "settings"
    path.write_text(
        f"SCRAPER_API_KEY={SCRAPER_KEY}\nSCRAPER_API_ENABLE_PREMIUM=true\n"
        "SCRAPER_API_ENABLE_JS_RENDERING=true\nSCRAPER_API_ENABLE_GEOTARGETING=true\n"
        "SCRAPER_API_MAX_RETRIES=3\nSCRAPER_API_COST_CONTROL_MODE=true\n"
    )
    assert Settings.load({}, environment({}, path)).scraper_api == "off"
    chosen = Settings.load({"scraper_api": "fallback"}, environment({}, path))
    assert (chosen.scraper_api, scraper_api_key(chosen)) == ("fallback", SCRAPER_KEY)
    assert (chosen.scraper_premium, chosen.scraper_render) == (True, True)
    assert (chosen.scraper_country, chosen.scraper_retries) == ("us", 2)


def test_the_process_reads_the_env_file_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOMAINSCHED_LIMIT=wrong\n")
    (tmp_path / "other").write_text("DOMAINSCHED_LIMIT=different\n")
    here = Surroundings(tmp_path)
    told = "error: DOMAINSCHED_LIMIT ({}, line 1): unusable value '{}'"
    assert told.format(".env", "wrong") in here.run("inspect").err
    assert told.format("other", "different") in here.run("inspect", "--env-file", "other").err
    named = Surroundings(tmp_path, {"DOMAINSCHED_ENV_FILE": "other"})
    assert told.format("other", "different") in named.run("inspect").err
    assert "'wrong'" in named.run("inspect", "--env-file", ".env").err
    overridden = Surroundings(tmp_path, {"DOMAINSCHED_LIMIT": "own"})
    assert "error: DOMAINSCHED_LIMIT: unusable value 'own'" in overridden.run("inspect").err


# --- what is refused --------------------------------------------------------------------------

BAD = {
    "tenant": ("not-a-uuid", "not a UUID"),
    "default_tenant": ("1234", "not a UUID"),
    "limit": ("-1", "not a whole number from 0 up"),
    "concurrency": ("0", "not a whole number from 1 up"),
    "processes": ("1.5", "not a whole number from 1 up"),
    "timeout": ("0", "must be longer than nothing"),
    "deadline": ("soon", "not a duration such as 30s, 8m, 1h30m or 2d"),
    "lease": ("1h30", "not a duration such as 30s, 8m, 1h30m or 2d"),
    "grace": ("-5s", "not a duration such as 30s, 8m, 1h30m or 2d"),
    "max_attempts": ("1234567890", "must be at most 999,999,999"),
    "interval": ("99999d", "longer than 10000 days"),
    "log_format": ("xml", "none of text, json"),
    "log_level": ("trace", "none of debug, info, warning, error"),
    "user_agent": ("bad\u2014agent", "only printable ASCII may stand in it"),
    "allow_private": ("maybe", "neither true nor false"),
    "allow_network": ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
    "insecure": ("2", "neither true nor false"),
    "per_address": ("-1", "not a whole number from 0 up"),
    "ignore_robots": ("maybe", "neither true nor false"),
    "contact_pages": ("all", "not a whole number from 0 up"),
    "scraper_api": ("sometimes", "none of off, fallback, always"),
    "scraper_budget": ("0", "not a whole number from 1 up"),
    "scraper_country": ("usa", "not a country's code of two letters"),
    "scraper_retries": ("-1", "not a whole number from 0 up"),
    "scraper_timeout": ("0", "must be longer than nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_with_the_name_of_its_flag_or_variable(name: str) -> None:
    text, why = BAD[name]
    variable = FIELDS[name].metadata["env"]
    with pytest.raises(ConfigError) as by_flag:
        Settings.load({name: text}, {variable: VALUES[name][0]})
    assert by_flag.value.what == f"--{name.replace('_', '-')}: unusable value {text!r}"
    with pytest.raises(ConfigError) as by_variable:
        Settings.load({}, {variable: text})
    assert by_variable.value.what == f"{variable}: unusable value {text!r}"
    assert by_variable.value.why == by_flag.value.why == why
    assert by_variable.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["five", "1h", "30s5", "-1", "0"])
def test_old_minutes_are_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="DOMAIN_SCHEDULER_INTERVAL_MINUTES: unusable value"):
        Settings.load({}, {"DOMAIN_SCHEDULER_INTERVAL_MINUTES": text})


def test_a_bad_value_of_an_old_name_is_told_by_that_name() -> None:
    with pytest.raises(ConfigError, match="DOMAIN_SCHEDULER_BATCH_SIZE: unusable value 'all'"):
        Settings.load({}, {"DOMAIN_SCHEDULER_BATCH_SIZE": "all"})


@pytest.mark.parametrize(
    ("timeout", "lease", "fits"),
    [("30s", "60s", True), ("30s", "59s", False), ("8m", "15m", False)],
)
def test_a_lease_must_hold_two_visits(timeout: str, lease: str, *, fits: bool) -> None:
    flags = {"timeout": timeout, "lease": lease}
    if fits:
        assert Settings.load(flags, {}).lease == duration(lease)
        return
    with pytest.raises(ConfigError, match="the lease is too short for the timeout"):
        Settings.load(flags, {})


@pytest.mark.parametrize("mode", ["off", "fallback", "always"])
def test_a_lease_must_hold_what_scraperapi_may_take_too(mode: str) -> None:
    environ = {"SCRAPER_API_KEY": SCRAPER_KEY, "DOMAINSCHED_SCRAPER_TIMEOUT": "70s"}
    flags = {"scraper_api": mode, "timeout": "30s"}
    assert Settings.load({**flags, "lease": "200s"}, environ).lease == timedelta(seconds=200)
    if mode == "off":
        assert Settings.load({**flags, "lease": "60s"}, environ).lease == timedelta(minutes=1)
        return
    with pytest.raises(ConfigError, match="the lease is too short") as caught:
        Settings.load({**flags, "lease": "199s"}, environ)
    assert "DOMAINSCHED_SCRAPER_TIMEOUT" in caught.value.hint


def test_scraperapi_needs_a_key_and_no_contradictions() -> None:
    environ = {"SCRAPER_API_KEY": SCRAPER_KEY}
    for mode in ("fallback", "always"):
        with pytest.raises(ConfigError, match=f"--scraper-api {mode} needs a key"):
            Settings.load({"scraper_api": mode}, {})
    both = {"DOMAINSCHED_SCRAPER_PREMIUM": "1", "DOMAINSCHED_SCRAPER_ULTRA_PREMIUM": "1"}
    assert Settings.load({}, environ | both).scraper_api == "off"
    with pytest.raises(ConfigError, match="premium and ultra premium exclude each other"):
        Settings.load({"scraper_api": "always"}, environ | both)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.scraperapi.com/",
        "http://127.0.0.1.evil.test/",
        "http://localhost.evil.test/",
        "https://user@api.test/",
        f"https://api.scraperapi.com/?api_key={SCRAPER_KEY}",
        "https://api.test/#x",
        "https://",
        "https://[x/",
        "https://a.test:0/",
        "https://a.test:99999/",
        "https://a.test\\@b.test/",
        "https://\u00fc.test/",
        "ftp://a.test/",
        "a.test",
    ],
)
def test_scraperapi_is_only_looked_for_where_the_key_is_safe(url: str) -> None:
    environ = {"SCRAPER_API_KEY": SCRAPER_KEY, "DOMAINSCHED_SCRAPER_API_URL": url}
    with pytest.raises(ConfigError, match=r"^DOMAINSCHED_SCRAPER_API_URL ") as caught:
        Settings.load({"scraper_api": "always"}, environ)
    assert SCRAPER_KEY not in f"{caught.value.what} {caught.value.why} {caught.value.hint}"


def test_a_url_of_scraperapi_that_holds_a_key_does_not_show_it() -> None:
    url = f"https://api.scraperapi.com/?api_key={SCRAPER_KEY}"
    assert SCRAPER_KEY not in repr(Settings.load({}, {"DOMAINSCHED_SCRAPER_API_URL": url}))


@pytest.mark.parametrize(
    "url",
    ["https://api.test:8443/v1/", "http://127.0.0.1:80/", "http://[::1]:1/", "http://localhost"],
)
def test_scraperapi_may_be_elsewhere(url: str) -> None:
    environ = {"SCRAPER_API_KEY": SCRAPER_KEY, "DOMAINSCHED_SCRAPER_API_URL": url}
    assert Settings.load({"scraper_api": "always"}, environ).scraper_api_url == url


# --- parsers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30", 30), ("1.5", 1.5), ("30s", 30), ("8m", 480), ("1h30m", 5400), ("2d", 172800),
     ("500ms", 0.5), ("1m500ms", 60.5), ("10000d", 864000000)],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@given(st.text() | st.from_regex(r"(\d{0,12}[dhms.]{0,2}){0,3}", fullmatch=True))
@hypothesis_settings(max_examples=200, deadline=None)
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        result = duration(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either way is right, and both are checked
    else:
        assert timedelta() <= result <= timedelta(days=10000)


@given(st.integers(0, 864000000))
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_number_of_seconds_means_the_same_with_and_without_its_unit(number: int) -> None:
    assert duration(str(number)) == duration(f"{number}s") == timedelta(seconds=number)


@given(st.text())
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_user_agent_never_breaks_a_header(text: str) -> None:
    try:
        sent = user_agent(text)
    except ValueError:
        return
    assert sent.encode("ascii").isascii()
    assert not set(sent) & set("\r\n\0")


def test_whole_numbers_and_minutes_have_their_bounds() -> None:
    assert whole(0)("0") == 0
    assert whole(1)("999999999") == 999999999
    assert whole(1)("0000000001") == 1
    assert minutes("90") == timedelta(hours=1.5)


def test_networks_are_read() -> None:
    settings = Settings.load({}, {"DOMAINSCHED_ALLOW_NETWORK": "10.1.0.0/16, ::1,"})
    assert settings.allow_network == (ip_network("10.1.0.0/16"), ip_network("::1/128"))


# --- .env ---------------------------------------------------------------------------------------

DOTENV = r"""
# a comment
   # another, indented
PLAIN=value
DOUBLE="two words"
SINGLE='$HOME stays, "quotes" too'
EMPTY=
QUOTES=""
export EXPORTED=yes
EQUALS='a=b=c'
HASH=a#b
INDENTED=yes
PASSWORD='p@ss w#rd%20'
"""


def test_the_file_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text(DOTENV)
    read = subprocess.run(
        ["sh", "-c", "set -a; . ./settings; env -0"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    by_shell = dict(entry.decode().split("=", 1) for entry in read.stdout.split(b"\0") if entry)
    by_us = environment({}, path)
    assert by_us == {name: by_shell[name] for name in by_us}
    assert len(by_us) == 10
    assert by_us["PASSWORD"] == "p@ss w#rd%20"


@pytest.mark.parametrize("spoiler", ["\ufeff{}", "{}\r\n", "\r\n\r\n{}", "  {}  ", "export  {}"])
def test_editors_leave_no_traces(tmp_path: Path, spoiler: str) -> None:
    path = tmp_path / "settings"
    path.write_bytes(spoiler.format("A='b c'").encode())
    assert environment({}, path) == {"A": "b c"}


@pytest.mark.parametrize("line", ["sesame", "my key=sesame", "=sesame", "1A=sesame", "A =sesame"])
def test_a_bad_line_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "settings"
    path.write_text(f"A=b\n\x0b\u2028\n# c\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        environment({}, path)
    assert caught.value.what == f"{path}: line 4 is not KEY=value"
    assert "sesame" not in caught.value.what + caught.value.why + caught.value.hint


@pytest.mark.parametrize("quoted", ["'sesame'", '"sesame"', '""', '"it\'s sesame"'])
def test_a_comment_behind_a_value_is_no_part_of_it_and_told(tmp_path: Path, quoted: str) -> None:
    path = tmp_path / "settings"
    path.write_text(f"A={quoted} # another program's\nDATABASE_URL={quoted}  # of production\n")
    with pytest.raises(ConfigError) as caught:
        environment({}, path)
    assert caught.value.what == f"{path}: line 2 has a comment behind its value"
    path.write_text("A='b'#c\nB=b # c\nC='b # c'\nD=\"it's # d\"")
    assert environment({}, path) == {"A": "'b'#c", "B": "b # c", "C": "b # c", "D": "it's # d"}


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match=f"there is no file {missing}"):
        environment({}, missing)
    with pytest.raises(ConfigError, match=f"there is no file {missing}"):
        environment({"DOMAINSCHED_ENV_FILE": str(missing)}, None)
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}"):
        environment({}, tmp_path)


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_bytes("SECRET=schl\u00fcssel".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        environment({}, path)
    assert caught.value.why == "it is not UTF-8 text"
    assert caught.value.__cause__ is None


def test_the_file_of_the_directory_need_not_be_there_and_may_be_a_virtual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment({"A": "b"}, None) == {"A": "b"}
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert environment({"A": "b"}, None) == {"A": "b"}


def test_a_directory_that_stands_where_the_file_should_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker makes one where a file to be mounted is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read \.env") as caught:
        environment({}, None)
    assert caught.value.why == "Is a directory"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("DOMAINSCHED_LIMIT=many", "DOMAINSCHED_LIMIT ({}, line 2): unusable value 'many'"),
        ("export LOG_LEVEL=x\nDOMAINSCHED_LEASE=1", "DOMAINSCHED_LEASE ({}, line 3)"),
        ("DOMAINSCHED_TABLE=postgresql://u:sesame@h/x", "DOMAINSCHED_TABLE ({}, line 2) looks"),
    ],
)
def test_an_error_names_the_line_of_the_file(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "settings"
    path.write_text(f"# mine\n{line.replace('LEASE=1', 'LEASE=soon')}\n")
    with pytest.raises(ConfigError) as caught:
        Settings.load({}, environment({}, path))
    assert caught.value.what.startswith(told.format(path))
    assert "sesame" not in caught.value.what


def test_what_the_environment_says_is_not_laid_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("DOMAINSCHED_LIMIT=5\n")
    with pytest.raises(ConfigError, match=r"^DOMAINSCHED_LIMIT: unusable value 'many'"):
        Settings.load({}, environment({"DOMAINSCHED_LIMIT": "many"}, path))


def test_an_unusable_url_is_told_with_the_file_it_stands_in(tmp_path: Path) -> None:
    path, secret = tmp_path / "settings", tmp_path / "secret"
    secret.write_text("mysql://u:sesame@db/x")
    for text, where in (
        ("\nDATABASE_URL=mysql://u:sesame@db/x", f"it stands in {path}, line 2"),
        (f"DATABASE_URL_FILE={secret}", f"it stands in DATABASE_URL_FILE {secret}"),
    ):
        path.write_text(text)
        environ = environment({}, path)
        with pytest.raises(ConfigError) as caught:
            database_url(Settings.load({}, environ), environ)
        assert caught.value.why.splitlines()[-1] == where


# --- secrets and the database's URL ---------------------------------------------------------------


def test_no_secret_shows_in_repr() -> None:
    settings = Settings.load({}, {"DATABASE_URL": "postgresql://app:sesame@db/x"})
    assert "sesame" not in repr(settings)
    assert "sesame" not in str(settings)


def test_a_url_file_that_holds_a_variable_is_told_what_to_hold(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("DATABASE_URL=postgresql://filed:sesame@db.test/x\n")
    environ = {"DATABASE_URL_FILE": str(path)}
    with pytest.raises(ConfigError, match="holds a variable") as caught:
        database_url(Settings.load({}, environ), environ)
    assert caught.value.hint == "it is to hold the URL alone, without DATABASE_URL="
    assert "sesame" not in f"{caught.value.what}{caught.value.why}"


def test_a_url_file_is_read_and_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("postgresql://filed:sesame@db.test/x\n")
    environ = {"DATABASE_URL_FILE": str(path)}
    read = database_url(Settings.load({}, environ), environ)
    assert read is not None
    assert (read.keywords["user"], read.keywords["password"]) == ("filed", "sesame")
    environ["DATABASE_URL"] = "postgresql://given@db.test/x"
    with pytest.raises(ConfigError, match="both DATABASE_URL and DATABASE_URL_FILE are set"):
        database_url(Settings.load({}, environ), environ)


def test_the_key_of_scraperapi_is_never_an_option_nor_shown(tmp_path: Path) -> None:
    settings = Settings.load({}, {"SCRAPER_API_KEY": SCRAPER_KEY})
    assert SCRAPER_KEY not in repr(settings)
    ended = Surroundings(tmp_path).run("process", "--scraper-api-key", SCRAPER_KEY)
    assert ended.code == 2
    assert "no such option" in ended.err


def test_the_key_of_scraperapi_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SCRAPER_KEY}\n")
    by_file = Settings.load({}, {"SCRAPER_API_KEY_FILE": str(path)})
    assert scraper_api_key(by_file) == SCRAPER_KEY
    assert scraper_api_key(Settings.load({}, {})) == ""
    both = {"SCRAPER_API_KEY_FILE": str(path), "SCRAPER_API_KEY": SCRAPER_KEY}
    with pytest.raises(ConfigError, match="both SCRAPER_API_KEY and SCRAPER_API_KEY_FILE are set"):
        scraper_api_key(Settings.load({}, both))


def test_a_key_of_the_environment_outvotes_the_files_key_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("SCRAPER_API_KEY_FILE=/nowhere\n")
    environ = environment({"SCRAPER_API_KEY": SCRAPER_KEY}, path)
    assert scraper_api_key(Settings.load({}, environ)) == SCRAPER_KEY


@pytest.mark.parametrize(
    "key", ["sesame", "sesame 0123456789", "sesame-\u00fc-0123456789", "s\n" * 9]
)
def test_what_cannot_be_a_key_is_refused_without_being_shown(tmp_path: Path, key: str) -> None:
    path = tmp_path / "key"
    path.write_text(key, encoding="utf-8")
    for environ in ({"SCRAPER_API_KEY": key}, {"SCRAPER_API_KEY_FILE": str(path)}):
        with pytest.raises(ConfigError, match="holds no key of ScraperAPI") as caught:
            scraper_api_key(Settings.load({}, environ))
        assert "sesame" not in f"{caught.value.what} {caught.value.why} {caught.value.hint}"


@pytest.mark.parametrize("content", [None, b"\xff", b""])
def test_an_unusable_key_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="SCRAPER_API_KEY_FILE"):
        scraper_api_key(Settings.load({}, {"SCRAPER_API_KEY_FILE": str(path)}))


@pytest.mark.parametrize("content", [None, b"", "sch\u00fcssel".encode("latin-1"), b"sesame\nopen"])
def test_an_unusable_url_file_is_told_without_its_content(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    environ = {"DATABASE_URL_FILE": str(path)}
    with pytest.raises(ConfigError) as caught:
        database_url(Settings.load({}, environ), environ)
    assert "sesame" not in caught.value.what + caught.value.why + caught.value.hint


MISPLACED = (
    "postgresql://u:sesame@db.test/x",
    "postgresql:/u:sesame@db.test/x",
    "//u:sesame@db.test/x",
    "u:ses,ame@db.test/sesame",
    "host=db.test password=sesame",
)
ELSEWHERE = (
    "DATABASE_URL_FILE",
    "DEFAULT_TENANT_ID",
    "DOMAINSCHED_ALLOW_NETWORK",
    "DOMAINSCHED_CONNECT_TO",
    "DOMAINSCHED_ENV_FILE",
    "DOMAINSCHED_HOME",
    "DOMAINSCHED_INTERVAL",
    "DOMAINSCHED_LIMIT",
    "DOMAINSCHED_PG_BIN",
    "DOMAINSCHED_TABLE",
    "DOMAINSCHED_TENANT",
    "DOMAIN_SCHEDULER_BATCH_SIZE",
)


@pytest.mark.parametrize("text", MISPLACED)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_database_url_in_another_variable_is_never_shown(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({}, environment({name: text}, None))
    error = caught.value
    assert error.what == f"{name} looks like a database's URL"
    assert "ses" not in error.what + error.why + error.hint


@pytest.mark.parametrize("path", ["/run/a:b@c", "./a:b@c", "../a:b@c", "~/a:b@c", "C:file"])
def test_a_path_may_hold_colons_and_at_signs(path: str) -> None:
    environ = environment({"DATABASE_URL_FILE": path, "DOMAINSCHED_HOME": path}, None)
    assert Settings.load({}, environ).database_url_file == path


def test_a_user_agent_may_hold_addresses_and_hides_what_may_be_a_password() -> None:
    fine = "bot/1 (+https://a.test/; bot@a.test)"
    assert Settings.load({}, {"DOMAINSCHED_USER_AGENT": fine}).user_agent == fine
    with pytest.raises(ConfigError) as caught:
        Settings.load({}, {"DOMAINSCHED_USER_AGENT": "\u00fc://u:sesame@a.test"})
    assert "sesame" not in caught.value.what


@pytest.mark.parametrize(
    "name", ["DOMAINSCHED_TABLE", "DOMAINSCHED_CONNECT_TO", "SUPABASE_DB_PASSWORD", "DATABASE_URL"]
)
def test_a_variable_that_is_not_utf8_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.load({}, environment({name: "a\udcff"}, None))


@pytest.mark.parametrize("name", ["DATABASE_URL_FILE", "DOMAINSCHED_HOME", "DOMAINSCHED_TABLE"])
def test_nul_is_refused_by_the_variables_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} holds a NUL character"):
        Settings.load({}, environment({name: "a\0b"}, None))


def test_settings_and_secrets_are_regular_files_of_bounded_size(tmp_path: Path) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    large.write_bytes(b"#" * (64 * 1024 + 1))
    for path, why in (
        (fifo, "it is not a regular file"),
        (Path("/dev/zero"), "it is not a regular file"),
        (large, "it is larger than 64 KB"),
    ):
        environ = {"DATABASE_URL_FILE": str(path)}
        with pytest.raises(ConfigError) as caught:
            environment({}, path)
        assert (caught.value.what, caught.value.why) == (f"cannot read {path}", why)
        with pytest.raises(ConfigError) as caught:
            database_url(Settings.load({}, environ), environ)
        assert caught.value.why == why
    assert environment({"A": "b"}, Path("/dev/null")) == {"A": "b"}


def test_the_passwords_that_must_not_be_said_are_known(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("postgresql://u:sesame@db.test/x")
    for environ, known in (
        ({"DATABASE_URL_FILE": str(path)}, ("sesame",)),
        ({"DATABASE_URL": "nonsense"}, ()),
        ({}, ()),
    ):
        assert secrets(Settings.load({}, environ), environ) == known


def test_supabase_settings_may_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text(
        "SUPABASE_POOLER_HOST=pooler.test\nSUPABASE_POOLER_USER=postgres.ref\n"
        "SUPABASE_DB_PASSWORD='sesame'\n"
    )
    environ = environment({}, path)
    read = database_url(Settings.load({}, environ), environ)
    assert read is not None
    assert read.safe == "pooler.test:6543/postgres as postgres.ref"


def test_a_name_in_the_file_that_is_nearly_one_of_ours_is_found(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("DATABSE_URL=x\nDATABASE_HOST=x\nSUPABASE_POOLER_HOSTS=x\nDEBUG=1\n")
    odd = {"DATABSE_URL": "DATABASE_URL", "SUPABASE_POOLER_HOSTS": "SUPABASE_POOLER_HOST"}
    assert unknown(environment({}, path)) == odd
    assert unknown(environment({"DATABASE_URL": "x"}, path)).keys() == {"SUPABASE_POOLER_HOSTS"}
    assert unknown({"DATABSE_URL": "somebody else's"}) == {}


RULES = ("a:443:b:8443", "::127.0.0.1:8080", ":::", "[::1]:80:[fd00::1]:81", "A.test:1::65535")
NO_RULES = ("a", "a:1:b", "a:1:b:2:3", "::b:65536", "a:x:b:1", "a:1:b:9999999", "::b:0")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_for_connections_that_a_visit_understands_is_a_setting(rule: str) -> None:
    rules = Settings.load({}, {"DOMAINSCHED_CONNECT_TO": f"{rule}, {rule}"}).connect_to
    assert rules == (rule, rule)
    ConnectTo.parse(rule)


@pytest.mark.parametrize("rule", NO_RULES)
def test_any_other_rule_for_connections_is_refused_at_once(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"^DOMAINSCHED_CONNECT_TO: unusable value"):
        Settings.load({}, {"DOMAINSCHED_CONNECT_TO": f"{RULES[0]},{rule}"})


def test_a_variable_that_is_no_setting_is_found_with_the_nearest_that_is() -> None:
    environ = {
        "DOMAINSCHED_CONCURENCY": "5",
        "DOMAINSCHED_DATABASE_URL": "postgresql://h/x",
        "DOMAINSCHED_ZZZ": "1",
        "DOMAINSCHED_EMPTY": "",
        "DOMAINSCHED_LIMIT": "5",
        "DOMAINS": "somebody else's",
        "LIMIT": "somebody else's",
    }
    assert unknown(environ) == {
        "DOMAINSCHED_CONCURENCY": "DOMAINSCHED_CONCURRENCY",
        "DOMAINSCHED_DATABASE_URL": "DATABASE_URL",
        "DOMAINSCHED_ZZZ": "",
    }
