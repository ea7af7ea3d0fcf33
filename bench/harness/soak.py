"""Soak test: continuous calls, with checks of memory growth and call records."""
import json
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import space
from .servers import Centralita

# Seconds between memory samples.
PAUSE = 10
# Permitted memory growth in MiB after the third minute, when all pools and caches have reached their full load.
GROWTH = 2.0
# Minutes of the shortest run in which growth is measured.
MEASURABLE = 4
# Callees register for an hour: one run of the generator must be shorter.
LONGEST = 40 * 60
# The data that calls keep goes to the disk. Ladders of a few calls are enough to load that path too.
CONFIG = """\
[http]
listen = ["127.0.0.1:{http}"]
[sip]
listen = ["udp://127.0.0.1:{sip}"]
[store]
keep_calls_days = 1
[limits]
ladders_per_second = 10
"""


@dataclass
class Result:
    """Results of a run."""

    minutes: float
    rate: float
    attempted: int = 0
    completed: int = 0
    lost: int = 0
    retransmissions: int = 0
    records: int = 0
    open_records: int = 0
    faults: list = field(default_factory=list)
    samples: list = field(default_factory=list)

    def memory(self, begin, end):
        """Median PSS in MiB between two times; `None` without samples."""
        found = [sample["pss_mib"] for sample in self.samples if begin < sample["at"] <= end]
        return statistics.median(found) if found else None

    @property
    def growth(self):
        """Growth in MiB from the third minute to the last; `None` if the run is too short."""
        if self.minutes < MEASURABLE or not self.samples:
            return None
        end = self.samples[-1]["at"]
        third, last = self.memory(120, 180), self.memory(end - 60, end)
        return None if third is None or last is None else last - third

    def reasons(self):
        """Reasons why the run failed; empty if it passed."""
        yield from self.faults
        if self.lost:
            yield f"{self.lost} calls were lost"
        if self.completed == 0:
            yield "no call was completed"
        if self.records != self.completed:
            yield f"{self.completed} calls were completed, but the database has {self.records} such records"
        if self.open_records:
            yield f"{self.open_records} records were never closed"
        if self.minutes >= MEASURABLE and self.growth is None:
            yield "memory was not measured in the third and in the last minute"
        if self.growth is not None and self.growth > GROWTH:
            yield f"memory grew by {self.growth:.1f} MiB, more than {GROWTH:g}"

    @property
    def passed(self):
        return not list(self.reasons())

    def verdict(self):
        """The results as text."""
        yield f"{self.minutes:g} minutes at {self.rate:g} calls a second, {time.strftime('%d %B %Y')}"
        yield f"calls: {self.attempted} attempted, {self.completed} completed, {self.lost} lost; {self.retransmissions} messages repeated"
        yield f"records of completed calls in the database: {self.records}"
        if self.growth is not None:
            end = self.samples[-1]["at"]
            yield (f"memory (PSS): {self.memory(120, 180):.1f} MiB in the third minute, {self.memory(end - 60, end):.1f} MiB in the last, "
                   f"{self.growth:+.1f} MiB; up to {GROWTH:+g} is allowed")
        elif self.samples:
            first, last = self.samples[0]["pss_mib"], self.samples[-1]["pss_mib"]
            yield f"memory (PSS): {first:.1f} MiB at first, {last:.1f} MiB at the end; a run of under {MEASURABLE} minutes does not judge it"
        for reason in self.reasons():
            yield f"because: {reason}"
        yield "PASS" if self.passed else "FAIL"

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = {**asdict(self), "growth_mib": self.growth, "passed": self.passed, "reasons": list(self.reasons())}
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")


def free_port(kind):
    """A free port on loopback."""
    with socket.socket(socket.AF_INET, kind) as asker:
        asker.bind(("127.0.0.1", 0))
        return asker.getsockname()[1]


def run(binary, blast, folder, minutes, rate):
    """Start the server, place the calls, sample memory, and count the records."""
    result = Result(minutes, rate)
    data = Centralita(binary, folder).prepare(1000)
    ports = {"http": free_port(socket.SOCK_STREAM), "sip": free_port(socket.SOCK_DGRAM)}
    config, log = folder / "soak.toml", folder / "server.log"
    config.write_text(CONFIG.format(**ports))
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [binary, "serve", "--config", config, "--data", data], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_ready(server, ports["http"], log)
        began = time.monotonic()
        for seconds in pieces(minutes * 60):
            call(result, server, blast, ports["sip"], seconds, began)
        await_records(result, data / "centralita.db")
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                result.faults.append("the server did not end within a minute of SIGTERM")
    if server.returncode != 0:
        tail = log.read_text(errors="replace")[-1500:]
        result.faults.append(f"the server ended with status {server.returncode}:\n{tail}")
    return result


def pieces(seconds):
    """Split the run into parts that are shorter than the lifetime of a registration."""
    while seconds > 0:
        yield min(seconds, LONGEST)
        seconds -= LONGEST


def wait_ready(server, port, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server does not become ready:\n{log.read_text(errors='replace')[-1500:]}")


def call(result, server, blast, port, seconds, began):
    """One run of the generator, with memory samples."""
    total = max(1, int(result.rate * seconds))
    words = ["call", "--rate", result.rate, "--total", total, "--server", f"127.0.0.1:{port}"]
    words += ["--port", free_port(socket.SOCK_DGRAM), "--callee-port", free_port(socket.SOCK_DGRAM)]
    load = subprocess.Popen([blast, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    due, limit = time.monotonic() + PAUSE, time.monotonic() + seconds * 2 + 90
    result.attempted += total
    while load.poll() is None and server.poll() is None and time.monotonic() < limit:
        time.sleep(0.1)
        if time.monotonic() >= due:
            due += PAUSE
            sample(result, server.pid, began)
    if load.poll() is None:
        load.kill()
        result.faults.append("the calls did not come to an end")
    said, fault = load.communicate()
    if load.returncode != 0:
        result.lost += total
        result.faults.append(f"the generator failed: {fault.strip() or load.returncode}")
        return
    record = json.loads(said.strip().splitlines()[-1])
    result.completed += record["ok"]
    result.lost += total - record["ok"]
    result.retransmissions += record["retransmissions"]


def sample(result, pid, began):
    """Take a memory sample and print a line."""
    rss, pss = (kib / 1024 for kib in space.memory(pid))
    at = time.monotonic() - began
    result.samples.append({"at": round(at, 1), "rss_mib": round(rss, 2), "pss_mib": round(pss, 2)})
    print(f"  {at:6.0f} s  RSS {rss:6.1f} MiB  PSS {pss:6.1f} MiB", file=sys.stderr, flush=True)


def await_records(result, path):
    """The journal feeds the database in the background: poll for at most half a minute until all records are there."""
    deadline = time.monotonic() + 30
    while True:
        with sqlite3.connect(f"file:{Path(path)}?mode=ro", uri=True) as base:
            result.records = base.execute("SELECT count(*) FROM calls WHERE status = 'completed'").fetchone()[0]
            result.open_records = base.execute("SELECT count(*) FROM calls WHERE ended_at IS NULL").fetchone()[0]
        base.close()
        if (result.records >= result.completed and result.open_records == 0) or time.monotonic() > deadline:
            return
        time.sleep(0.2)
