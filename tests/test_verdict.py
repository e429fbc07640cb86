"""Each vendor's challenge told from the site's page, and from pages that only look like one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from domainsched.fetch.verdict import judge
from domainsched.models import Failed, Kind

HTML = {"content-type": "text/html; charset=utf-8"}


@dataclass(frozen=True)
class Sample:
    """A vendor's page, and an ordinary one that has something of it."""

    vendor: str
    status: int
    headers: Mapping[str, str]
    page: str
    other_status: int
    other_headers: Mapping[str, str]
    other: str


ARTICLE = "<title>How challenges work</title><article><p>Look for <code>{}</code></p></article>"

SAMPLES = (
    Sample(
        "Cloudflare",
        403,
        {"server": "cloudflare"},
        """<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body>
        <noscript>Enable JavaScript and cookies to continue</noscript><script>(function(){
        window._cf_chl_opt = {cvId: '3', cZone: 'acme.com', cType: 'managed', cRay: '8f'};
        a.src = '/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1?ray=8f';}());</script>""",
        404,
        {"server": "cloudflare"},
        """<title>Not found</title><script>window.__CF$cv$params={r:'8f',t:'MTc='};
        a.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';</script>""",
    ),
    Sample(
        "DDoS-Guard",
        403,
        {"server": "ddos-guard"},
        """<!doctype html><html><head><title>DDoS-Guard</title></head><body data-ddg-origin="true">
        <h1>Checking your browser before accessing acme.com</h1>
        <script>fetch('/.well-known/ddos-guard/check?context=free_splash')</script>""",
        502,
        {"server": "ddos-guard"},
        "<title>502 Bad Gateway</title><p>The site is protected by DDoS-Guard",
    ),
    Sample(
        "Sucuri",
        200,
        {"server": "Sucuri/Cloudproxy"},
        """<html><title>You are being redirected...</title><noscript>Javascript is required.
        </noscript><script>var s={},u,c,U,r,i,l=0,a,e=eval,w=String.fromCharCode,
        sucuri_cloudproxy_js='',S='cz0n';L=S.length;</script></html>""",
        200,
        {"server": "Sucuri/Cloudproxy"},
        ARTICLE.format("sucuri_cloudproxy_js"),
    ),
    Sample(
        "Imperva",
        200,
        {"x-iinfo": "9-1-2 NNNN", "x-cdn": "Imperva"},
        """<html style="height:100%"><head><META NAME="ROBOTS" CONTENT="NOINDEX, NOFOLLOW"></head>
        <body><iframe id="main-iframe" src="/_Incapsula_Resource?SWUDNSAI=31&xinfo=9-1-2&
        incident_id=1234-5678&edet=12">Request unsuccessful. Incapsula incident ID: 1</iframe>""",
        200,
        {"x-iinfo": "9-1-2 NNNN", "x-cdn": "Imperva"},
        "<title>Acme</title><script src='/_Incapsula_Resource?SWJIYLWA=719d'></script><p>Tools",
    ),
    Sample(
        "Akamai",
        428,
        {"server": "AkamaiGHost"},
        """<html><head><title>Challenge Validation</title></head><body><div class="sec-container">
        <div id="sec-if-container"><iframe id="sec-cpt-if" provider="crypto" class="crypto"
        data-duration=5 src="/_sec/cp_challenge/crypto_message-4-3.htm"></iframe></div></div>""",
        200,
        {},
        ARTICLE.format("&lt;div id=&quot;sec-if-cpt-container&quot;&gt;"),
    ),
    Sample(
        "Akamai",
        200,
        {},
        """<html><body><div id="sec-if-cpt-container"><p>Powered and protected by</p>
        <img alt="Akamai" src="data:image/png;base64,R0"></div></body></html>""",
        403,
        {"server": "AkamaiGHost"},
        """<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD><BODY><H1>Access Denied</H1>
        Reference&#32;&#35;18&#46;2f<P>https&#58;&#47;&#47;errors&#46;edgesuite&#46;net""",
    ),
    Sample(
        "AWS WAF",
        202,
        {"x-amzn-waf-action": "challenge", "server": "CloudFront"},
        """<!DOCTYPE html><html><head><script>window.gokuProps = {"key":"AQ"};</script>
        <script src="https://0a.token.awswaf.com/0a/challenge.js"></script></head>""",
        200,
        {"server": "CloudFront"},
        '<title>Acme</title><script src="https://0a.token.awswaf.com/0a/challenge.js"></script>',
    ),
    Sample(
        "Vercel",
        429,
        {"server": "Vercel"},
        """<!DOCTYPE html><html lang=en><head><title>Vercel Security Checkpoint</title></head>
        <body><p>We're verifying your browser</p>""",
        429,
        {"server": "Vercel", "x-vercel-mitigated": "deny"},
        "<title>Too many requests</title>",
    ),
    Sample(
        "SiteGround",
        202,
        {"server": "nginx"},
        """<html><head><link rel="icon" href="data:;"><meta http-equiv="refresh"
        content="0;/.well-known/sgcaptcha/?r=%2F&y=ipc:192.0.2.1:1700000000.1"></meta></head>
        </html>""",
        200,
        {"server": "nginx"},
        ARTICLE.format("/.well-known/sgcaptcha/"),
    ),
    Sample(
        "HUMAN",
        403,
        {},
        """<html lang="en"><head><title>Access to this page has been denied.</title></head><body>
        <h1>Please verify you are a human</h1><div id="px-captcha"></div>
        <script>window._pxAppId = 'PXabc'; window._pxUuid = '1-2-3';</script>""",
        404,
        {},
        "<title>Not found</title><script>window._pxAppId = 'PXabc';</script>",
    ),
    Sample(
        "DataDome",
        403,
        {"x-datadome": "protected", "server": "nginx"},
        """<html lang="en"><head><title>acme.com</title></head><body><p id="cmsg">Please enable JS
        and disable any ad blocker</p><script>var dd={'rt':'c','cid':'AHrl','host':
        'geo.captcha-delivery.com'}</script>
        <script src="https://ct.captcha-delivery.com/c.js"></script>""",
        200,
        {"x-datadome": "protected"},
        "<title>Acme</title><script src='https://js.datadome.co/tags.js'></script><p>Tools",
    ),
    Sample(
        "Kasada",
        429,
        {"x-kpsdk-ct": "0abc"},
        """<html><head></head><body><script>window.KPSDK={};KPSDK.now=
        Date.now.bind(Date);</script>
        <script src="/149e9513/2d206a39/ips.js?x=1"></script></body></html>""",
        200,
        {},
        "<title>Acme</title><script>window.KPSDK && window.KPSDK.configure([])</script><p>Tools",
    ),
    Sample(
        "LiteSpeed",
        403,
        {"server": "LiteSpeed"},
        """<!DOCTYPE html><html><head><title>Bot Verification</title><script>function onSubmit(){
        document.getElementById('lsrecaptcha-form').submit();}</script></head><body>
        <form action="/.lsrecap/recaptcha?" method="POST" id="lsrecaptcha-form"></form>""",
        200,
        {"server": "LiteSpeed"},
        ARTICLE.format("#lsrecaptcha-form"),
    ),
    Sample(
        "Imunify360",
        200,
        {"server": "imunify360-webshield/1.21"},
        """<!DOCTYPE html><html><head><title>One moment, please...</title></head><body>
        <h1>Please wait while your request is being verified...</h1>
        <form id="wsidchk-form" action="/z0f76a1d14fd" method="GET"></form>""",
        200,
        {"server": "imunify360-webshield/1.21"},
        "<title>Acme</title><p>One moment, please: our shop moves.",
    ),
    Sample(
        "Anubis",
        200,
        {},
        """<!doctype html><html><head><title>Making sure you&#39;re not a bot!</title>
        <script id="anubis_challenge" type="application/json">{"difficulty":4}</script></head>""",
        200,
        {},
        ARTICLE.format("&lt;script id=&quot;anubis_challenge&quot;&gt;"),
    ),
    Sample(
        "a captcha",
        403,
        {"server": "nginx"},
        """<html><head><title>Are you human?</title>
        <script src="https://js.hcaptcha.com/1/api.js" async defer></script></head>
        <body><form><div class="h-captcha" data-sitekey="x"></div></form>""",
        404,
        {"server": "nginx"},
        """<title>Not found</title><form>Newsletter <div class="h-captcha"></div></form>
        <script src="https://js.hcaptcha.com/1/api.js"></script>""",
    ),
    Sample(
        "a captcha",
        429,
        {"server": "HTTP server (unknown)"},
        """<html><head><title>https://acme.com/</title></head><body><form id="captcha-form">
        <script src="https://www.google.com/recaptcha/enterprise.js" async defer></script>
        Our systems have detected unusual traffic</form>""",
        200,
        {},
        """<title>Contact us</title><form><div class="g-recaptcha" data-sitekey="x"></div></form>
        <script src="https://www.google.com/recaptcha/api.js"></script>""",
    ),
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.vendor)
def test_a_vendors_challenge_is_told(sample: Sample) -> None:
    failed = judge(sample.status, HTML | dict(sample.headers), sample.page.encode())
    assert failed is not None
    assert failed.kind is Kind.CHALLENGE
    assert failed.detail == (
        f"{sample.vendor} asks for proof of a human visitor (HTTP {sample.status})"
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.vendor)
def test_a_page_with_something_of_a_challenge_is_none(sample: Sample) -> None:
    failed = judge(sample.other_status, HTML | dict(sample.other_headers), sample.other.encode())
    assert failed is None or failed.kind is not Kind.CHALLENGE
    assert (failed is None) == (sample.other_status == 200)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.vendor)
