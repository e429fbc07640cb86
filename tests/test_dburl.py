"""What people paste as DATABASE_URL, and that nothing secret in it is ever repeated."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import traceback
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domainsched.dburl import DatabaseUrl, from_supabase, parse, redact
from domainsched.errors import ConfigError

SECRET = "Zq9/Xk?7#w:50%!"
POOLER = "aws-0-eu-central-1.pooler.supabase.com"
CONTROLS = {*map(chr, range(32)), "\x7f"} - {"\t"}
passwords = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
# what may stand in a URL unencoded: "@" ends the password for SQLAlchemy, "%41" is decoded
raw_passwords = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="@%"), min_size=1
)


@pytest.fixture(autouse=True)
def _no_libpq_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)


def given_keywords(url: DatabaseUrl) -> dict[str, str]:
    """Take away what every connection gets."""
    defaults = parse("postgresql://").keywords
    return {k: v for k, v in url.keywords.items() if defaults.get(k) != v}


def why(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.what == "DATABASE_URL is not a PostgreSQL connection string"
    assert caught.value.hint
    return caught.value.why


@pytest.mark.parametrize(
    "start",
    [
        "postgresql://",
        "postgres://",
        "postgresql+asyncpg://",
        "postgresql+psycopg2://",
        "postgres+asyncpg://",
        "POSTGRESQL+AsyncPG://",
        "pgsql://",
        "cockroachdb://",
        "yugabytedb://",
        " \n'postgresql://",
        '"postgres://',
        "\ufeffpostgres://",
    ],
)
def test_any_spelling_of_the_scheme_is_the_same_database(start: str) -> None:
    end = start.strip()[0] + "\r\n" if start.strip()[0] in "'\"" else "\n"
    url = parse(f"{start}u.ref:pw@h.example:6543/sites{end}")
    assert given_keywords(url) == {
        "user": "u.ref",
        "password": "pw",
        "host": "h.example",
        "port": "6543",
        "dbname": "sites",
    }
    assert url.notes == ()


def test_every_connection_gets_a_name_and_bounds_on_waiting() -> None:
    defaults = {
        "application_name": "domainsched",
        "connect_timeout": "10",
        "keepalives": "1",
        "keepalives_idle": "30",
        "tcp_user_timeout": "30000",
    }
    assert parse("postgresql://").keywords == defaults
    named = parse("postgresql://h/db?application_name=mine&keepalives=0&connect_timeout=3")
    assert named.keywords["application_name"] == "mine"
    assert named.keywords["keepalives"] == "0"
    assert named.keywords["connect_timeout"] == "3"


@pytest.mark.parametrize(
    ("query", "sslmode"),
    [
        ("ssl=true", "require"),
        ("ssl=require", "require"),
        ("ssl=1", "require"),
        ("ssl=false", "disable"),
        ("sslmode=no-verify", "require"),
        ("sslaccept=strict", "verify-full"),
        ("sslaccept=accept_invalid_certs", "require"),
        ("sslmode=VERIFY-CA", "verify-ca"),
        ("sslmode=verify-full&ssl=true", "verify-full"),
        ("ssl=true&sslmode=verify-full", "verify-full"),
        ("ssl=disable&sslmode=prefer", "prefer"),
        ("sslmode=require&sslmode=disable", "require"),
    ],
)
def test_the_strictest_wish_for_tls_wins(query: str, sslmode: str) -> None:
    assert parse(f"postgresql://u:p@h/db?{query}").keywords["sslmode"] == sslmode


@pytest.mark.parametrize(
    ("host", "sslmode"),
    [
        (POOLER, "require"),
        ("db.abc.supabase.co", "require"),
        ("ep-x-pooler.eu.aws.neon.tech", "require"),
        ("x.eu-west-1.RDS.amazonaws.com", "require"),
        ("x.postgres.database.azure.com", "require"),
        ("localhost,x.neon.tech", "require"),
        ("h.example", None),
        ("notsupabase.com", None),
    ],
)
def test_a_managed_host_is_not_spoken_to_in_the_clear(host: str, sslmode: str | None) -> None:
    assert parse(f"postgres://u:p@{host}/db").keywords.get("sslmode") == sslmode
    assert parse(f"postgres://u:p@{host}/db?sslmode=prefer").keywords["sslmode"] == "prefer"


def test_a_stricter_pgsslmode_is_not_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert "sslmode" not in parse(f"postgres://u:p@{POOLER}/db").keywords


def test_what_concerns_prepared_statements_is_dropped_and_noted() -> None:
    query = (
        "prepared_statement_cache_size=0&statement_cache_size=0&prepared_statement_name_func=f"
        "&max_cached_statement_lifetime=0&no_prepare=true&prepare=false&pgbouncer=true"
        "&prepareThreshold=0&preferQueryMode=simple&default_query_exec_mode=exec"
        "&binary_parameters=yes"
    )
    url = parse(f"postgresql://u:p@h/db?{query}")
    assert given_keywords(url).keys() == {"user", "password", "host", "dbname"}
    assert len(url.notes) == query.count("=")
    assert url.notes[0] == (
        "ignored prepared_statement_cache_size: domainsched never prepares statements"
    )


def test_what_concerns_other_programs_is_dropped_and_noted() -> None:
    query = (
        "connection_limit=1&pool_size=5&max_overflow=9&pool_timeout=3&pool_recycle=1"
        "&pool_pre_ping=true&raw_sql=true&async_fallback=1&uselibpqcompat=true"
        "&workaround=supabase-pooler.vercel&supa=base-pooler.x&charset=utf8&echo=1"
    )
    url = parse(f"postgresql://u:p@h/db?{query}")
    assert given_keywords(url).keys() == {"user", "password", "host", "dbname"}
    assert len(url.notes) == query.count("=")
    assert url.notes[0] == "ignored connection_limit, which means nothing to domainsched"


@pytest.mark.parametrize(
    ("query", "schema"),
    [
        ("schema=app", "app"),
        ("currentSchema=app", "app"),
        ("search_path=app", "app"),
        ("options=-csearch_path%3Dapp", "app"),
        ("options=-c%20search_path%3D%22App%22", "App"),
        ("options=--search-path=app", "app"),
        ("search_path=%22$user%22,public", "public"),
        ("schema=", None),
    ],
)
def test_a_schema_is_ours_to_set(query: str, schema: str | None) -> None:
    url = parse(f"postgresql://u:p@h/db?{query}")
    assert url.schema == schema
    assert "options" not in url.keywords
    assert url.notes == ()


def test_only_the_first_of_several_schemas_is_used_and_that_is_said() -> None:
    url = parse("postgresql://h/db?search_path=app,public")
    assert url.schema == "app"
    assert url.notes == ("of search_path only the first schema is used",)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("options=-c%20statement_timeout%3D5000", {"statement_timeout": "5000"}),
        ("options=-c+statement_timeout=5s+-c+lock_timeout=1s", None),
        ("options=--statement-timeout=5s%20-clock_timeout=1s", None),
        ("options=-c%20timezone=Europe%5C%20x", {"timezone": "Europe x"}),
        ("command_timeout=1.5", {"statement_timeout": "1500ms"}),
        ("statement_timeout=15s", {"statement_timeout": "15s"}),
        ("lock_timeout=3s", {"lock_timeout": "3s"}),
    ],
)
def test_server_settings_leave_the_startup_packet(
    query: str, expected: dict[str, str] | None
) -> None:
    url = parse(f"postgresql://u:p@h/db?{query}")
    assert url.settings == (expected or {"statement_timeout": "5s", "lock_timeout": "1s"})
    assert given_keywords(url).keys() == {"user", "password", "host", "dbname"}


def test_the_option_that_names_the_tenant_stays() -> None:
    url = parse("postgresql://u:p@h/db?options=reference%3Dabc%20-c%20lock_timeout%3D1s")
    assert url.keywords["options"] == "reference=abc"
    assert url.settings == {"lock_timeout": "1s"}
    assert parse("postgres://h/d?options=endpoint%3Dep-x").keywords["options"] == "endpoint=ep-x"


def test_timeout_is_a_connect_timeout_in_whole_seconds() -> None:
    assert parse("postgresql://h/db?timeout=2.5").keywords["connect_timeout"] == "3"


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-1", "0"])
@pytest.mark.parametrize("key", ["timeout", "command_timeout"])
def test_a_timeout_that_is_no_time_is_refused(key: str, value: str) -> None:
    assert why(f"postgresql://h/db?{key}={value}") == (
        f"the value of {key} is not a number of seconds"
    )


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("postgresql:///db?host=/tmp/run&user=u", {"host": "/tmp/run", "user": "u"}),
        ("postgresql://%2Ftmp%2Frun/db", {"host": "/tmp/run"}),
        ("postgresql://u@h1:1,h2:2/db", {"user": "u", "host": "h1,h2", "port": "1,2"}),
        ("postgresql://u@h1,h2/db", {"user": "u", "host": "h1,h2"}),
        ("postgresql://u@h1:5,h2/db", {"user": "u", "host": "h1,h2", "port": "5,"}),
        ("postgresql://[::1]:5433/db", {"host": "::1", "port": "5433"}),
        ("postgresql://[::1],[fe80::1%eth0]/db", {"host": "::1,fe80::1%eth0"}),
        ("postgresql:///db?host=h+i", {"host": "h+i"}),
        ("host=h port=5433 dbname=db", {"host": "h", "port": "5433"}),
        ("host = '/tmp/r u' dbname=db", {"host": "/tmp/r u"}),
        ("postgresql://h:/db?target_session_attrs=read-write&sslrootcert=system", None),
        ("postgresql://h/wrong?database=db&username=u", {"host": "h", "user": "u"}),
        ("postgresql://u@server:p@h/db", {"user": "u@server", "host": "h", "password": "p"}),
    ],
)
def test_places_come_out_as_libpq_wants_them(text: str, keywords: dict[str, str] | None) -> None:
    more = {"host": "h", "target_session_attrs": "read-write", "sslrootcert": "system"}
    assert given_keywords(parse(text)) == {"dbname": "db", **(keywords or more)}


@pytest.mark.parametrize(
    "text", ["postgresql://u:p@h/db?sslmod=require", "host=h sslmod=require password=p"]
)
def test_an_unknown_parameter_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.why == "unknown parameter sslmod"
    assert caught.value.hint == "did you mean sslmode?"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (" '' ", "it is empty"),
        ("x" * 9000, "it is longer than 8192 characters"),
        ("jdbc:postgresql://h/db", "it is a JDBC URL"),
        ("mysql://u:p@h/db", 'its scheme is "mysql", not postgresql'),
        ("https://abc.supabase.co", 'its scheme is "https", not postgresql'),
        ("whatever://u:p@h/db", "its scheme is a foreign one, not postgresql"),
        ("u:p@h/db", "it is neither a postgresql:// URL nor a list of key=value"),
        ("host=h password='p", "it is neither a postgresql:// URL nor a list of key=value"),
        ("postgresql:/u:p@h/db", "it is neither a postgresql:// URL nor a list of key=value"),
        ("postgresql://u:secret", "where host:port should be, after the last @, is something else"),
        ("postgresql://h:65536/", "where host:port should be, after the last @, is something else"),
        ("postgresql://u:p%ff@h/db", "something percent-encoded in it is not UTF-8"),
        ("postgresql://u:p%00@h/db", "the value of password holds a control character"),
        ("postgresql://u%0a:p@h/db", "the value of user holds a control character"),
        (
            "postgresql://u:p@h/db\npostgresql://u:p@h/db",
            "it holds a line break, a control character or a byte that is not UTF-8",
        ),
        (
            "postgresql://u:\udcff@h/db",
            "it holds a line break, a control character or a byte that is not UTF-8",
        ),
        ("postgresql://h/db?options=-d5", "options holds something other than -c name=value"),
        ("postgresql://h/db?sslaccept=x", None),
    ],
)
def test_a_refusal_says_what_kind_of_thing_is_wrong(text: str, reason: str | None) -> None:
    assert why(text) == (reason or "the value of sslaccept is none of accept_invalid_certs, strict")


@settings(deadline=None, max_examples=300, database=None)
@given(passwords)
@example("p@ss:/?#%41%zz +")
def test_an_encoded_password_is_what_libpq_reads(password: str) -> None:
    text = f"postgresql://u:{quote(password, safe='')}@h:6543/db?sslmode=require"
    url = parse(text)
    assert url.keywords["password"] == password
    assert conninfo_to_dict(text).items() <= url.keywords.items()
    assert url.notes == ()


@settings(deadline=None, max_examples=300, database=None)
@given(raw_passwords)
@example("12/ab")
@example("12?ab=c")
@example("a&b=c#d")
@example("a?pool")
def test_an_unencoded_password_is_what_sqlalchemy_reads(password: str) -> None:
    text = f"postgresql+asyncpg://u.ref:{password}@h.example:6543/db?ssl=require&timeout=3"
    keywords = parse(text).keywords
    assert keywords["password"] == password
    assert (keywords["user"], keywords["host"], keywords["port"], keywords["dbname"]) == (
        "u.ref",
        "h.example",
        "6543",
        "db",
    )


def test_the_last_at_sign_before_the_query_ends_the_password() -> None:
    assert parse("postgresql://u:p@ss/w@h/db").keywords["password"] == "p@ss/w"
    assert parse("postgresql://u:p?s@s?w@h/db").keywords["password"] == "p?s@s?w"
    url = parse("postgresql://u:p@h/db?application_name=me@home")
    assert (url.keywords["password"], url.keywords["host"]) == ("p", "h")
    assert url.keywords["application_name"] == "me@home"


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b", "a b", "a@b", "50%", "%zz"])
def test_an_unencoded_password_is_noted_without_being_quoted(password: str) -> None:
    url = parse(f"postgresql://u:{password}@h/db")
    assert url.keywords["password"] == password
    assert url.notes == ("the password has characters that should be percent-encoded",)


def test_a_password_in_brackets_looks_like_a_placeholder() -> None:
    (note,) = parse("postgresql://postgres:[YOUR-PASSWORD]@h/db").notes
    assert "placeholder" in note


@settings(deadline=None, max_examples=300, database=None)
@given(passwords, st.sampled_from(["host=h password={} port=1", "password = {}\thost='h' port =1"]))
def test_a_connection_string_is_read_as_libpq_reads_it(password: str, form: str) -> None:
    quoted = "'" + password.replace("\\", "\\\\").replace("'", "\\'") + "'"
    text = form.format(quoted)
    if any(c in password for c in CONTROLS):
        assert "control character" in why(text)
    else:
        assert given_keywords(parse(text)) == conninfo_to_dict(text)


@settings(deadline=None, max_examples=300, database=None)
@given(st.text("ab= '\\\t\xa0", max_size=12))
def test_any_garble_of_quotes_is_libpqs_value_or_a_refusal(garble: str) -> None:
    text = f"host=h dbname={garble}|"
    try:
        expected = {**parse("host=h").keywords, **conninfo_to_dict(text)}
    except Exception:  # noqa: BLE001 - whatever libpq says, we refuse
        with pytest.raises(ConfigError):
            parse(text)
    else:
        assert parse(text).keywords == expected


def test_the_keywords_are_ones_that_psycopg_takes() -> None:
    url = parse(f"postgres://u:{quote(SECRET, safe='')}@h/db?options=reference%3Dx&ssl=true")
    assert conninfo_to_dict(make_conninfo("", **url.keywords)) == url.keywords


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (
            "postgresql+asyncpg://domainsched:pw@db.internal:5432/sites",
            "db.internal:5432/sites as domainsched",
        ),
        ("postgresql://u:pw@db.internal/sites", "db.internal:5432/sites as u"),
        ("postgresql://u@[::1]:5433/sites", "[::1]:5433/sites as u"),
        ("postgresql://u@h1:1,h2:2/sites", "h1:1,h2:2/sites as u"),
        ("postgresql://u@h1,h2/sites", "h1:5432,h2:5432/sites as u"),
        ("postgresql://h1:5,h2", "h1:5,h2:5432"),
        ("host=/run/pg port=5433 dbname=sites user=u", "/run/pg:5433/sites as u"),
        ("hostaddr=10.0.0.1 dbname=sites", "10.0.0.1:5432/sites"),
        ("postgresql:///sites", "local socket:5432/sites"),
        ("dbname=sites", "local socket:5432/sites"),
    ],
)
def test_the_safe_form_says_where_and_as_whom(text: str, safe: str) -> None:
    assert parse(text).safe == safe
    assert repr(parse(text)) == f"DatabaseUrl({safe})"


def test_a_password_that_is_also_the_user_leaves_the_safe_form_readable() -> None:
    assert parse("postgresql://postgres:postgres@h/postgres").safe == "h:5432/postgres as postgres"


def test_the_safe_form_shows_what_libpq_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"HOST": "h", "PORT": "1", "DATABASE": "db", "USER": "u"}.items():
        monkeypatch.setenv(f"PG{key}", value)
    assert parse("postgresql://").safe == "h:1/db as u"
    assert parse("postgresql://x:2/y").safe == "x:2/y as u"


MALFORMED = [
    "{}",
    "u:{}",
    "u:{}@h/db",
    "//u:{}@h/db",
    "postgresql:u:{}@h/db",
    "postgresql:/u:{}@h/db",
    "postgresql//u:{}@h/db?sslmode=require",
    "postgresql://u:{}",
    "postgresql://u:12?{}",
    "postgresql://u:{}@h:port/db",
    "postgresql://u:{}@h:99999/db",
    "postgresql://u:{}@h:5432:5432/db",
    "postgresql://u:{}@[::1/db",
    "postgresql://u:{}@h h/db",
    "postgresql://u:{}@h/db?sslmod=require",
    "postgresql://u:{}@h/db?ssl=perhaps",
    "postgresql://u:{}@h/db?options=-d",
    "postgresql://u:{}@h/db%ff",
    "postgresql://u:%ff{}@h/db",
    "postgresql://h/db?user=u&password={}&",
    "postgresql://h/db?user=u&password=x&{}=1",
    "postgresql://h/db?user=u&password=x&{}",
    "jdbc:postgresql://h/db?user=u&password={}",
    "mysql://u:{}@h/db",
    "{}://u:{}@h/db",
    "https://u:{}@abc.supabase.co",
    "host=h password={} x",
    "host=h password=x {}",
    "host=h password=x {}=1",
    "host=h password='{}",
    "host=h password='x'{}'",
    "host=h pasword={}",
    "host=h sslpassword={} sslmode=perhaps",
    "DATABASE_URL=postgresql://u:{}@h/db",
]


def said_of(text: str, *, even_if_read: bool) -> str:
    try:
        shown = repr(parse(text))
    except ConfigError as refusal:
        chain = traceback.format_exception(refusal, chain=True)
        quoting_nothing = [repr(refusal.__cause__), repr(refusal.__context__)]
        return " ".join([refusal.what, refusal.why, refusal.hint, *quoting_nothing, *chain])
    return shown if even_if_read else ""


@settings(deadline=None, max_examples=600, database=None)
@given(
    st.sampled_from(MALFORMED),
    st.sampled_from(["Zq9Xk7w", SECRET, "Zq 9'Xkw", "Zq&9Xk=7", "\\Zq9Xk'", "Zq@9Xk", "1?Zq9Xk"]),
    st.sampled_from([str, lambda s: quote(s, safe=""), lambda s: quote(s).lower()]),
    st.text(st.characters(codec="utf-8", exclude_characters="{"), max_size=3),
    st.integers(min_value=0),
)
@example("postgresql://u:{}@h:port/db", SECRET, str, "", 0)
@example("host=h\\ password={}", "Zq9Xk7w", str, "", 0)
@example("postgresql://h/db?user=u&password={}&x", "Zq@9Xk", str, "", 0)
@example("postgresql://h/db?user=u&password=Zq@{}&x", "9Xk7w", str, "", 0)
def test_no_refusal_repeats_the_password(
    form: str, secret: str, spelling: type[str], dirt: str, where: int
) -> None:
    spelt = spelling(secret)
    place = where % (len(form) + 1)
    text = (form[:place] + dirt + form[place:]).replace("{}", spelt)
    # dirt may make a good URL of it, in which the secret is a host: "postgresql://u:,{}"
    shown = said_of(text, even_if_read=not dirt)
    assert secret not in shown
    assert spelt not in shown
    if "@" not in spelt:  # "u:one@two" is a good URL of the host "two"
        assert not [piece for piece in re.findall(r"\w{3,}", secret) if piece in shown]


@settings(deadline=None, max_examples=300, database=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for form in (text, f"postgresql://{text}", f"password={text}"):
        with contextlib.suppress(ConfigError):
            parse(form)


def supabase(**changes: str) -> dict[str, str]:
    return {
        "SUPABASE_POOLER_HOST": POOLER,
        "SUPABASE_POOLER_PORT": "6543",
        "SUPABASE_POOLER_USER": "postgres.abcdef",
        "SUPABASE_DB_PASSWORD": SECRET,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "safe"),
    [
        ({}, f"{POOLER}:6543/postgres as postgres.abcdef"),
        ({"SUPABASE_POOLER_PORT": "5432"}, f"{POOLER}:5432/postgres as postgres.abcdef"),
        ({"SUPABASE_POOLER_PORT": ""}, f"{POOLER}:6543/postgres as postgres.abcdef"),
        (
            {"SUPABASE_POOLER_USER": "postgres", "SUPABASE_URL": "https://GHIJ.supabase.co/"},
            f"{POOLER}:6543/postgres as postgres.ghij",
        ),
        (
            {"SUPABASE_URL": "https://other.supabase.co"},
            f"{POOLER}:6543/postgres as postgres.abcdef",
        ),
        (
            {"SUPABASE_POOLER_USER": "postgres", "SUPABASE_POOLER_HOST": "db.abc.supabase.co"},
            "db.abc.supabase.co:6543/postgres as postgres",
        ),
    ],
)
def test_supabases_separate_variables_make_a_url(changes: dict[str, str], safe: str) -> None:
    url = from_supabase(supabase(**changes))
    assert url is not None
    assert url.safe == safe
    assert url.keywords["password"] == SECRET
    assert url.keywords["sslmode"] == "require"
    assert url.keywords["application_name"] == "domainsched"


@pytest.mark.parametrize(
    "environ", [{}, {"SUPABASE_URL": "https://abc.supabase.co"}, {"SUPABASE_POOLER_HOST": ""}]
)
def test_without_supabases_variables_there_is_nothing_to_read(environ: dict[str, str]) -> None:
    assert from_supabase(environ) is None


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (
            {"SUPABASE_DB_PASSWORD": SECRET},
            "missing: SUPABASE_POOLER_HOST, SUPABASE_POOLER_USER",
        ),
        (supabase(SUPABASE_DB_PASSWORD=""), "missing: SUPABASE_DB_PASSWORD"),
        (supabase(SUPABASE_POOLER_USER="postgres"), "missing: SUPABASE_URL"),
    ],
)
def test_an_incomplete_set_is_an_error_that_names_the_rest(
    environ: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_supabase(environ)
    assert caught.value.what == "the Supabase settings are incomplete"
    assert caught.value.why == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_POOLER_HOST", f"postgres:{SECRET}@h"),
        ("SUPABASE_POOLER_PORT", "65536"),
        ("SUPABASE_URL", "https://example.com"),
    ],
)
def test_an_unusable_supabase_variable_is_named(name: str, value: str) -> None:
    user = "postgres" if name == "SUPABASE_URL" else "postgres.abc"
    with pytest.raises(ConfigError) as caught:
        from_supabase(supabase(SUPABASE_POOLER_USER=user, **{name: value}))
    assert caught.value.what.startswith(f"{name} is not ")
    assert SECRET not in f"{caught.value} {caught.value.why} {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        'missing "=" after "postgresql+asyncpg://u:s3cr%2Fet%40x@h/db" in connection string',
        'missing "=" after "postgresql+asyncpg://u:s3cr%2fet%40x@h/db" in connection string',
        "password=s3cr/et@x host=h",
        "it was s3cr/et@x",
        "encoded: s3cr%2Fet%40x",
        "encoded: s3cr%2fet%40x",
        "partly encoded: s3cr/et%40x",
        "connect to postgresql://u:s3cr/et@x@h/db failed",
        "redis://:s3crunknown@h",
        "password='s3cr un\\'known' host=h",
        "PGPASSWORD=s3crunknown psql",
        "https://h/?sslpassword=s3crunknown&x=1",
    ],
)
def test_redaction_finds_the_password_in_any_spelling(text: str) -> None:
    redacted = redact(text, parse("postgresql://u:s3cr%2Fet%40x@h/db").secrets)
    assert "***" in redacted
    assert "s3cr" not in redacted
    assert "et%40x" not in redacted
    assert "known" not in redacted


def test_redaction_finds_a_password_as_python_quotes_it() -> None:
    secret = "Zq9\\'\"\xa0Xk"
    assert redact(f"bad value {secret!r}", [secret]) == "bad value '***'"


def test_a_secret_that_begins_with_another_leaves_no_rest() -> None:
    assert redact("Zq9Xk7w and Zq9", ["Zq9", "Zq9Xk7w"]) == "*** and ***"


def test_redaction_leaves_the_rest_alone() -> None:
    text = "connect to postgresql://u:s3cret@h:5432/db failed: password authentication failed"
    assert redact(text, ["s3cret"]) == text.replace("s3cret", "***")
    assert redact("https://example.com:8080/a is a page", ["s3cret"]) == (
        "https://example.com:8080/a is a page"
    )


def test_a_very_short_secret_is_only_replaced_where_a_password_stands() -> None:
    assert redact("a path as postgres://a:as@a/as", ["as", "a", ""]) == (
        "a path as postgres://a:***@a/as"
    )


@settings(deadline=None, max_examples=300, database=None)
@given(
    st.lists(st.text(min_size=3, max_size=20).filter(lambda s: "*" not in s), min_size=1),
    st.lists(st.text(max_size=20)),
    st.sampled_from([str, repr, lambda s: quote(s, safe="", errors="surrogatepass")]),
)
def test_no_secret_survives_redaction(
    secrets: list[str], between: list[str], spelling: type[str]
) -> None:
    text = "".join(spelling(s) + t for s, t in zip(secrets, [*between, *secrets], strict=False))
    redacted = redact(text, secrets)
    assert not [secret for secret in secrets if secret in redacted]


def test_all_secret_parameters_are_secrets() -> None:
    url = parse("host=h password=one sslpassword=two user=three")
    assert sorted(url.secrets) == ["one", "two"]


def test_importing_the_module_does_not_load_psycopg() -> None:
    program = (
        "import sys, domainsched.dburl as d; d.parse('host=h'); print('psycopg' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
