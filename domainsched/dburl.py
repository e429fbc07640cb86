"""Any database URL that people paste -> connection keywords, and a form that is safe to print.

libpq's own complaints about a connection string quote it, password included. So the string is read
here, both as URL and as `key=value` pairs, and libpq only ever sees keywords.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from domainsched.errors import ConfigError

_DEFAULTS = {
    "application_name": "domainsched",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "tcp_user_timeout": "30000",
}
_SECRETS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """Where the database is and how to speak to it; `repr` and `safe` show no secret."""

    keywords: Mapping[str, str]
    """For psycopg.connect(); never `options`, which poolers refuse or ignore, but for the
    `reference=` / `endpoint=` by which Supavisor and Neon find the tenant."""
    schema: str | None = None
    """What the URL wanted as search_path: names are to be qualified with it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Server settings that the URL wanted, to be set locally in each transaction."""
    notes: tuple[str, ...] = ()
    """What was ignored or looks like a mistake, in words."""

    @property
    def safe(self) -> str:
        """For messages: `db.internal:5432/sites as domainsched`; a socket's host is its directory.

        What the URL leaves open is shown as libpq fills it: from PGHOST, PGPORT, PGDATABASE and
        PGUSER, since a forgotten one of those is what such a message must bring to light.
        """
        hosts = (self._effective("host") or self.keywords.get("hostaddr", "")).split(",")
        ports = (self._effective("port") or "5432").split(",")
        places = [_place(*pair) for pair in zip(hosts, ports * len(hosts), strict=False)]
        dbname, user = self._effective("dbname"), self._effective("user")
        text = ",".join(places) + (f"/{dbname}" if dbname else "") + (f" as {user}" if user else "")
        return redact(text, ())  # not `secrets`: with user and password alike, nothing were left

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that `redact` must take out of any text."""
        return tuple(value for key, value in self.keywords.items() if key in _SECRETS)

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.safe})"

    def _effective(self, key: str) -> str:
        variable = "PGDATABASE" if key == "dbname" else f"PG{key.upper()}"
        return self.keywords.get(key) or os.environ.get(variable, "")


def _place(host: str, port: str) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed or 'local socket'}:{port or '5432'}"


def parse(text: str) -> DatabaseUrl:
    """Read a database URL, or a `key=value` connection string, in any of the forms people paste.

    A password that was not percent-encoded is read as SQLAlchemy's `make_url` reads it: it starts
    at the first `:`, may hold `/ ? # : %` and spaces, and `%xx` is decoded where it is valid, so
    the same URL gives the same password. But where there it ends at the first `@`, here it ends at
    the last one before the query, so it may hold `@` too.

    Raises:
        ConfigError: It cannot be read. Says what kind of thing is wrong and quotes nothing of it
            but the names of parameters.
    """
    cleaned = _clean(text)
    scheme = _SCHEME.match(cleaned)
    if scheme is None:
        return _assemble(_conninfo_pairs(cleaned))
    if scheme["name"].lower() not in _POSTGRESQL:
        raise _foreign_scheme(scheme["name"].lower())
    return _from_url(cleaned[scheme.end() :])