def test_an_article_that_shows_a_challenges_source_is_a_page(sample: Sample) -> None:
    source = sample.page.replace("&", "&amp;").replace("<", "&lt;")
    article = f"<title>How it works</title><pre>{source}</pre>".encode()
    assert judge(200, HTML, article) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Kind.BLOCKED),
        ({"retry-after": "600"}, Kind.RATE_LIMITED),
    ],
)
def test_a_firewalls_block_is_no_failure_of_the_server(
    headers: Mapping[str, str], expected: Kind
) -> None:
    page = b"""<title>Your access to this site has been limited by the site owner</title>
    <p>Generated by Wordfence at Sun, 22 Nov 2026 7:00:00 GMT.</p>"""
    failed = judge(503, HTML | dict(headers), page)
    assert failed is not None
    assert failed.kind is expected
    assert judge(503, HTML, b"<p>Down") == Failed(Kind.HTTP_5XX, "HTTP 503")
    assert judge(200, HTML, page) is None


@pytest.mark.parametrize("filler", ["<div ", "<div a", "<meta content='", "<script id="])
def test_marks_are_looked_for_once_and_not_far(filler: str) -> None:
    mark = '<div id="sec-if-cpt-container">'
    endless = filler * (2 * 1024 * 1024 // len(filler))
    assert judge(200, HTML, f"{endless}>{mark}".encode()) is None
    assert judge(200, HTML, f"{filler}>{mark}{endless}".encode()) is not None
