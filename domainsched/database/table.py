"""The table as domainsched sees it: its name, its columns, and what each of them can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from domainsched.errors import ConfigError
from domainsched.models import Kind

ADDED_COLUMNS: Mapping[str, str] = {
    "attempts": "integer NOT NULL DEFAULT 0",
    "due_at": "timestamptz NOT NULL DEFAULT now()",
    "claim_token": "uuid",
    "claimed_by": "text",
    "last_error": "text",
    "last_error_kind": "text",
    "title": "text",
    "description": "text",
    "language": "text",
    "favicon_url": "text",
    "logo_url": "text",
    "email_addresses": "text[]",
    "phone_numbers": "text[]",
    "facebook_url": "text",
    "twitter_url": "text",
    "linkedin_url": "text",
    "instagram_url": "text",
    "youtube_url": "text",
    "is_wordpress": "boolean",
    "wordpress_version": "text",
    "has_elementor": "boolean",
    "tech_stack": "jsonb",
    "domain_metadata": "jsonb",
}
"""What `init` adds to an existing table. None of it rewrites the table: `now()` is evaluated once,
when the column is added (PostgreSQL documentation, ALTER TABLE, Notes)."""

OPTIONAL_COLUMNS: Mapping[str, str] = {
    "batch_id": "text",
    "last_scan": "timestamptz",
    "updated_at": "timestamptz NOT NULL DEFAULT now()",
}
"""What `init` adds as well, and a table may do without, or have in a type of its own. When a row
that is there was visited nobody knows; it counts as written by `init`, which is when we met it."""

LONGEST: Mapping[str, int] = {
    "domain": 253,
    "batch_id": 20,
    "claimed_by": 100,
    "last_error": 300,
    "title": 1000,
    "description": 5000,
    "language": 35,
    "favicon_url": 2000,
    "logo_url": 2000,
    "email_addresses": 254,
    "phone_numbers": 16,
    "facebook_url": 200,
    "twitter_url": 200,
    "linkedin_url": 200,
    "instagram_url": 200,
    "youtube_url": 200,
    "wordpress_version": 30,
    "elementor_version": 30,
    "wordpress_theme": 100,
    "server_type": 300,
    "ssl_issuer": 100,
    "ssl_version": 7,
    "ip_address": 39,
    "google_analytics_id": 18,
    "google_tag_manager_id": 14,
    "copyright_year": 9,
}
"""Characters that a text may have which we store: what the column should have room for."""

KEY_COLUMNS = ("id", "domain", "status")
"""What `init` cannot add: without these it is not a table of domains."""

READING = ("SELECT",)
RIGHTS = (*READING, "INSERT", "UPDATE")
_LONGEST_NAME = 63
"""Bytes; PostgreSQL cuts longer names without a word."""

GENERATED = " (generated)"
"""Added to the type of a column that nobody can write."""

_TEXT = frozenset({"text", "character varying", "citext"})
WHOLE = frozenset({"smallint", "integer", "bigint"})
_MOMENT = frozenset({"timestamp with time zone", "timestamp without time zone"})
TYPES_OF: Mapping[str, frozenset[str]] = {
    "integer": WHOLE,
    "timestamptz": frozenset({"timestamp with time zone"}),
    "uuid": frozenset({"uuid"}),
    "text": _TEXT,
    "text[]": frozenset({"text[]", "character varying[]"}),
    "boolean": frozenset({"boolean"}),
    "jsonb": frozenset({"jsonb", "json"}),
    "list": frozenset({"text[]", "character varying[]", "jsonb", "json"}),
}
"""Which types of an existing column serve where one of the type on the left is meant."""

_LIMITED = re.compile(r"character varying\((\d+)\)")
_SHORT = re.compile(r"character(?: varying)?\((\d+)\)(?:\[\])?")


@dataclass(frozen=True)
class TableName:
    """A table's name, with its schema where one was given."""

    table: str
    schema: str | None = None

    @classmethod
    def parse(cls, text: str, *, schema: str | None = None) -> TableName:
        """Read `table` or `schema.table`; `schema` serves where `text` names none.

        Capitals count, as in SQL they do in quotes: these may be there or not.
        """
        *given, table = (re.sub('^"([^"]*)"$', r"\1", part) for part in text.split("."))
        if len(given) > 1 or not all(map(_is_plain, (*given, table))):
            raise ConfigError(
                "DOMAINSCHED_TABLE is not the name of a table",
                why=f"{text!r} is neither table nor schema.table; a name has letters, digits, _ and"
                " $, no digit first, at most 63 bytes, and capitals are taken as they are",
                hint="write DOMAINSCHED_TABLE=domains, or schema.domains",
            )
        return cls(table, given[0] if given else schema)

    @property
    def identifier(self) -> sql.Identifier:
        """For statements; without a schema, the search path decides."""
        return (
            sql.Identifier(self.schema, self.table) if self.schema else sql.Identifier(self.table)
        )


def _is_plain(name: str) -> bool:
    """Tell a name that nobody needs to quote, but for capitals, which are taken as they are."""
    return bool(re.fullmatch(r"[^\W\d][\w$]*", name)) and len(name.encode()) <= _LONGEST_NAME