def from_supabase(environ: Mapping[str, str]) -> DatabaseUrl | None:
    """Read SUPABASE_POOLER_HOST, _PORT and _USER, and SUPABASE_DB_PASSWORD; None if none is set.

    Supavisor finds the project by the user's name, `postgres.<ref>`; where the `.<ref>` is missing
    it is taken from SUPABASE_URL. The dedicated pooler at `db.<ref>.supabase.co` wants none.

    Raises:
        ConfigError: Only some of them are set, or one has an unusable value.
    """
    host, user = (environ.get(f"SUPABASE_POOLER_{part}", "").strip() for part in ("HOST", "USER"))
    password = environ.get("SUPABASE_DB_PASSWORD", "")
    if not (host or user or password):
        return None
    project = environ.get("SUPABASE_URL", "").strip()
    needs_project = "." not in user and not host.startswith("db.")
    needed = {
        "SUPABASE_POOLER_HOST": host,
        "SUPABASE_POOLER_USER": user,
        "SUPABASE_DB_PASSWORD": password,
    } | ({"SUPABASE_URL": project} if user and needs_project else {})
    if missing := [name for name, value in needed.items() if not value]:
        raise ConfigError(
            "the Supabase settings are incomplete",
            why=f"missing: {', '.join(missing)}",
            hint="set them too, or only DATABASE_URL",
        )
    port = environ.get("SUPABASE_POOLER_PORT", "").strip() or "6543"
    pairs = [
        ("host", _checked("SUPABASE_POOLER_HOST", host, _HOST_NAME)),
        ("port", _checked("SUPABASE_POOLER_PORT", port, _PORT)),
        ("user", f"{user}.{_project_ref(project)}" if needs_project else user),
        ("password", password),
        ("dbname", "postgres"),
        ("sslmode", "require"),
    ]
    return _assemble(pairs)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace by `***` each secret, and whatever stands where a password stands in a URL or DSN.

    A secret is found as it is, percent-encoded in whole or in part, and as Python quotes it. One
    of fewer than three characters is only replaced where a password stands: elsewhere it would
    take every second word apart.
    """
    known = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
    for secret in known:
        text = re.sub(_any_spelling(secret), "***", text)
    return _PASSWORD_PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


# --- the text as a whole ---------------------------------------------------------------------

_LONGEST = 8192
"""Characters; what is longer is the wrong file."""

_UNUSABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_SCHEME = re.compile(r"(?P<name>[a-z][a-z0-9]*)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
_POSTGRESQL = frozenset(
    {"postgresql", "postgres", "pgsql", "postgis", "cockroachdb", "cockroach", "yugabytedb"}
)
_WELL_KNOWN = frozenset(
    {"http", "https", "mariadb", "mongodb", "mssql", "mysql", "oracle", "redis", "sqlite"}
)
_HINT = "write postgresql://user:password@host:5432/database, special characters percent-encoded"


def _refusal(why: str, hint: str = _HINT) -> ConfigError:
    return ConfigError("DATABASE_URL is not a PostgreSQL connection string", why=why, hint=hint)


def _clean(text: str) -> str:
    cleaned = text.strip("\ufeff \t\r\n")
    if cleaned[:1] in {"'", '"'} and cleaned[:1] == cleaned[-1:]:
        cleaned = cleaned[1:-1].strip()
    if not cleaned:
        raise _refusal("it is empty")
    if len(cleaned) > _LONGEST:
        raise _refusal(f"it is longer than {_LONGEST} characters")
    if _UNUSABLE.search(cleaned):
        raise _refusal("it holds a line break, a control character or a byte that is not UTF-8")
    if cleaned[:5].lower() == "jdbc:":
        hint = 'remove "jdbc:" and put user:password@ before the host'
        raise _refusal("it is a JDBC URL", hint)
    return cleaned


def _foreign_scheme(name: str) -> ConfigError:
    # only names that cannot be part of a secret are repeated
    known = f'its scheme is "{name}"' if name in _WELL_KNOWN else "its scheme is a foreign one"
    return _refusal(f"{known}, not postgresql")


# --- a URL -----------------------------------------------------------------------------------

_Pairs = Iterable[tuple[str, str]]

_PORT = re.compile(
    r"0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])", re.ASCII
)
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<name>[^\s:\[\]]*))(?::(?P<port>[^:]*))?"
)
_NEEDS_ENCODING = re.compile(r"[/?#@\s]|%(?![0-9A-Fa-f]{2})")


def _from_url(rest: str) -> DatabaseUrl:
    address, query = _split_query(rest)
    userinfo, _, location = address.rpartition("@")
    user, _, password = userinfo.partition(":")
    hosts, _, dbname = location.partition("/")
    host, port = _hosts(hosts)
    pairs = [
        ("user", _decoded(user)),
        ("password", _decoded(password)),
        ("host", host),
        ("port", port),
        ("dbname", _decoded(dbname)),
    ]
    return _assemble([*pairs, *_query_pairs(query)], _password_notes(password))


def _split_query(rest: str) -> tuple[str, str]:
    """Tell the query from a password with `?` in it, and an `@` in the query from the userinfo's.

    A `?` before the last `@` begins the query if a known parameter stands between the two;
    otherwise it belongs to the password, and the query begins after that `@`.
    """
    userinfo, at, location = rest.rpartition("@")
    for mark in re.finditer(r"\?", userinfo):
        if any(key in _RULES and value for key, value in _raw_pairs(userinfo[mark.end() :])):
            return rest[: mark.start()], rest[mark.end() :]
    location, _, query = location.partition("?")
    return userinfo + at + location, query


def _raw_pairs(query: str) -> Iterator[tuple[str, str]]:
    for piece in filter(None, query.split("&")):
        key, _, value = piece.partition("=")
        yield key.lower(), value


def _query_pairs(query: str) -> Iterator[tuple[str, str]]:
    for key, value in _raw_pairs(query):
        # as in libpq, "+" is a plus sign, but `options=-c+name=value` is what web forms make
        yield key, _decoded(value.replace("+", " ") if key == "options" else value)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass  # the refusal is raised outside: this exception holds the text
    raise _refusal("something percent-encoded in it is not UTF-8")


def _hosts(text: str) -> tuple[str, str]:
    """Split `h1:1,[::1]:2` into libpq's two lists, `h1,::1` and `1,2`."""
    found = [_HOST.fullmatch(part) for part in text.split(",")]
    matches = [match for match in found if match and _PORT.fullmatch(match["port"] or "1")]
    if len(matches) < len(found):
        raise _refusal("where host:port should be, after the last @, is something else")
    hosts = ",".join(match["address"] or _decoded(match["name"]) for match in matches)
    ports = [match["port"] or "" for match in matches]
    return hosts.strip(","), ",".join(ports) if any(ports) else ""


