"""A user's own fingerprints in Wappalyzer's format, and the machinery they share with our table."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched import extract_page
from domainsched.errors import ConfigError
from domainsched.extract.document import parse
from domainsched.extract.pool import ExtractionPool
from domainsched.extract.technology import literals, refused
from domainsched.extract.technology.index import index
from domainsched.extract.technology.match import hits
from domainsched.extract.technology.signs import Page as View
from domainsched.extract.technology.table import entry, own_table
from domainsched.models import Failed, Page

URL = "https://www.acme-tools.com/shop?id=1"
CATEGORIES = {
    "1": {"name": "CMS", "priority": 1},
    "12": {"name": "JavaScript frameworks", "priority": 8},
    "52": {"name": "Live chat"},
    "97": {"name": "Sorcery"},
}


def table(folder: Path, **rows: object) -> str:
    path = folder / "table.json"
    path.write_text(json.dumps({"technologies": rows, "categories": CATEGORIES}))
    return str(path)


def found(path: str, markup: str, url: str = URL, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    columns = extract_page(markup.encode(), url, named, fingerprints=path)
    technologies = columns["tech_stack"]["technologies"]
    assert isinstance(technologies, dict)
    return technologies


# --- signs ------------------------------------------------------------------------------------

SCRIPT = '<script src="https://cdn.acme.test/w-2.1.js"></script>'


@pytest.mark.parametrize(
    ("row", "markup", "version"),
    [
        ({"html": r"<!-- made by Wand ([\d.]+)\;version:\1"}, "<!-- made by wand 1.5 -->", "1.5"),
        ({"text": "waved with Wand"}, "<p>Waved <b>with</b> wand</p>", None),
        ({"scriptSrc": [r"/x\.js", r"/w-([\d.]+)\.js$\;version:\1"]}, SCRIPT, "2.1"),
        ({"script": r"cdn\.acme\.test"}, SCRIPT, None),
        ({"scripts": r"wand\(([\d.]+)\;version:\1"}, "<script>wand(3.0)</script>", "3.0"),
        ({"meta": {"Rod": r"Wand (\d)\;version:\1"}}, "<meta name=rod content='Wand 4'>", "4"),
        ({"meta": {"wand": ""}}, "<meta property=wand content=x>", None),
        ({"headers": {"Server": r"^X/([\d.]+)\;version:\1"}}, "<p>", "7.1"),
        ({"headers": {"server": ""}}, "<p>", None),
        ({"cookies": {"wand_id": ""}}, "<p>", None),
        ({"cookies": {"wand_id": r"^v(\d+)\;version:\1"}}, "<p>", "9"),
        ({"url": r"[?&]id=\d"}, "<p>", None),
        ({"dom": "#wand > p"}, "<div id=wand><p>", None),
        ({"dom": ["#nothing", ".wand, .rod"]}, "<div class='a rod'>", None),
        ({"dom": {"[data-wand]": {"exists": r"\;version:6"}}}, "<p data-wand>", "6"),
        ({"dom": {"a": {"attributes": {"href": r"/v(\d)/\;version:\1"}}}}, "<a href='/v8/'>", "8"),
        ({"dom": {"a.wand": {"attributes": {"href": ""}}}}, "<a class=wand href>x</a>", None),
        ({"dom": {"p.wand": {"text": r"Wand (\d+)\;version:\1"}}}, "<p class=wand>Wand 8</p>", "8"),
        ({"dom": [{"p.wand": {"text": "8"}}]}, "<p class=wand>Wand 8</p>", None),
        ({"html": r"wa(?:(n)|m)d\;version:\1?one:two"}, "<p>wand", "one"),
        ({"html": r"wa(?:(n)|m)d\;version:\1?one:two"}, "<p>wamd", "two"),
        ({"html": r"w([\d]+)nd(\d)?\;version:\1.\2"}, "<p>w1nd5", "1.5"),
        ({"html": r"<p\/>\u0041[^]b"}, "<p/>A\nb", None),
    ],
)  # fmt: skip
def test_each_kind_of_sign_is_read(
    tmp_path: Path, row: dict[str, Any], markup: str, version: str | None
) -> None:
    path = table(tmp_path, Wand={"cats": [97], **row})
    cookies = "a=1, wand_id=v9; path=/; expires=Wed, 01 Jan 2031 00:00:00 GMT"
    seen = found(path, markup, Server="X/7.1", Set_Cookie=cookies)
    assert seen["Wand"] == {"version": version, "categories": ["Sorcery"], "confidence": 100}
    assert "Wand" not in found(path, "<p>nothing of it", "https://other.test/")


def test_confidences_add_up_to_at_most_a_hundred(tmp_path: Path) -> None:
    signs = [r"one\;confidence:30", r"two\;confidence:30", r"three\;confidence:60"]
    path = table(tmp_path, Wand={"cats": [1], "html": signs})
    for markup, confidence in (("<p>one", 30), ("<p>one two", 60), ("<p>one two three one", 100)):
        assert found(path, markup)["Wand"]["confidence"] == confidence


def test_what_needs_a_browser_or_another_question_is_passed_over(tmp_path: Path) -> None:
    blind = {"js": {"p": ""}, "css": "p", "dns": {"TXT": "p"}, "xhr": "p", "robots": "p"}
    properties = {"dom": {"p": {"properties": {"x": ""}}}}
    path = table(tmp_path, Wand={"cats": [1], **blind}, Rod={"cats": [1], **properties})
    assert found(path, "<p>p") == {}


TWO_SCRIPTS = "<script src=/wand-1.0.js></script><script src=/rod.js></script>"


def shown(row: dict[str, Any], markup: str, **headers: str) -> list[tuple[int, str, str]]:
    """Give confidence, place and version of each sign of an entry of our own table."""
    document = parse(
        markup.encode(), URL, {name.replace("_", "-"): v for name, v in headers.items()}
    )
    found = hits(View(document), index({"Wand": entry("Wand", row)}))
    return [(hit.sign.confidence, hit.where, hit.version) for hit in found]


@pytest.mark.parametrize(
    ("row", "markup", "seen"),
    [
        ({"hosts": ["a.test"]}, "<img src='//cdn.a.test/x'>", (100, "cdn.a.test/x", "")),
        ({"hosts": ["a.test"]}, "<img src='//nota.test/x'>", None),
        ({"hosts": ["a.test"]}, "<a href='//a.test/x'>x</a>", None),
        ({"hosts": ["a.test/w/v"]}, "<img src='//a.test/W/V?x'>", (100, "a.test/w/v?x", "")),
        ({"hosts": ["a.test/w/v"]}, "<img src='//a.test/w/vanity'>", None),
        ({"hosts": ["a.test/w"]}, "<form action='https://a.test/w/'>", (100, "a.test/w/", "")),
        ({"links": ["a.test/w"]}, "<a href='//a.test/w/me'>x</a>", (50, "a.test/w/me", "")),
        ({"links": ["a.test/w"]}, "<a href='//a.test/'>x</a>", None),
        ({"files": [r"/wand-(\d[\d.]*)\.js$"]}, TWO_SCRIPTS, (100, "/wand-1.0.js", "1.0")),
        ({"files": [r"^/rod\.js"]}, TWO_SCRIPTS, (100, "/rod.js", "")),
        ({"files": [r"wand-1\.0\.js[^x]+rod"]}, TWO_SCRIPTS, None),
        ({"inline": ["Wand("]}, "<script>new Wand()</script>", (90, "new Wand()", "")),
        ({"inline": ["Wand("]}, "<script>new wand()</script><p>Wand(", None),
        ({"cookies": ["wand_"]}, "<p>", (100, "wand_7", "")),
        ({"cookies": ["and_"]}, "<p>", None),
        ({"headers": {"set-cookie": "wand"}}, "<p>", (100, "set-cookie", "")),
        ({"select": [".wand"], "confidence": {"select": 30}}, "<p class=wand>", (30, ".wand", "")),
        ({"comment": "by Wand"}, "<!-- by wand -->", (100, "by wand --", "")),
        ({"comment": "by Wand"}, "<p>by Wand</p>", None),
    ],
)
def test_our_own_signs_are_seen_where_they_are_used_and_nowhere_else(
    row: dict[str, Any], markup: str, seen: tuple[int, str, str] | None
) -> None:
    found = shown({"categories": ["CMS"], **row}, markup, set_cookie="a=1, wand_7=secret; path=/")
    assert [(percent, where.strip(), version) for percent, where, version in found] == (
        [seen] if seen else []
    )


def test_what_a_cookie_holds_is_not_told(tmp_path: Path) -> None:
    path = table(tmp_path, Wand={"cats": [1], "cookies": {"wand": "secret"}})
    columns = extract_page(b"<p>", URL, {"set-cookie": "wand=secret"}, fingerprints=path)
    assert columns["domain_metadata"]["technologies"]["Wand"]["where"] == "wand"


# --- relations --------------------------------------------------------------------------------


def test_what_is_implied_is_there_and_no_surer_than_said(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        Wand={
            "cats": [1],
            "html": r"wand\;confidence:80",
            "implies": [r"Rod\;confidence:50", "Nobody"],
        },
        Rod={"cats": [12], "implies": "Stick"},
        Stick={"cats": [1], "implies": "Wand", "website": "x"},
    )
    seen = found(path, "<p>wand")
    assert {name: row["confidence"] for name, row in seen.items()} == {
        "Rod": 50,
        "Stick": 50,
        "Wand": 80,
    }
    columns = extract_page(b"<p>wand", URL, fingerprints=path)
    assert columns["tech_stack"]["frameworks"] == ["Rod"]
    evidence = columns["domain_metadata"]["technologies"]
    assert evidence["Wand"] == {"sign": "html", "where": "<p>wand", "implied_by": None}
    assert evidence["Stick"] == {"sign": "html", "where": "<p>wand", "implied_by": "Rod"}


def test_what_is_excluded_is_not_there_nor_what_only_it_implied(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        Wand={"cats": [1], "html": "wand", "excludes": "Rod"},
        Rod={"cats": [1], "html": r"rod\;confidence:90", "implies": "Stick", "excludes": "Wand"},
        Stick={"cats": [1], "website": "x"},
    )
    assert set(found(path, "<p>rod")) == {"Rod", "Stick"}
    assert set(found(path, "<p>rod wand")) == {"Wand"}


def test_what_requires_another_or_a_category_is_there_only_with_it(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        Wand={"cats": [1], "html": "wand", "requires": "Rod"},
        Staff={"cats": [1], "html": "staff", "requiresCategory": [97]},
        Rod={"cats": [97], "html": "rod"},
        Tree={"cats": [1], "html": "tree", "implies": "Rod"},
    )
    assert found(path, "<p>wand staff") == {}
    assert set(found(path, "<p>wand staff rod")) == {"Rod", "Staff", "Wand"}
    assert set(found(path, "<p>wand tree")) == {"Rod", "Tree", "Wand"}


def test_of_what_both_tables_know_either_finds_it_and_ours_gives_name_category_and_version(
    tmp_path: Path,
) -> None:
    row = {"cats": [97], "html": r"jq-here ([\d.]+)\;version:\1", "requires": "Nobody"}
    path = table(tmp_path, jquery=row)
    ours = own_table()["jQuery"].categories
    assert found(path, "<p>jq-here 1.2.3.4")["jQuery"]["version"] == "1.2.3.4"
    both = found(path, "<p>jq-here 1.2.3.4<script src=/jquery-3.7.1.min.js></script>")
    assert both["jQuery"] == {"version": "3.7.1", "categories": list(ours), "confidence": 100}


def test_categories_have_our_names_where_they_are_the_same(tmp_path: Path) -> None:
    path = table(tmp_path, Wand={"cats": [12, 97, 4711], "html": "wand"}, Rod={"html": "wand"})
    seen = found(path, "<p>wand")
    assert seen["Wand"]["categories"] == ["JavaScript framework", "Sorcery", "Other"]
    assert seen["Rod"]["categories"] == ["Other"]


# --- files ------------------------------------------------------------------------------------


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("given", ["", "technologies", "technologies/w.json"])
def test_a_folder_its_technologies_or_one_file_may_be_given(tmp_path: Path, given: str) -> None:
    write(tmp_path / "technologies" / "w.json", {"Wand": {"cats": [97], "html": "wand"}})
    write(tmp_path / "technologies" / "r.json", {"Rod": {"cats": [1], "html": "wand"}})
    write(tmp_path / "categories.json", CATEGORIES)
    write(tmp_path / "package.json", {"name": "x"})
    seen = found(str(tmp_path / given), "<p>wand")
    assert ("Rod" in seen) == (not given.endswith(".json"))
    assert seen["Wand"]["categories"] == (["Sorcery"] if "Rod" in seen else ["Other"])


def test_the_old_form_of_the_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "apps.json", {"apps": {"Wand": {"cats": ["1"], "script": "w-"}}})
    assert "Wand" in found(str(tmp_path / "apps.json"), SCRIPT)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file or folder"),
        ("{", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ('{"a": {"b": 1}}', "there is no technology in Wappalyzer's format in it"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "table.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as error:
        refused(str(path))
    assert error.value.why == why
    assert str(path) in error.value.what


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot use the fingerprints"):
        refused(str(tmp_path))


def test_patterns_that_cannot_be_used_are_told_and_the_rest_still_works(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        Wand={"html": [r"wand(?=!)", r"(w)and\1", "wa(nd", "wand"], "dom": ["p[", "p:zzz("]},
    )
    assert sorted(refused(path)) == sorted(["wand(?=!)", r"(w)and\1", "wa(nd", "p[", "p:zzz("])
    assert "Wand" in found(path, "<p>wand")


def test_fields_of_another_form_are_passed_over(tmp_path: Path) -> None:
    odd: Any = [None, 1.5, {"x": [[]]}, [{"y": None}], True]
    rows = {
        f"Wand{at}": {
            "cats": value,
            "html": ["wand"],
            "dom": value,
            "meta": value,
            "implies": value,
        }
        for at, value in enumerate(odd)
    }
    assert len(found(table(tmp_path, **rows), "<p>wand")) == len(odd)


# --- the way to the processes -------------------------------------------------------------------


async def test_the_extraction_processes_know_them(tmp_path: Path) -> None:
    path = table(tmp_path, Wand={"cats": [97], "html": "wand"})
    page = Page(URL, 200, {}, b"<p>wand", timedelta(), "192.0.2.1")
    async with ExtractionPool(1, timeout=timedelta(seconds=30), fingerprints=path) as pool:
        columns = await pool.extract(page)
    assert not isinstance(columns, Failed)
    assert "Wand" in columns["tech_stack"]["technologies"]


def domainsched(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "domainsched", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_the_command_line_takes_them_and_warns_of_what_it_leaves_out(tmp_path: Path) -> None:
    path = table(tmp_path, Wand={"cats": [97], "html": ["wand", "x(?=y)"]})
    (tmp_path / "page.html").write_text("<p>wand")
    page = ("inspect", "--html", "page.html", "--url", "acme.test", "--json")
    answer = domainsched(*page, "--fingerprints", path, cwd=tmp_path)
    assert "Wand" in json.loads(answer.stdout)["tech_stack"]["technologies"]
    assert '"message": "some patterns of' in answer.stderr
    assert "'x(?=y)'" in answer.stderr


@pytest.mark.parametrize("command", [["process"], ["watch"], ["process", "--dry-run"]])
def test_a_command_refuses_what_is_no_table_before_it_looks_for_a_database(
    tmp_path: Path, command: list[str]
) -> None:
    answer = domainsched(*command, "--fingerprints", "nowhere", cwd=tmp_path)
    assert answer.returncode == 2
    assert "cannot use the fingerprints of nowhere" in answer.stderr


# --- laws -------------------------------------------------------------------------------------

PIECES = [
    r"\d",
    r"[\d.]",
    "[^x]",
    ".",
    r"\.",
    "a",
    "b",
    "cd",
    "/e-",
    "(?:f|gh)",
    "(ij|k)",
    "l?",
    "[m]",
    "wxyz",
    "(?:stuv)",
    "(?:nopq|/r-s)",
]
REGEXES = st.recursive(
    st.sampled_from(PIECES),
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=4).map("".join),
        st.tuples(part, part).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(part, st.sampled_from(["+", "*", "?", "{2}", "{0,2}", "+?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), REGEXES)
def test_whatever_a_regex_matches_holds_one_of_its_literals(
    data: st.DataObject, regex: str
) -> None:
    text = data.draw(st.from_regex(regex, fullmatch=True)).lower()
    needs = literals.of_regex(regex)
    assert not needs or any(need in text for need in needs)


@pytest.mark.parametrize(
    ("regex", "needs"),
    [
        (r"/jquery[.-](\d[\d.]*)\.js", {"/jquery"}),
        (r"foo(?!barbaz)", {"foo"}),
        (r"(?<=barbaz)foo", {"foo"}),
        (r"(?i)Wand|rodstick", {"wand", "rodstick"}),
        (r"wand|x", set()),
        (r"/plugins/(?:wand-pro|wand)/", {"/plugins/"}),
        (r"wand\( ?config", {"wand("}),
        (r"/plugins/wand/", {"/plugins/wand/"}),
        (r"x = {wand", {"x = {wand"}),
        (r"\x41\u0041wand[.]rod", {"wand.rod"}),
        (r"[^wand]+\w", set()),
    ],
)
def test_a_regex_needs_what_is_in_each_of_its_matches(regex: str, needs: set[str]) -> None:
    assert literals.of_regex(regex) == needs


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_may_be_read_as_a_pattern_or_a_selector(text: str) -> None:
    assert all(len(need) >= 3 for need in literals.of_regex(text) | literals.of_selector(text))


@pytest.mark.parametrize(
    ("selector", "needs"),
    [
        ("script[src*='//cdn.x.com/a.js'], .foo-bar", {"//cdn.x.com/a.js", "foo-bar"}),
        ("a:not([title='yyyy'])", set()),
        ("[data-x]:not(.zzzzz, .yyy)", {"data-x"}),
        ('meta[property="fb:app_id"]', {"fb:app_id"}),
        ("a[data-x='a,b'], b[hidden='d,e']", {"data-x", "hidden"}),
        (r"[wire\:id]", {"wire:id"}),
        (".wand-rod[data-href]", {"wand-rod"}),
        ("input[name='a[b][c]']", {"a[b][c]"}),
        ("link[href*='/x/' i]", {"/x/"}),
        ("wp-block > P", {"<wp-block"}),
        ("body, #some", set()),
        ("*", set()),
    ],
)
def test_a_selector_needs_what_stands_in_the_markup(selector: str, needs: set[str]) -> None:
    assert literals.of_selector(selector) == needs


BOMBS = {
    "one long path": b'<script src="/%s"></script>' % (b"jquery-1." * 200),
    "many paths": b"".join(
        b'<script src="/jquery-%d.x/a.b.c"></script>' % at for at in range(9999)
    ),
    "many words": b"<script>%s</script>" % (b"fbq('init' window.__NEXT_DATA__ " * 20_000),
    "many classes": b"<p class='swiper-wrapper elementor-kit-1'>" * 20_000,
    "many comments": b"<!-- This site is optimized with the Yoast SEO plugin v" * 20_000,
    "many hosts": b"".join(b"<a href='//a%d.%s'>x</a>" % (at, b"b." * 100) for at in range(3000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_page_holds_it_up(name: str) -> None:
    extract_page(b"<p>", URL)  # the table is read
    begun = time.process_time()
    extract_page(BOMBS[name], URL)
    assert time.process_time() - begun < 2


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=200),
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["set-cookie", "server", "link"]), st.text(max_size=40)),
)
def test_it_is_total_and_gives_the_same_each_time(
    markup: str, url: str, headers: dict[str, str]
) -> None:
    body = f"<script>{markup}</script><a href='{url}'><img src='{url}'>{markup}".encode(
        errors="replace"
    )
    first = extract_page(body, url, headers)
    assert first["tech_stack"] == extract_page(body, url, headers)["tech_stack"]
    assert json.dumps(first["domain_metadata"]["technologies"])
