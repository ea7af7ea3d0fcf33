"""The measurements, one function per part. Each returns rows: name, our figure, the peer's figure, target."""
import statistics
import time

from . import space
from .report import Row


class Bench:
    """The servers, the generator, and the durations."""

    def __init__(self, ours, kamailio, rtpengine, blast, quick, say):
        self.ours, self.kamailio, self.rtpengine, self.blast = ours, kamailio, rtpengine, blast
        self.quick, self.say = quick, say
        self.runs = 1 if quick else 3
        self.records = []

    def load(self, server, process, words, limit):
        """One run of the generator against a started process."""
        try:
            record = space.load([self.blast, *words, "--pid", process.pid], limit)
        except Exception as fault:
            raise RuntimeError(f"{server.title}: {fault}\n{process.tail()}") from fault
        record["server"] = server.title
        self.records.append(record)
        self.say(server.title, record)
        return record

    def register(self, server, process, rate, secs, users=1000, first=0):
        total = int(rate * secs)
        words = ["reg", "--rate", rate, "--total", total, "--users", users, "--first", first]
        return self.load(server, process, words, secs * 3 + 60)

    def call(self, server, process, rate, secs):
        return self.load(server, process, ["call", "--rate", rate, "--total", int(rate * secs)], secs * 3 + 90)

    def in_turn(self, servers, measure):
        """Run `measure(server)` for each server in turn, as often as the mode requires. Returns the records by server."""
        found = {server.title: [] for server in servers}
        for _ in range(self.runs):
            for server in servers:
                found[server.title].append(measure(server))
        return found


def median(records, value):
    return statistics.median(value(record) for record in records)


def per(unit):
    """CPU seconds per `unit` successful operations."""
    return lambda record: record["server_cpu_s"] / max(record["ok"], 1) * unit


def good(record):
    """No failures, almost no retransmissions, and the rate was sustained."""
    late = record["secs"] - record["total"] / record["rate"]
    return record["failed"] == 0 and record["retransmissions"] <= record["total"] * 0.01 and late < 0.8


def started(server, use, *users):
    process = server.start(*users)
    try:
        return use(process)
    finally:
        process.stop()


def registrations(bench):
    """REGISTER with digest at 15,000 per second."""
    secs = 5 if bench.quick else 20
    found = bench.in_turn(
        [bench.kamailio, bench.ours], lambda server: started(server, lambda p: bench.register(server, p, 15000, secs))
    )
    ours, theirs = (median(found[s.title], per(1e4)) for s in (bench.ours, bench.kamailio))
    clean = all(record["failed"] == 0 for record in found[bench.ours.title])
    yield Row("REGISTER, 15,000/s: CPU s per 10,000", ours, theirs, ratio_at_most=1.0, holds=clean, theirs_is="kamailio")
    p99 = lambda record: record["latency_us"]["p99"] / 1000
    yield Row("REGISTER, 15,000/s: p99 ms to the 200", median(found[bench.ours.title], p99),
              median(found[bench.kamailio.title], p99), theirs_is="kamailio")


def highest(bench, server, process, users, start, limit):
    """The highest rate that was sustained three times, found by probes of a few seconds."""
    run = lambda rate, secs: good(bench.register(server, process, rate, secs, users))
    low, high, rate = 0, None, start
    while rate <= limit:
        # One bad probe may be noise of other processes.
        if run(rate, 3) or run(rate, 3):
            low, rate = rate, int(rate * 1.25)
        else:
            high = rate
            break
    while high and (high - low) / high > 0.06:
        middle = (low + high) // 2
        low, high = (middle, high) if run(middle, 3) else (low, middle)
    rate = low
    while rate > 1000:
        held = sum(run(rate, 10) for _ in range(3))
        if held >= 2:
            return rate
        rate = int(rate * 0.94)
    return 0


def most_registrations(bench):
    """The highest sustained rate of one core, with 1,000 users and with 100,000."""
    theirs = started(bench.kamailio, lambda p: highest(bench, bench.kamailio, p, 1000, 16000, 80000))
    ours = started(bench.ours, lambda p: highest(bench, bench.ours, p, 1000, 16000, 80000))
    yield Row("REGISTER: most per second on one core", ours, theirs, ratio_at_least=1.3, theirs_is="kamailio")
    many = started(bench.ours, lambda p: highest(bench, bench.ours, p, 100_000, 16000, 80000), 100_000)
    yield Row("REGISTER: the same with 100,000 users (beside 1,000)", many, ours, ratio_at_least=0.8, theirs_is="1,000 users")


def memory(bench):
    """Memory of 100,000 bindings."""
    users = 100_000

    def bound(server):
        def use(process):
            time.sleep(3)
            before = process.memory()
            bench.register(server, process, 10000, users / 10000, users)
            time.sleep(6)
            after = process.memory()
            bench.say(server.title, {"memory_kib": [before, after]})
            return (after - before) / users, after / 1024
        return started(server, use, users)

    each, whole = bound(bench.ours)
    yield Row("memory per binding at 100,000, KB", each * 1.024, at_most=1.25)
    yield Row("memory with 100,000 bindings, MiB", whole)