@dataclass(frozen=True)
class Table:
    """A table as the catalogue has it."""

    oid: int
    schema: str
    name: str
    written: str
    """Its qualified name in words and hints, quoted where a statement needs that."""
    columns: Mapping[str, str]
    """Name to type, as `format_type` writes it: "character varying(10)"."""
    has_index: bool
    has_broken_index: bool
    """A build that was killed half-way left the index behind, invalid."""
    lacks_rights: tuple[str, ...]
    role: str
    owner: str
    is_owned: bool
    """The role may alter it: it is the owner, a member of it, or a superuser."""
    uniques: frozenset[str]
    """The columns of each unique index, sorted, with blanks between."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, for statements."""
        return sql.Identifier(self.schema, self.name)

    @property
    def missing(self) -> tuple[str, ...]:
        """What `init` would add, in words: "claim_token uuid"."""
        columns = [f"{n} {d.split()[0]}" for n, d in ADDED_COLUMNS.items() if n not in self.columns]
        return (*columns, *(() if self.has_index else ("the index of the claim",)))

    @property
    def has_tenants(self) -> bool:
        """Whether it says of a row whose it is. Of another type, that is its owner's own affair."""
        return self.columns.get("tenant_id") == "uuid"

    @property
    def unique_per_tenant(self) -> bool:
        """A tenant's domain may be another's, too; else a domain is unique in the whole table."""
        return self.has_tenants and "domain" not in self.uniques

    @property
    def is_unique(self) -> bool:
        """Whether the database itself keeps a domain from standing there twice."""
        by_tenant = self.has_tenants and "domain tenant_id" in self.uniques
        return by_tenant or "domain" in self.uniques

    @property
    def init_hint(self) -> str:
        """Tell who is to execute `init`."""
        command = "domainsched init"
        return command if self.is_owned else f'have its owner, role "{self.owner}", do: {command}'

    def is_aware(self, column: str) -> bool:
        """Whether a column of times knows their zone; those in others are UTC."""
        return not self.columns.get(column, "").endswith("without time zone")

    def now(self, column: str) -> sql.SQL:
        """Write "now" as `column` wants it: UTC where its type has no time zone."""
        if not self.is_aware(column):
            return sql.SQL("timezone('UTC', statement_timestamp())")
        return sql.SQL("statement_timestamp()")

    def moments(self, *columns: str) -> list[str]:
        """Which of the columns tell times, by their types."""
        kinds = {*_MOMENT, "date"}
        return [each for each in columns if plain_type(self.columns.get(each, "")) in kinds]

    def can_hold(self, column: str, kind: str) -> bool:
        """Whether the table has the column, for values of this kind; "any" is told by no type."""
        written = self.columns.get(column, GENERATED)
        if kind == "any":
            return not written.endswith(GENERATED)
        return plain_type(written) in TYPES_OF[kind]

    def type_of(self, column: str) -> sql.SQL:
        """Write a column's type, for casts."""
        return sql.SQL(self.columns[column].replace("%", "%%"))

    @property
    def lengths(self) -> dict[str, int]:
        """Which columns hold only short texts, and how many characters."""
        limits = {name: _LIMITED.fullmatch(kind) for name, kind in self.columns.items()}
        return {name: int(limit[1]) for name, limit in limits.items() if limit}

    @property
    def too_short(self) -> dict[str, str]:
        """Which columns cannot hold all that is stored in them, with their types."""
        limits = {name: _SHORT.fullmatch(self.columns.get(name, "")) for name in LONGEST}
        return {
            name: self.columns[name]
            for name, limit in limits.items()
            if limit and int(limit[1]) < LONGEST[name]
        }

    def stamp(self, *columns: str) -> list[sql.Composable]:
        """Write `column = now` for those of `columns` that the table has."""
        return [
            sql.SQL("{} = {}").format(sql.Identifier(column), self.now(column))
            for column in columns
            if plain_type(self.columns.get(column, "")) in _MOMENT
        ]


def is_misfit(column: str, written: str) -> bool:
    """Tell a column of our name that is for something else: no statement of ours would hold."""
    if column == "status":
        return written.endswith(GENERATED)
    limit = _LIMITED.fullmatch(written)
    if column == "last_error_kind" and limit and int(limit[1]) < max(map(len, Kind)):
        return True  # cut, it would be another kind
    return plain_type(written) not in TYPES_OF[ADDED_COLUMNS[column].split()[0]]


def plain_type(written: str) -> str:
    """Take the length out of a type."""
    return re.sub(r"\(\d+\)", "", written)


def index_of(table: str) -> str:
    """Name the index as PostgreSQL would cut it, so that it can be found again."""
    suffix = "_due_idx"
    room = _LONGEST_NAME - len(suffix)
    return table.encode()[:room].decode(errors="ignore") + suffix


def grant(table: Table, rights: Sequence[LiteralString] = RIGHTS) -> str:
    """Write the statement that gives the role these rights."""
    role = sql.Identifier(table.role).as_string()
    return f"GRANT {', '.join(rights)} ON {table.written} TO {role};"
