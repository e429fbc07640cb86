"""COPY of a file of names into a temporary table, then INSERT ... SELECT; nothing is checked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

INSERT = "INSERT INTO domains (domain) SELECT domain FROM new ON CONFLICT DO NOTHING"

with psycopg.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
    cursor.execute("CREATE TEMPORARY TABLE new (domain text)")
    with cursor.copy("COPY new FROM STDIN") as copy, Path(sys.argv[1]).open("rb") as file:
        while data := file.read(1 << 16):
            copy.write(data)
    cursor.execute(INSERT)
