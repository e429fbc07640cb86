"""Scrapy with the settings it recommends for broad crawls: each home page's title, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator

import psycopg
import scrapy
from scrapy.crawler import CrawlerProcess


class Titles(scrapy.Spider):
    name = "titles"

    async def start(self) -> AsyncIterator[scrapy.Request]:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            for (domain,) in connection.execute("SELECT domain FROM domains").fetchall():
                yield scrapy.Request(f"https://{domain}/")

    def parse(self, response: scrapy.http.Response) -> Iterator[dict[str, str | None]]:
        yield {"title": response.css("title::text").get()}


process = CrawlerProcess(
    {
        "SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.DownloaderAwarePriorityQueue",
        "CONCURRENT_REQUESTS": int(sys.argv[1]),
        "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
        "REACTOR_THREADPOOL_MAXSIZE": 20,
        "LOG_LEVEL": "ERROR",
        "COOKIES_ENABLED": False,
        "RETRY_ENABLED": False,
        "DOWNLOAD_TIMEOUT": 15,
        "REDIRECT_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
    }
)
process.crawl(Titles)
process.start()
