"""What a page yields: each fault of the predecessor, and each rule's reason, on a small page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched import extract_page
from domainsched.extract.logo import _BRAND, _ELSEWHERE, _PLACES, _TOP
from domainsched.extract.page import _is_safe, _safe

URL = "https://www.acme-tools.com/"
README = Path(__file__).parents[1] / "README.md"


def page(markup: str, url: str = URL, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return extract_page(markup.encode(), url, {"Content-Type": "text/html; charset=utf-8"} | named)


def technologies(markup: str, **headers: str) -> dict[str, Any]:
    found = page(markup, **headers)["tech_stack"]["technologies"]
    assert isinstance(found, dict)
    return found


# --- the predecessor's faults -----------------------------------------------------------------


def test_fault_01_numbers_in_paths_scripts_and_pixels_are_no_telephones() -> None:
    found = page(
        """<svg><path d="M5551234567 8005550199z"/></svg><script>var t=1700000000123</script>
        <img src="/tr?id=2025550143123"><p>Call (212) 555-0142 or +1 212-555-0142</p>
        <p>Toll free 1-800-356-9377</p><p>London +44 20 7946 0958</p><p>Berlin +49 30 901820</p>"""
    )
    assert found["phone_numbers"] == [
        "+12125550142",
        "+18003569377",
        "+442079460958",
        "+4930901820",
    ]


def test_fault_02_only_addresses_that_reach_somebody_are_kept_and_disguised_ones_are_read() -> None:
    code = bytes([0x42, *(byte ^ 0x42 for byte in b"press@acme-tools.com")]).hex()
    found = page(
        f"""<img src="logo@2x.png"><p>hero@3x.webp</p>
        <script>dsn="0123@o1.ingest.sentry.io"</script><p>0123456789abcdef01234567@sentry.io</p>
        <p>you@example.com</p><a href="mailto:%20Sales@acme-tools.com?subject=Hi">write</a>
        <p>INFO@acme-tools.com info&#64;acme-tools.com</p><p>jobs [at] acme-tools [dot] com</p>
        <a href="/cdn-cgi/l/email-protection#{code}"><span data-cfemail="{code}">x</span></a>"""
    )
    assert sorted(found["email_addresses"]) == [
        "info@acme-tools.com",
        "jobs@acme-tools.com",
        "press@acme-tools.com",
        "sales@acme-tools.com",
    ]


def test_fault_02_a_key_in_hexadecimal_is_no_telephone() -> None:
    assert page('<a data-key="a3138381435f0123456789">x</a>')["phone_numbers"] == []


def test_fault_03_shares_posts_and_lookalikes_are_no_profiles() -> None:
    found = page(
        """<a href="https://www.facebook.com/sharer/sharer.php?u=x">share</a>
        <a href="https://twitter.com/intent/tweet?text=x">tweet</a>
        <a href="https://www.linkedin.com/shareArticle?url=x">share</a>
        <a href="https://mynotinstagram.com/acme">no</a><a href="/out?to=youtube.com/acme">no</a>
        <a href="https://x.com/acmetools/status/1">a post</a>
        <footer><a href="https://x.com/acmetools">X</a></footer>
        <script type="application/ld+json">
        {"@type":"Organization","sameAs":["https://www.facebook.com/acmetools"]}</script>"""
    )
    assert found["facebook_url"] == "https://www.facebook.com/acmetools"
    assert found["twitter_url"] == "https://x.com/acmetools"
    assert [found[f"{n}_url"] for n in ("linkedin", "instagram", "youtube")] == [None] * 3


def test_fault_04_the_word_wordpress_makes_no_wordpress() -> None:
    assert (
        page("<p>We build WordPress and Elementor sites, wp-content too</p>")["is_wordpress"]
        is False
    )


def test_fault_05_a_picture_from_another_wordpress_makes_no_wordpress() -> None:
    found = page('<img src="https://other.org/wp-content/uploads/a.png">')
    assert (found["is_wordpress"], found["has_elementor"]) == (False, False)


def test_fault_06_versions_theme_and_plugins_of_a_wordpress_are_read() -> None:
    found = page(
        """<meta content='WordPress 6.4.3' name=generator><meta name="generator"
        content="Elementor 3.18.3; features: x"><meta name="generator" content="WooCommerce 8.5.2">
        <link rel=stylesheet href="/wp-content/themes/astra/style.css?ver=4.6.2">
        <link rel=stylesheet
        href="/wp-content/plugins/contact-form-7/includes/css/styles.css?ver=5.8">
        <body class="home elementor-default elementor-kit-7">"""
    )
    assert (found["is_wordpress"], found["wordpress_version"]) == (True, "6.4.3")
    assert found["has_elementor"] is True
    assert (found["elementor_version"], found["wordpress_theme"]) == ("3.18.3", "astra")
    flags = ("has_woocommerce", "has_contact_form7", "has_divi", "has_yoast_seo", "has_wpforms")
    assert [found[flag] for flag in flags] == [True, True, False, False, False]
    assert found["domain_metadata"]["wordpress"]["theme_version"] == "4.6.2"
    versions = {
        name: entry["version"] for name, entry in found["tech_stack"]["technologies"].items()
    }
    assert versions["Elementor"] == "3.18.3"
    assert versions["WooCommerce"] == "8.5.2"
    assert versions["Contact Form 7"] == "5.8"


def test_fault_07_results_do_not_change_between_processes() -> None:
    markup = "".join(f"<p>a{n}@acme-tools.com 212-555-0{n}</p>" for n in range(100, 130))
    program = (
        "import json,sys;from domainsched import extract_page;"
        "print(json.dumps(extract_page(sys.stdin.buffer.read(),sys.argv[1])))"
    )

    def run(seed: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-c", program, URL],
            input=markup.encode(),
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout

    assert run("1") == run("2") == run("3")


def test_what_passes_at_a_glance_is_as_it_would_be_cleaned() -> None:
    signs = 'a ",\\\n\x07\xa0\u200e\ud800\u3042'
    texts = ["".join(text) for length in range(5) for text in product(signs, repeat=length)]
    plain = [text for text in texts if _is_safe({"x": [None, {text: text}]})]
    assert {"", "a", "a a", "a,\u3042"} < set(plain)
    assert [text for text in plain if _safe(text) != text] == []


def test_a_place_that_says_something_of_a_logo_has_one_of_the_words_looked_for_first() -> None:
    patterns = "|".join(pattern.pattern for pattern in (_BRAND, _TOP, _ELSEWHERE))
    words = re.sub(r"\(\?<?!.*?\)|\(\?:|\)|\\b|(?<=s)\?|-\?", "", patterns).split("|")
    assert len(words) > 40
    assert [word for word in words if not _PLACES.find_matches_as_indexes(word)] == []


@pytest.mark.parametrize(
    "image",
    [
        '<div class="logo"><img src="data:image/gif;base64,R0" data-src="/img/logo.svg"></div>',
        '<img class="site-logo" src="/img/logo.svg">',
        '<header><a href="/"><img alt="Acme Tools Logo" src="/img/logo.svg"></a></header>',
        '<img src="/img/logo.svg" id="logo">',
    ],
)
def test_fault_08_the_logo_is_found_by_class_alt_home_link_and_behind_a_placeholder(
    image: str,
) -> None:
    partners = '<div class="partners"><img src="/p/logo-visa.png" alt="Visa logo"></div>'
    assert page(partners + image)["logo_url"] == "https://www.acme-tools.com/img/logo.svg"


def test_fault_09_the_icon_is_resolved_against_the_base() -> None:
    found = page('<base href="/shop/"><link rel="Shortcut ICON" href="i.png">')
    assert found["favicon_url"] == "https://www.acme-tools.com/shop/i.png"
    assert page("<p>none")["favicon_url"] == "https://www.acme-tools.com/favicon.ico"


def test_fault_10_the_title_is_the_documents_and_on_one_line() -> None:
    found = page("<svg><title>Menu icon</title></svg><head><title>\n Acme\n  Tools </title>")
    assert found["title"] == "Acme Tools"
    only_svg = '<meta property="og:title" content="Acme"><svg><title>Menu icon</title></svg>'
    assert page(only_svg)["title"] == "Acme"


def test_fault_11_an_empty_description_gives_way_and_names_may_be_in_any_case() -> None:
    both = '<meta name="Description" content=" "><meta property="OG:description" content="Tools">'
    assert page(both)["description"] == "Tools"
    assert page('<META NAME="DESCRIPTION" CONTENT="Tools">')["description"] == "Tools"
    assert page('<html xml:lang="fr">')["language"] == "fr"


def test_fault_12_a_challenge_yields_no_telephone_and_no_address() -> None:
    found = page(
        """<title>Just a moment...</title><p>Checking your browser</p><p>Ray ID: 81234567895b1f</p>
        <script>window._cf_chl_opt={cRay:'8123456789',t:'MTcwMDAwMDAwMC4w'}</script>
        <form action="/?__cf_chl_f_tk=8123456789"><input name="md" value="81234567890"></form>"""
    )
    assert (found["phone_numbers"], found["email_addresses"]) == ([], [])


def test_fault_13_what_is_no_markup_yields_nothing_but_does_not_fail() -> None:
    found = extract_page(b'{"status": "ok"}', URL, {"content-type": "application/json"})
    assert (found["title"], found["email_addresses"], found["phone_numbers"]) == (None, [], [])


def test_fault_14_a_blank_page_yields_nothing_but_its_address_of_an_icon() -> None:
    found = page("")
    filled = {name for name, value in found.items() if value} - {"tech_stack", "domain_metadata"}
    assert filled == {"favicon_url"}
    assert found["tech_stack"]["technologies"] == {}


def test_fault_15_technologies_are_told_from_words_and_lookalikes() -> None:
    lookalikes = """<script src="/js/preact.min.js"></script><a href="https://facebook.com/travelco">f</a>
    <p>Our intercommunity is adrift: Zendesk, HubSpot, Mailchimp, React and jQuery</p>"""
    assert list(technologies(lookalikes)) == ["Preact"]
    real = technologies(
        """<script src="https://code.jquery.com/jquery-3.7.1.min.js"></script>
        <script src="https://unpkg.com/vue@3.4.21/dist/vue.global.js"></script>
        <link rel=stylesheet href="https://cdn.jsdelivr.net/npm/bootstrap@5.3.2/dist/css/bootstrap.min.css">
        <script src="https://www.googletagmanager.com/gtm.js?id=GTM-A"></script>
        <script src="/_next/static/chunks/main.js"></script>"""
    )
    assert (real["jQuery"]["version"], real["Vue.js"]["version"]) == ("3.7.1", "3.4.21")
    assert real["Bootstrap"]["version"] == "5.3.2"
    assert {"Google Tag Manager", "Next.js"} <= set(real)


# --- rules ------------------------------------------------------------------------------------


def test_the_declared_language_yields_only_to_plain_words() -> None:
    italian = (
        "<p>" + "La nostra azienda non è come le altre: per noi il cliente è una persona. " * 5
    )
    assert page(f'<html lang="en">{italian}')["language"] == "it"
    assert page('<html lang="de-AT"><p>Kurz')["language"] == "de-AT"
    assert page(f"<html>{italian}")["language"] == "it"


def test_wordpress_shows_by_its_core_files_and_hosts_of_its_own_name() -> None:
    script = '<script src="https://cdn.acme-tools.net/wp-includes/js/wp-embed.min.js?ver=5.2.1">'
    found = page(script)
    assert (found["is_wordpress"], found["wordpress_version"]) == (True, "5.2.1")
    plugin = '<meta name=generator content="WordPress Download Manager 6.0.2">'
    assert page(plugin)["wordpress_version"] is None, "that is the plugin's"


def test_elementor_shows_by_classes_but_not_by_strings_of_others() -> None:
    wordpress = '<link rel="https://api.w.org/" href="/wp-json/">'
    others = "<style>.elementor-field{}</style><script>var a='elementory'</script>"
    assert page(wordpress + others)["has_elementor"] is False
    assert page(wordpress + '<body class="elementor-page">')["has_elementor"] is True


def test_headers_and_cookies_are_read_whatever_their_case() -> None:
    found = technologies("<p>", SERVER="nginx/1.25.3", Set_Cookie="a=1\nPHPSESSID=x; path=/")
    assert found["Nginx"]["version"] == "1.25.3"
    assert "PHP" in found


def test_a_comment_names_the_plugin_that_left_it() -> None:
    comment = "<!-- This site is optimized with the Yoast SEO plugin v22.1 - https://yoast.com -->"
    assert technologies(comment)["Yoast SEO"]["version"] == "22.1"


def test_a_parked_domain_is_marked() -> None:
    assert page("<p>This domain is for sale!")["domain_metadata"]["parked"] is True
    assert page("<p>Houses for sale")["domain_metadata"]["parked"] is False


# --- laws -------------------------------------------------------------------------------------

FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(
                "<div>",
                "</div>",
                "<b>",
                "</b>",
                "<table>",
                "<td>",
                "<svg>",
                "<title>",
                "<p",
                ">",
                '"',
            ),
            *(
                "<frameset>",
                "<template>",
                "<select><option>",
                "<!--",
                "-->",
                "<script>",
                "</script>",
            ),
            *(
                '<meta name="description" content="',
                "<a href='mailto:a@b.com'>",
                "<base href='//['>",
            ),
            *(
                '<script type="application/ld+json">',
                "[[[[",
                '{"@type":[1],"logo":{"url":3}}',
                "+1 212",
            ),
            *(
                "555-0142",
                "a@b.com",
                "\x00",
                "\u202e",
                "\ud83d\ude00",
                "&#0;",
                "&#x202e;",
                "&#xD800;",
            ),
            *(
                '<img src="logo.png" class="logo">',
                '<link rel=icon href="http://[">',
                "<html lang='\x9b'>",
            ),
            *(
                '<body class="elementor-page">',
                '<link rel="https://api.w.org/">',
                "\x1b[31m",
                "\x1e",
            ),
        ]
    ),
    max_size=40,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "SERVER", "set-cookie", "Link", "content-language"]),
    st.text(max_size=30) | st.sampled_from(["text/html; charset=rot13", "a=b; charset=utf-16le"]),
)
URLS = st.text(max_size=40) | st.sampled_from(
    [
        "http://[",
        "https://a.com:99999/",
        "https://[::1]/",
        "https://пример.рф/",
        "",
        "https://a.de/",
    ]
)


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@settings(max_examples=300, deadline=None)
@given(FRAGMENTS | st.binary(max_size=300), URLS, HEADERS)
def test_extraction_is_total_and_gives_clean_json(
    body: bytes, url: str, headers: dict[str, str]
) -> None:
    found = extract_page(body, url, headers)
    assert json.loads(json.dumps(found)) == found
    assert found == extract_page(body, url, headers)
    for text in strings(found):
        assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs"}], text
        assert not [c for c in text if unicodedata.bidirectional(c)[-1:] in {"E", "I", "O", "F"}
                    and unicodedata.category(c) == "Cf"], text  # fmt: skip


def test_controls_and_marks_that_reorder_text_are_dropped_wherever_they_come_from() -> None:
    found = page(
        "<title>a\x1b[31m\u202eb&#x202e;\x9b&#7;</title>"
        '<meta name=description content="c&#x2066;d&#x1b;"><html lang="en">'
        '<link rel=icon href="/e\u202e.png"><link rel=canonical href="/&#x1b;f">'
        '<link rel=stylesheet href="/wp-content/themes/g/s.css">'
    )
    assert (found["title"], found["description"]) == ("a[31mb", "cd")
    assert found["favicon_url"].endswith("/e.png")
    assert found["domain_metadata"]["canonical_url"].endswith("/f")


def test_every_column_is_there_whatever_the_page() -> None:
    assert set(page("<p>")) == {
        *("title", "description", "language", "favicon_url", "logo_url", "email_addresses"),
        *("phone_numbers", "facebook_url", "twitter_url", "linkedin_url", "instagram_url"),
        *("youtube_url", "is_wordpress", "wordpress_version", "has_elementor", "tech_stack"),
        *("wordpress_theme", "elementor_version", "has_divi", "has_woocommerce"),
        *("has_contact_form7", "has_yoast_seo", "has_wpforms", "google_analytics_id"),
        *("google_tag_manager_id", "copyright_year", "content_language", "feed_urls"),
        *("security_headers", "domain_metadata"),
    }


def test_importing_the_package_loads_neither_the_telephone_tables_nor_the_suffix_list() -> None:
    program = (
        "import sys, domainsched.extract;"
        "sys.exit(bool({'phonenumbers', 'tldextract', 'asyncio'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode
        == 0
    )


# --- language ---------------------------------------------------------------------------------

LANGUAGES = (Path(__file__).parent / "golden" / "languages.txt").read_text(encoding="utf-8")
TEXTS = dict(line.split(": ", 1) for line in LANGUAGES.splitlines())
"""The same in every language."""


@pytest.mark.parametrize("language", TEXTS)
def test_a_text_is_told_by_its_words_whatever_is_declared(language: str) -> None:
    markup = f"<html lang={{}}><p>{TEXTS[language]}</p><p>{TEXTS[language]}"
    assert page(markup.format(language))["language"] == language
    assert page(f"<p>{TEXTS[language]}")["language"] == language
    if language != "en":
        assert page(markup.format("en"))["language"] == language


def test_the_readme_names_every_field() -> None:
    found = page('<link rel="https://api.w.org/" href="/wp-json/">')
    told = set(re.findall(r"`([a-z][a-z0-9_]+)`", README.read_text(encoding="utf-8")))
    metadata = found["domain_metadata"]
    fields = {*found, *metadata, *metadata["wordpress"], *metadata["languages"], *metadata["logo"]}
    unnamed = fields - told - {"version"}
    assert not unnamed
