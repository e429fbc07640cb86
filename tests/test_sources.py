"""Names in plain lines, CSV and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.errors import UsageError
from domainsched.names import MAX_LINE, RejectedLine, SourcedName
from domainsched.sources import KEYS, read_source


def lines_of(text: str) -> Iterator[str]:
    return iter(text.splitlines(keepends=True))


def read(text: str, source: str = "new.txt") -> list[tuple[str, str]]:
    """Each name, or the reason why it is none, and where it stands."""
    return [
        (entry.name if isinstance(entry, SourcedName) else entry.reason, entry.source)
        for entry in read_source(lines_of(text), source)
    ]


def names(text: str) -> list[str]:
    return [name for name, _ in read(text)]


PLAIN = ["a.test\nb.test\n", "\ufeffa.test\r\nb.test", "\n# domain,url\n a.test\n\nb.test\n"]
CSV = [
    "domain,name\na.test,A\n# c.test,B\n  # said, by whom\n#\nb.test,C\n",
    "name,url\n#1 Plumbing,a.test\n# a comment\n#2 Painting,b.test\n",
    "url,domain\na.test,\n#x,c.test\n,b.test\n",
    "domain\na.test\nb.test\n",
    "\ufeffName,Domain\r\nA,a.test\r\nB,b.test\r\n",
    'id;"URL";x\n1;https://www.a.test/p;x\n\n2;b.test;y\n',
    "Website\tname\na.test\tA\nb.test\tB\n",
    "name| website \nA|a.test\nB|b.test\n",
    '# from the fair\n\nname,website\n"A, or\nso",a.test\n"B ""b""",b.test\n',
    "domain,url\na.test,http://other.test/\n,b.test\n",
    "name,website\nA,a.test\nnone,\nshort\nB,b.test\n",
]
JSON_LINES = [
    '{"domain": "a.test"}\n# a comment\n \n  # another\n{"domain": "b.test"}\n',
    '{"domain": "a.test"}\n{"url": "https://b.test/x"}\n',
    '\ufeff {"Website": "a.test", "name": 1}\r\n\r\n{"domain": null, "url": "b.test"}\r\n',
    '\n{"domain": "a.test", "url": "http://other.test"}\n{"domain": ""}\n{"domain": "b.test"}',
]


@pytest.mark.parametrize("text", [*PLAIN, *CSV, *JSON_LINES])
def test_what_a_file_holds_is_seen_by_its_first_line(text: str) -> None:
    assert names(text) == ["a.test", "b.test"]


def test_an_empty_file_holds_no_names() -> None:
    assert [names(text) for text in ("", "\n\n", "# only a comment\n", "domain\n")] == [[]] * 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n\na.test\nbad\n", [("a.test", "f:3"), ("no dot", "f:4")]),
        ("# x\ndomain\na.test\nbad\n", [("a.test", "f:3"), ("no dot", "f:4")]),
        ('domain,x\na.test,"1\n2\n3"\nbad,4\n', [("a.test", "f:2"), ("no dot", "f:5")]),
        ('\n{"url": "a.test"}\n{"url": "bad"}\n', [("a.test", "f:2"), ("no dot", "f:3")]),
    ],
)
def test_each_entry_has_the_number_of_its_line(text: str, told: list[tuple[str, str]]) -> None:
    assert read(text, "f") == told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.test", "not JSON from character 1 on"),
        ('{"url": "a.test"', "not JSON from character 17 on"),
        ('{"url": "a.test",}', "not JSON from character 18 on"),
        ("[" * 20_000, "not JSON"),
        ('["a.test"]', "not a JSON object"),
        ("{}", "none of the keys domain, url, website"),
        ('{"name": "a.test"}', "none of the keys domain, url, website"),
        ('{"url": ["a.test"]}', "its url is not a text"),
        ('{"domain": 5, "url": "a.test"}', "its domain is not a text"),
        ('{"url": "' + "x" * MAX_LINE + '"}', "longer than 65,536 characters"),
    ],
)
def test_a_line_that_is_not_what_it_should_be_is_told_and_never_shown(
    line: str, reason: str
) -> None:
    first, told = list(read_source(lines_of(f'{{"url": "ok.test"}}\n{line}\n'), "f"))
    assert isinstance(first, SourcedName)
    assert told == RejectedLine("f:2", "…", reason)