def _password_notes(password: str) -> list[str]:
    notes = []
    if _NEEDS_ENCODING.search(password):
        notes.append("the password has characters that should be percent-encoded")
    if password.startswith("[") and password.endswith("]"):
        notes.append("the password stands in [brackets]: is it still the dashboard's placeholder?")
    return notes


# --- key=value pairs -------------------------------------------------------------------------

_CONNINFO = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?!')(?:[^\s\\]|\\.?)*)", re.ASCII)
_ESCAPED = re.compile(r"\\(.?)")


def _conninfo_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Read libpq's connection string (PostgreSQL manual, "Keyword/Value Connection Strings")."""
    position = 0
    while position < len(text):
        match = _CONNINFO.match(text, position)
        if match is None:
            raise _refusal("it is neither a postgresql:// URL nor a list of key=value")
        quoted = match[2].startswith("'")
        yield match[1].lower(), _ESCAPED.sub(r"\1", match[2][1:-1] if quoted else match[2])
        position = match.end()


# --- what each parameter means ---------------------------------------------------------------


@dataclass
class _Draft:
    keywords: dict[str, str] = field(default_factory=dict)
    schema: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _keep(draft: _Draft, key: str, value: str) -> None:
    draft.keywords[_ALIASES.get(key, key)] = value


def _ignore(draft: _Draft, key: str, _: str) -> None:
    draft.notes.append(f"ignored {key}, which means nothing to domainsched")


def _ignore_prepared(draft: _Draft, key: str, _: str) -> None:
    draft.notes.append(f"ignored {key}: domainsched never prepares statements")


