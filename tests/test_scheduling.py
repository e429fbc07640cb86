"""What the README shows for cron, systemd, Kubernetes and Prometheus is whole and accepted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import Surroundings

from domainsched.models import Glance, RunSummary, Upcoming
from domainsched.reporting.metrics import Tally, write

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
UNIT = re.compile(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", re.DOTALL)
CRON = re.compile(r"```cron\n(.*?)```", re.DOTALL)
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = 20
"""In tenths: below 2.0 systemd calls a unit OK."""

with_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The README's units as files; the program is ours."""
    program = Path(sys.executable).with_name("domainsched")
    for name, text in UNIT.findall(README):
        placed = text.replace("/opt/domainsched/bin/domainsched", str(program))
        (tmp_path / name).write_text(placed, encoding="utf-8")
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    command = [ANALYZE, "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_both_units_are_shown(units: Path) -> None:
    assert sorted(path.name for path in units.iterdir()) == [
        "domainsched.service",
        "domainsched.timer",
    ]


@with_systemd
def test_systemd_accepts_the_units_without_a_word(units: Path) -> None:
    verified = analyze(
        "--man=no", "verify", str(units / "domainsched.service"), str(units / "domainsched.timer")
    )
    told = [line for line in verified.stderr.splitlines() if "domainsched" in line]
    assert (verified.returncode, told) == (0, [])


@with_systemd
def test_a_mistake_in_a_unit_would_be_found(units: Path) -> None:
    path = units / "domainsched.service"
    path.write_text(path.read_text().replace("Type=oneshot", "Type=oneshoe"))
    assert "oneshoe" in analyze("--man=no", "verify", str(path)).stderr


@with_systemd
def test_systemd_finds_the_service_hardly_exposed(units: Path) -> None:
    unit = str(units / "domainsched.service")
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert rated.returncode == 0, rated.stdout.splitlines()[-1]


@with_systemd
def test_the_timer_s_calendar_is_every_five_minutes(units: Path) -> None:
    calendar = re.search(r"OnCalendar=(.*)", (units / "domainsched.timer").read_text())
    assert calendar is not None
    assert "*:00/5:00" in analyze("calendar", calendar[1]).stdout


def test_the_times_of_the_unit_are_in_order(units: Path) -> None:
    text = (units / "domainsched.service").read_text()
    limits = dict(re.findall(r"(Timeout\w+Sec)=(\S+)", text))
    assert limits == {"TimeoutStartSec": "10min", "TimeoutStopSec": "90s"}
    assert "SuccessExitStatus=143" in text


# --- commands ---------------------------------------------------------------------------------


def commands() -> list[str]:
    """The invocations of domainsched in what the README shows to be scheduled."""
    (crontab,) = CRON.findall(README)
    jobs = [line for line in crontab.splitlines() if re.match(r"[\d*]", line)]
    lines = [job.split(None, 6)[6] for job in jobs]
    lines += re.findall(r"ExecStart=(.*)", README)
    lines += [
        " ".join(re.findall(r'"([^"]+)"', each)) for each in re.findall(r"args: (.*)", README)
    ]
    return [re.sub(r".*\bdomainsched (?=process|reset)", "", line) for line in lines]


def test_there_are_these_commands() -> None:
    assert [command.split()[0] for command in commands()] == ["process", "reset", *["process"] * 2]


@pytest.mark.parametrize("command", commands())
def test_each_scheduled_command_is_one_that_there_is(tmp_path: Path, command: str) -> None:
    """It gets as far as the database."""
    surroundings = Surroundings(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    ended = surroundings.run(*command.split())
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("error: cannot connect to PostgreSQL at 127.0.0.1:1/none")


def test_no_line_of_the_crontab_has_a_sign_that_cron_takes_for_a_new_line() -> None:
    (crontab,) = CRON.findall(README)
    assert "%" not in crontab
    assert crontab.endswith("\n")


# --- Kubernetes and Prometheus ----------------------------------------------------------------


def test_the_cron_job_names_only_variables_that_there_are_and_no_secret() -> None:
    (job,) = [text for text in YAML.findall(README) if "kind: CronJob" in text]
    variables = set(re.findall(r"- name: ([A-Z_]+)", job))
    assert variables <= set(re.findall(r"^# ([A-Z_]+)=", _example(), re.MULTILINE))
    assert "secretKeyRef" in job
    assert "postgresql://" not in job
    for needed in ("concurrencyPolicy", "activeDeadlineSeconds", "resources", "runAsNonRoot"):
        assert needed in job


def _example() -> str:
    return (Path(__file__).parents[1] / ".env.example").read_text(encoding="utf-8")


def test_the_alerts_ask_for_metrics_that_are_written(tmp_path: Path) -> None:
    upcoming = Upcoming(0, 0, 0, None, None, None)  # type: ignore[arg-type] # of no matter here
    write(tmp_path / "a.prom", Tally(), RunSummary("r"), Glance({}, upcoming, 0))
    written = set(re.findall(r"^# TYPE (\w+)", (tmp_path / "a.prom").read_text(), re.MULTILINE))
    (rules,) = [text for text in YAML.findall(README) if "alert:" in text]
    assert rules.count("- alert: ") == 2
    assert set(re.findall(r"\b(domainsched_\w+)", rules)) <= written
    assert written <= set(re.findall(r"\b(domainsched_\w+)", README))