@pytest.mark.parametrize(
    "text",
    ['[{"domain": "a.test"}]\n', '\ufeff[\n  {"domain": "a.test"}\n]\n', '\n["a.test"]', "[]"],
)
def test_a_json_array_is_refused_with_what_is_read(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read f x") as caught:
        read(text, "f x")
    assert caught.value.why == "it is a JSON array; one object a line is read"
    assert caught.value.hint == "jq -c '.[]' 'f x' | domainsched add -"
    with pytest.raises(UsageError) as caught:
        read(text, "stdin")
    assert caught.value.hint == "jq -c '.[]' | domainsched add -"


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_is_refused_with_what_reads_it(order: str) -> None:
    mark = "\ufeff".encode(order).decode(errors="surrogateescape")
    with pytest.raises(UsageError, match="cannot read f x") as caught:
        read(f"{mark}a\0.\0t\0\n", "f x")
    assert caught.value.why == "it is UTF-16; UTF-8 is read"
    assert caught.value.hint == "iconv -f UTF-16 -t UTF-8 'f x' | domainsched add -"
    with pytest.raises(UsageError) as caught:
        read(f"{mark}a\0.\0t\0\n", "stdin")
    assert caught.value.hint == "iconv -f UTF-16 -t UTF-8 | domainsched add -"


def test_brackets_alone_make_no_array() -> None:
    assert read("[::1]\na.test\n", "f") == [("an IP address", "f:1"), ("a.test", "f:2")]
    long = "[" + " " * 60_000 + "x"
    assert [reason for reason, _ in read(f"{long}\n", "f")] != []


@pytest.mark.parametrize(
    "line",
    ["7;Acme Inc.;https://acme.test/", "acme.test\tAcme Inc.", '"Acme, ""Inc.""",acme.test,'],
)
def test_the_way_that_is_shown_to_name_the_columns_leads_to_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    path = tmp_path / "-our leads.csv"
    path.write_text(f"{line}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read(path.read_text(), path.name)
    command = caught.value.hint.removeprefix("name its columns: ").removesuffix("domainsched add -")
    piped = subprocess.run(["sh", "-c", f"{command} cat"], capture_output=True, check=True)
    assert read(piped.stdout.decode(), "stdin") == [("acme.test", "stdin:2")]


@pytest.mark.parametrize("source", ["leads.csv", "LEADS.TSV"])
def test_a_csv_file_without_a_column_of_names_is_refused(source: str) -> None:
    with pytest.raises(UsageError) as caught:
        read("name,site\nA,a.test\n", source)
    assert caught.value.what == f"cannot read {source}"
    assert caught.value.why == "its first line names no column domain, url, website"
    assert caught.value.hint == "call the column of the sites domain"
    assert read("a.test\nb.test\n", source) == [
        ("a.test", f"{source}:1"),
        ("b.test", f"{source}:2"),
    ]


def test_lines_with_commas_that_are_no_csv_are_told_one_by_one() -> None:
    assert len(read("name,site\nA,a.test\n")) == 2
    assert not names("a.test,b.test\n")[0].endswith(".test")


OPEN = "a quote in the row that begins in line 2 is not closed where its field ends"


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("a.test," + "x" * (MAX_LINE + 1) + "\nb.test,y\n", "line 2 is longer than"),
        ('a.test,"never closed\n' + "b.test,y\n" * 20_000, OPEN),
        ('a.test,"never closed\nb.test,y\n', OPEN),
        ('a.test,"never closed\nb.test,y', OPEN),
        ('"a.test,never closed\nb.test,y\n', OPEN),
        ('"a.test,never closed\n', OPEN),
        ('a.test,"swallows\nb.test,"others"\nc.test,y\n', OPEN),
        ('"a.test,swallows\nb.test,y\n"c.test",z\n', OPEN),
        ('a.test,"in\norder"\n"b.test,never closed\n', OPEN.replace("2", "4")),
    ],
)
def test_csv_that_cannot_be_taken_apart_is_refused(rest: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(f"domain,x\n{rest}")
    assert caught.value.why.startswith(why)


@pytest.mark.parametrize(
    "rest",
    [
        '"A "great" firm",a.test\nB,b.test\n',  # sloppy, and it swallows nothing
        'A "great" firm,a.test\n"B",b.test',
        'A,"a.test\n"\nB,"b.test\n"',
        'A,a.test\nB,"b.test',
    ],
)
def test_quotes_that_swallow_no_row_are_taken_as_they_come(rest: str) -> None:
    assert names(f"note,url\n{rest}") == ["a.test", "b.test"]


def test_a_quote_that_is_never_closed_needs_no_memory() -> None:
    def lines() -> Iterator[str]:
        yield "domain,x\n"
        yield 'a.test,"never closed\n'
        while True:
            yield "b.test,y\n"

    tracemalloc.start()
    try:
        with pytest.raises(UsageError):
            list(read_source(lines(), "f"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


# --- laws -------------------------------------------------------------------------------------

sites = st.integers(0, 10**6).map(lambda number: f"site{number}.test")
others = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(sites, others)), st.sampled_from(KEYS), st.sampled_from(",;\t|"))
@settings(max_examples=100, deadline=None)
def test_names_come_back_from_csv_whatever_stands_beside_them(
    rows: list[tuple[str, str]], key: str, delimiter: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["note", key])
    writer.writerows((note, site) for site, note in rows)
    lines = iter(io.StringIO(text.getvalue()))  # a line ends as it does in a file
    found = [entry.name for entry in read_source(lines, "f") if isinstance(entry, SourcedName)]
    assert found == [site for site, _ in rows]


@given(st.lists(st.dictionaries(st.sampled_from([*KEYS, "x"]), st.none() | st.booleans() | others)))
@settings(max_examples=100, deadline=None)
def test_any_json_lines_are_taken_passed_over_or_told(objects: list[dict[str, object]]) -> None:
    text = "".join(f"{json.dumps(each)}\n" for each in [{"url": "a.test"}, *objects])
    entries = list(read_source(lines_of(text), "f"))
    assert 1 <= len(entries) <= len(objects) + 1
    assert all(isinstance(entry, SourcedName | RejectedLine) for entry in entries)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_at_all_is_taken_passed_over_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert len(list(read_source(lines_of(text), "leads.csv"))) <= len(text.splitlines())