def _raise_sslmode(draft: _Draft, key: str, value: str) -> None:
    words = _SSLACCEPT if key == "sslaccept" else _SSL
    wanted = words.get(value.lower())
    if wanted is None:
        raise _refusal(f"the value of {key} is none of {', '.join(sorted(words))}")
    present = draft.keywords.get("sslmode", wanted)
    draft.keywords["sslmode"] = max(wanted, present, key=_SSLMODES.index)


def _set_schema(draft: _Draft, key: str, value: str) -> None:
    names = [name.strip().strip('"') for name in value.split(",")]
    usable = [name for name in names if name not in {"", "$user"}]
    draft.schema = usable[0] if usable else draft.schema
    if len(usable) > 1:
        draft.notes.append(f"of {key} only the first schema is used")


def _set(draft: _Draft, key: str, value: str) -> None:
    draft.settings[key] = value


def _set_statement_timeout(draft: _Draft, key: str, value: str) -> None:
    draft.settings["statement_timeout"] = f"{math.ceil(_seconds(key, value) * 1000)}ms"


def _set_connect_timeout(draft: _Draft, key: str, value: str) -> None:
    draft.keywords["connect_timeout"] = str(math.ceil(_seconds(key, value)))


def _seconds(key: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 10**6:
        raise _refusal(f"the value of {key} is not a number of seconds")
    return seconds


def _take_options(draft: _Draft, _: str, value: str) -> None:
    """Turn `-c name=value` into settings: PgBouncer refuses them at start-up, Supavisor drops them.

    What names the tenant (Supavisor's `reference=`, Neon's `endpoint=`) goes through.
    """
    kept = []
    for token in re.findall(r"(?:-c\s*)?(?:\\.|[^\s\\])+", value):
        option = _OPTION.fullmatch(token)
        if _TENANT.fullmatch(token):
            kept.append(token)
        elif option is None:
            raise _refusal("options holds something other than -c name=value")
        else:
            name = option["name"].lower().replace("-", "_")
            rule = _set_schema if name == "search_path" else _set
            rule(draft, name, _ESCAPED.sub(r"\1", option["value"]))
    if kept:
        draft.keywords["options"] = " ".join(kept)


_OPTION = re.compile(r"(?:-c\s*|--)(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.ASCII | re.DOTALL)
_TENANT = re.compile(r"(?:reference|endpoint|project)=\S+")

_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL = {
    **{mode: mode for mode in _SSLMODES},
    **dict.fromkeys(("true", "1", "on", "yes", "no-verify"), "require"),
    **dict.fromkeys(("false", "0", "off", "no"), "disable"),
}
_SSLACCEPT = {"strict": "verify-full", "accept_invalid_certs": "require"}
_ALIASES = {"database": "dbname", "username": "user"}
_MANAGED = re.compile(
    r"\.(?:supabase\.(?:com|co)|neon\.tech|rds\.amazonaws\.com|postgres\.database\.azure\.com"
    r"|cockroachlabs\.cloud|yugabyte\.cloud|aivencloud\.com|db\.ondigitalocean\.com|render\.com"
    r"|timescale\.com)\.?$",
    re.IGNORECASE,
)

_Rule = Callable[[_Draft, str, str], None]
_BY_RULE: Mapping[_Rule, str] = {
    # libpq's own (manual, "Parameter Key Words"), but for `replication`
    _keep: """
        host hostaddr port dbname database user username password passfile require_auth
        channel_binding connect_timeout client_encoding application_name
        fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
        tcp_user_timeout gssencmode krbsrvname gsslib gssdelegation service target_session_attrs
        load_balance_hosts sslnegotiation sslcompression sslcert sslkey sslkeylogfile sslpassword
        sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version
        ssl_max_protocol_version min_protocol_version max_protocol_version scram_client_key
        scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope""",
    _raise_sslmode: "sslmode ssl sslaccept",
    _take_options: "options",
    _set_schema: "schema currentschema search_path",
    _set: "statement_timeout lock_timeout idle_in_transaction_session_timeout",
    _set_statement_timeout: "command_timeout",
    _set_connect_timeout: "timeout",
    _ignore_prepared: """
        prepared_statement_cache_size statement_cache_size prepared_statement_name_func
        max_cached_statement_lifetime max_cacheable_statement_size statement_cache_capacity
        statement_cache_mode default_query_exec_mode prepare_threshold preparethreshold
        prefer_simple_protocol preferquerymode prepared_statements prepare no_prepare pgbouncer
        binary_parameters""",
    _ignore: """
        connection_limit pool pool_mode pool_size max_overflow pool_timeout pool_recycle
        pool_pre_ping poolclass max_idle_connection_lifetime socket_timeout raw_sql async_fallback
        uselibpqcompat workaround supa charset encoding unicode echo autocommit isolation_level
        reconnect adapter server_side_cursors use_native_unicode native_hstore_inspection
        use_insertmanyvalues executemany_mode executemany_batch_page_size
        executemany_values_page_size query_cache_size plan_cache_mode""",
}
_RULES = {key: rule for rule, keys in _BY_RULE.items() for key in keys.split()}


def _assemble(pairs: _Pairs, notes: Iterable[str] = ()) -> DatabaseUrl:
    draft = _Draft(notes=list(notes))
    previous = ""
    for key, value in pairs:
        if key not in _RULES:
            raise _unknown(key, value, previous)
        if "\x00" in value or (key not in _SECRETS and _UNUSABLE.search(value)):
            raise _refusal(f"the value of {key} holds a control character")
        if value:
            _RULES[key](draft, key, value)
        previous = key
    _require_tls_of_managed_hosts(draft)
    keywords = {**_DEFAULTS, **draft.keywords}
    return DatabaseUrl(keywords, draft.schema, draft.settings, tuple(draft.notes))


def _unknown(key: str, value: str, previous: str) -> ConfigError:
    """Name a misspelt key, but not what may be the rest of a password with `&` or a space in it."""
    if previous in _SECRETS or not value or not re.fullmatch(r"\w{1,40}", key):
        return _refusal("it has an unknown parameter, or a special character in the password")
    similar = difflib.get_close_matches(key, _RULES, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "correct it, or leave it out"
    return _refusal(f"unknown parameter {key}", hint)


def _require_tls_of_managed_hosts(draft: _Draft) -> None:
    hosts = draft.keywords.get("host", "").split(",")
    if any(map(_MANAGED.search, hosts)) and not os.environ.get("PGSSLMODE"):
        draft.keywords.setdefault("sslmode", "require")


# --- Supabase's separate variables -----------------------------------------------------------


def _checked(variable: str, value: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(value):
        return value
    kind = "port number" if form is _PORT else "host name"
    raise ConfigError(
        f"{variable} is not a {kind}", hint=f"correct {variable}, or set DATABASE_URL"
    )


def _project_ref(url: str) -> str:
    match = re.match(r"(?:https?://)?([a-z0-9]+)\.supabase\.(?:co|in|net)\b", url, re.IGNORECASE)
    if match is None:
        raise ConfigError(
            "SUPABASE_URL is not the address of a Supabase project",
            why="the project's reference is needed: SUPABASE_POOLER_USER has none",
            hint="write https://<reference>.supabase.co, or the user as postgres.<reference>",
        )
    return match[1].lower()


# --- redaction -------------------------------------------------------------------------------

_SHORTEST_SECRET = 3
# bounded, so that a long text without white space costs no square of its length
_USERINFO = re.compile(r"(://[^\s:/@]{0,256}:)\S{0,1024}@")
_PASSWORD_PARAMETER = re.compile(
    r"""((?:password|passwd|pwd)\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)""", re.IGNORECASE | re.DOTALL
)


def _any_spelling(secret: str) -> str:
    """Build the pattern of a secret: as Python quotes it, or each character as it is or encoded."""
    return re.escape(repr(secret)[1:-1]) + "|" + "".join(map(_character, secret))


def _character(character: str) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    plus = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|(?i:{encoded}){plus})"
