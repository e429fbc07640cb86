"""Names from arguments, files and standard input."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.errors import DomainschedError, ExitCode, UsageError
from domainsched.intake import IN_MEMORY, SHOWN, Intake, read
from domainsched.names import MAX_LINE, SourcedName, canonical, read_lines


@pytest.fixture(autouse=True, scope="module")
def suffixes() -> None:
    """The list of public suffixes is read once, and not while memory is measured."""
    canonical("a.test")


def names(*arguments: str, files: tuple[str, ...] = (), stdin: str = "") -> list[str]:
    intake = read(arguments, files, io.StringIO(stdin))
    try:
        return list(intake.names())
    finally:
        intake.close()


def test_arguments_files_and_standard_input_come_together_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("https://www.c.test/path\n\n# a comment\n  D.test \n")
    second.write_text("\ufeffe.test\r\nf.test", encoding="utf-8")
    given = names("a.test", "-", "b.test", files=(str(first), str(second)), stdin="s.test\n")
    assert given == ["a.test", "b.test", "s.test", "c.test", "d.test", "e.test", "f.test"]


def test_standard_input_is_read_once_and_only_when_asked_for() -> None:
    assert names("a.test", stdin="s.test\n") == ["a.test"]
    assert names(files=("-",), stdin="s.test\n") == ["s.test"]
    assert names("-", "-", files=("-",), stdin="s.test\n") == ["s.test"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("a.test\n")
    assert names(files=(str(path), str(path))) == ["a.test"]


def test_names_may_be_gone_through_again() -> None:
    intake = read(["a.test", "b.test"], [], None)
    assert [list(intake.names()), list(intake.names())] == [["a.test", "b.test"]] * 2
    intake.close()


@pytest.mark.parametrize("stdin", [None, "closed"])
def test_closed_standard_input_is_told(stdin: str | None) -> None:
    stream = None if stdin is None else io.StringIO(stdin)
    if stream is not None:
        stream.close()
    with pytest.raises(UsageError, match="standard input is closed"):
        read(["-"], [], stream)
    read(["a.test"], [], stream).close()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UsageError) as caught:
            read(["a.test"], [str(path)], None)
        assert (caught.value.what, caught.value.why) == (f"cannot read {path}", why)


def test_standard_input_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    written = tmp_path / "written"
    with written.open("w") as write_only, pytest.raises(UsageError, match="cannot read stdin"):
        read(["-"], [], write_only)


def test_a_pipe_is_a_file_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("a.test\nb.test\n",))
    writer.start()
    assert names(files=(str(fifo),)) == ["a.test", "b.test"]
    writer.join()


def test_invalid_lines_are_counted_and_the_first_are_kept() -> None:
    lines = ["good.test", *("junk" for _ in range(SHOWN + 5))]
    intake = Intake.of(read_lines(lines, "new.txt"))
    assert (intake.accepted, intake.rejected) == (1, SHOWN + 5)
    assert intake.complaints() == [
        *(f'new.txt:{number}: "junk"  no dot' for number in range(2, SHOWN + 2)),
        "... and 5 more",
    ]
    refusal = intake.refusal()
    assert refusal.what == "25 of 26 are not domain names; nothing was added"
    assert refusal.why.splitlines() == intake.complaints()
    assert refusal.hint == "correct them, or pass --skip-invalid to add the other 1"
    intake.close()


def test_one_invalid_line_is_told_in_the_singular() -> None:
    intake = Intake.of(read_lines(["junk"], "stdin"))
    refusal = intake.refusal()
    intake.close()
    assert refusal.what == "1 of 1 is not a domain name; nothing was added"
    assert (refusal.why, refusal.hint) == ('stdin:1: "junk"  no dot', "correct it")


def test_a_million_names_need_no_more_memory_than_a_few() -> None:
    entries = (SourcedName(f"a-rather-long-name-{n}.test", "x") for n in range(200_000))
    tracemalloc.start()
    try:
        intake = Intake.of(entries)
        total = sum(1 for _ in intake.names())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    intake.close()
    assert total == 200_000
    assert peak < 3 * IN_MEMORY  # the names take six times that


def test_many_invalid_lines_need_no_memory() -> None:
    tracemalloc.start()
    try:
        intake = Intake.of(read_lines(itertools.repeat("junk", 20_000), "x"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    intake.close()
    assert intake.rejected == 20_000
    assert peak < IN_MEMORY // 2


@pytest.mark.parametrize("piece", ["a", " ", "a.test/", "\0"])
def test_a_line_without_an_end_is_one_invalid_line_and_needs_no_memory(
    tmp_path: Path, piece: str
) -> None:
    path = tmp_path / "names"
    long = piece * (16 * IN_MEMORY // len(piece))
    path.write_text(f"a.test\n{long}\nb.test\n")
    del long
    tracemalloc.start()
    try:
        intake = read([], [str(path)], None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert list(intake.names()) == ["a.test", "b.test"]
    assert intake.complaints() == [f"{path}:2: longer than {MAX_LINE:,} characters"]
    intake.close()
    assert peak < 2 * IN_MEMORY


@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_longest_line_is_read_and_a_long_comment_is_passed_over(ending: str) -> None:
    longest = "a.test/".ljust(MAX_LINE - 1, "x") + "\n"
    comment = "#".ljust(3 * MAX_LINE, "x")
    assert names("-", stdin=f"{longest}{comment}\nb.test{ending}") == ["a.test", "b.test"]


def test_bytes_that_are_not_utf8_are_called_that(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"schl\xfcssel.test\n")
    intake = read([], [str(path)], None)
    assert intake.first_rejected[0].reason == "bytes that are not UTF-8"
    intake.close()


def test_a_url_in_place_of_a_file_is_told_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        read([], ["postgresql:/u:sesame@db.test/x"], None)
    assert caught.value.what == "cannot read postgresql:***@db.test/x"


FILLS_THE_DISK = f"""
import resource
from domainsched.errors import DomainschedError
from domainsched.intake import Intake
from domainsched.names import SourcedName
resource.setrlimit(resource.RLIMIT_FSIZE, ({IN_MEMORY}, {IN_MEMORY}))
try:
    Intake.of(SourcedName(f"a-rather-long-name-{{n}}.test", "x") for n in range(100_000))
except DomainschedError as error:
    print(error.what, error.why, error.hint, int(error.exit_code), sep="|")
"""


def test_a_full_disk_is_told() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILLS_THE_DISK],
        capture_output=True,
        text=True,
        check=True,
    )
    what, why, hint, code = ended.stdout.strip().split("|")
    assert what == "cannot keep the names in a temporary file"
    assert why
    assert hint == "free space, or point TMPDIR elsewhere"
    assert int(code) == ExitCode.FAILURE
    assert ended.stderr == ""


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=20), max_size=20))
@settings(max_examples=100, deadline=None)
def test_whatever_the_lines_every_one_is_taken_passed_over_or_told(lines: list[str]) -> None:
    try:
        intake = read(["-"], [], io.StringIO("\n".join(["first.test", *lines])))
    except DomainschedError as error:  # pragma: no cover - would be the failure
        pytest.fail(str(error))
    taken = list(intake.names())
    intake.close()
    assert len(taken) == intake.accepted
    assert 1 <= intake.accepted + intake.rejected <= 1 + len(lines)
    assert all(complaint.isprintable() for complaint in intake.complaints())