def mailboxes(bench):
    """REGISTER with 10,000 mailboxes with messages, and concurrently with clients that list registrations."""
    users, rate, secs = 10_000, 8000, 5 if bench.quick else 20
    found = {"without": [], "with": [], "listed": []}

    def registered(process):
        # Each phone has registered once and got its NOTIFY (MWI): from then on nothing changes.
        bench.register(bench.ours, process, 2000, users / 2000, users)
        return bench.register(bench.ours, process, rate, secs, users)

    def listed(process):
        bench.register(bench.ours, process, 2000, users / 2000, users)
        lister = space.Lister(bench.ours.key())
        try:
            record = bench.register(bench.ours, process, rate, secs, users)
        finally:
            lister.stop()
        record["lists"] = lister.answered
        if lister.answered < 10:
            raise RuntimeError(f"only {lister.answered} lists were answered: {lister.fault}")
        return record

    for _ in range(bench.runs):
        found["without"].append(started(bench.ours, registered, users))
        found["with"].append(started(bench.ours, registered, users, True))
        found["listed"].append(started(bench.ours, listed, users, True, 10_000))
    p99 = lambda record: record["latency_us"]["p99"] / 1000
    bare, full, beside = (median(found[name], per(1e4)) for name in found)
    clean = lambda name: all(record["failed"] == 0 for record in found[name])
    yield Row("REGISTER, 10,000 mailboxes with messages: CPU s per 10,000", full, bare, ratio_at_most=1.05, holds=clean("with"),
              theirs_is="no messages")
    yield Row("the same: p99 ms to the 200", median(found["with"], p99), median(found["without"], p99), theirs_is="no messages")
    yield Row("the same, registrations being listed: CPU s per 10,000", beside, full, holds=clean("listed"), theirs_is="nobody lists")
    yield Row("the same, registrations being listed: p99 ms to the 200", median(found["listed"], p99), median(found["with"], p99),
              theirs_is="nobody lists")


def calls(bench):
    """INVITE with digest to BYE."""
    rate, secs = bench.call_rate, 5 if bench.quick else 20
    found = bench.in_turn(
        [bench.kamailio, bench.ours], lambda server: started(server, lambda p: bench.call(server, p, rate, secs))
    )
    ours, theirs = (median(found[s.title], per(1e3)) for s in (bench.ours, bench.kamailio))
    clean = all(record["failed"] == 0 for record in found[bench.ours.title])
    yield Row(f"call, INVITE to BYE, {rate}/s: CPU s per 1,000", ours, theirs, ratio_at_most=1.5, holds=clean,
              theirs_is="kamailio, proxy")
    p99 = lambda record: record["latency_us"]["p99"] / 1000
    yield Row(f"call, {rate}/s: p99 ms from INVITE to 200", median(found[bench.ours.title], p99),
              median(found[bench.kamailio.title], p99), theirs_is="kamailio, proxy")


def voice(bench):
    """Two-way G.711."""
    calls, secs = 500, 6 if bench.quick else 20

    def speak(server):
        via = ["--via", "ng"] if server is bench.rtpengine else ["--via", "sip", "--cps", 100]
        words = ["voice", *via, "--calls", calls, "--secs", secs]
        return started(server, lambda p: bench.load(server, p, words, secs + 120))

    found = bench.in_turn([bench.rtpengine, bench.ours], speak)
    cpu = lambda record: record["server_cpu_s"] / record["secs"] * 100 / record["up"] * 100
    p99 = lambda record: record["latency_us"]["p99"] / 1000
    all_of = lambda value: (median(found[s.title], value) for s in (bench.ours, bench.rtpengine))
    whole = all(r["lost"] == 0 and r["up"] == calls and r["silent_flows"] == 0 for r in found[bench.ours.title])
    title = f"relay of G.711, {calls} calls"
    yield Row(f"{title}: CPU % per 100 calls", *all_of(cpu), ratio_at_most=1 / 1.5, theirs_is="rtpengine")
    lost = [sum(record["lost"] for record in found[s.title]) for s in (bench.ours, bench.rtpengine)]
    yield Row(f"{title}: packets lost, all runs", *lost, at_most=0, holds=whole, theirs_is="rtpengine")
    yield Row(f"{title}: p99 added latency, ms", *all_of(p99), ratio_at_most=1.0, theirs_is="rtpengine")
    yield Row(f"{title}: p50 added latency, ms", *all_of(lambda r: r["latency_us"]["p50"] / 1000), theirs_is="rtpengine")


def starting(bench):
    """Time from process start to the first response, and idle memory."""
    def begin(server):
        def use(process):
            time.sleep(3)
            return {"first": process.first_answer, "memory": process.memory() / 1024}
        return started(server, use, 0 if server is bench.ours else 1000)

    found = bench.in_turn([bench.kamailio, bench.ours], begin)
    for what, key, limit in [("first OPTIONS answered after start, ms", "first", 150), ("memory at rest (PSS), MiB", "memory", 40)]:
        ours, theirs = (median(found[s.title], lambda r: r[key]) for s in (bench.ours, bench.kamailio))
        yield Row(what, ours, theirs, at_most=limit, theirs_is="kamailio")


PARTS = {"start": starting, "reg": registrations, "mailboxes": mailboxes, "call": calls, "voice": voice, "memory": memory, "most": most_registrations}
QUICK = ["start", "reg", "mailboxes", "call", "voice"]
