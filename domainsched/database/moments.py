"""Times that PostgreSQL can hold and Python cannot: no row may be unreadable for their sake.

`infinity` and what lies after the year 9999 become the last time that Python knows, `-infinity` and
what lies before our era the first; times of day and intervals that it has no room for stay text.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from psycopg import AsyncConnection, DataError
from psycopg.abc import Buffer, Loader
from psycopg.rows import TupleRow
from psycopg.types.datetime import (
    DateLoader,
    IntervalLoader,
    TimeLoader,
    TimestampLoader,
    TimestamptzLoader,
    TimetzLoader,
)

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def read_any_time(connection: AsyncConnection[TupleRow]) -> None:
    """Have a connection read every time that a row may hold."""
    for kind, loader in _LOADERS.items():
        connection.adapters.register_loader(kind, loader)


def _is_early(data: Buffer) -> bool:
    """Tell the two ends of time apart, as PostgreSQL writes them."""
    text = bytes(data)
    return text.startswith(b"-") or text.endswith(b"BC")


class _Instant(TimestamptzLoader):
    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except DataError:
            return _FIRST if _is_early(data) else _LAST


class _Timestamp(TimestampLoader):
    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except DataError:
            return datetime.min if _is_early(data) else datetime.max  # noqa: DTZ901 - has no zone


class _Date(DateLoader):
    def load(self, data: Buffer) -> date:
        try:
            return super().load(data)
        except DataError:
            return date.min if _is_early(data) else date.max


class _Time(TimeLoader):
    def load(self, data: Buffer) -> time | str:  # type: ignore[override] # 24:00 is none of its
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


class _TimeWithZone(TimetzLoader):
    def load(self, data: Buffer) -> time | str:  # type: ignore[override] # as above
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


class _Interval(IntervalLoader):
    def load(self, data: Buffer) -> timedelta | str:  # type: ignore[override] # as above
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


_LOADERS: dict[str, type[Loader]] = {
    "timestamptz": _Instant,
    "timestamp": _Timestamp,
    "date": _Date,
    "time": _Time,
    "timetz": _TimeWithZone,
    "interval": _Interval,
}
