"""Compare the generator with SIPp: CPU per operation of the same server under both, at a rate that SIPp sustains easily."""
import csv
import subprocess
import time
from pathlib import Path

from . import space
from .parts import median, per, started
from .report import Row
from .servers import name

# Rates that SIPp sustains easily.
REGISTRATIONS, CALLS, SECS = 5000, 300, 10
SCENARIOS = Path(__file__).parent.parent / "sipp"
COMMON = ["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-nd", "-buff_size", "4194304", "-skip_rlimit"]


def sipp(folder, process, scenario, rate, total, keys=()):
    """Run a scenario to its end. Returns a record like the generator's."""
    for old in folder.glob(f"{scenario}_*_.csv"):
        old.unlink()
    words = ["sipp", "127.0.0.1:5060", "-sf", folder / f"{scenario}.xml", "-inf", folder / "users.csv", "-p", "5070", *COMMON]
    words += ["-r", rate, "-m", total, "-l", "60000", "-trace_stat", "-fd", "1", "-recv_timeout", "10000", *keys]
    words += ["-cid_str", f"%u-%p-{time.monotonic_ns()}@b", "-timeout", f"{total // rate + 30}s"]
    before = cpu(process.pid)
    subprocess.run(space.pinned(space.LOAD_CPU, words), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = cpu(process.pid) - before
    rows = list(csv.reader(open(next(folder.glob(f"{scenario}_*_.csv"))), delimiter=";"))
    last = dict(zip(rows[0], rows[-1]))
    return {"ok": int(last["SuccessfulCall(C)"]), "failed": int(last["FailedCall(C)"]), "server_cpu_s": used, "rate": rate}


def cpu(root):
    """CPU seconds of the process tree."""
    ticks = 0
    for pid in space.tree(root):
        try:
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return ticks / 100


def generator(bench):
    """The generator beside SIPp"""
    folder = bench.ours.folder / "sipp"
    folder.mkdir()
    for scenario in SCENARIOS.glob("*.xml"):
        (folder / scenario.name).write_bytes(scenario.read_bytes())
    lines = (f"{name(n)};[authentication username={name(n)} password=pw_{name(n)}];{name((n + 500) % 1000)}\n" for n in range(1000))
    (folder / "users.csv").write_text("SEQUENTIAL\n" + "".join(lines))

    def registering(server):
        def use(process):
            # The first run warms the server's caches for both.
            bench.register(server, process, REGISTRATIONS, 3)
            ours, theirs = [], []
            for _ in range(bench.runs):
                theirs.append(sipp(folder, process, "register", REGISTRATIONS, REGISTRATIONS * SECS))
                bench.say("sipp", theirs[-1])
                ours.append(bench.register(server, process, REGISTRATIONS, SECS))
            return median(ours, per(1e4)), median(theirs, per(1e4))
        return started(server, use)

    def calling(server, code):
        def use(process):
            ours, theirs = [], []
            bench.call(server, process, CALLS, 2)
            for _ in range(bench.runs):
                words = ["sipp", "-sf", folder / "callee.xml", "-p", "5080", *COMMON, "-mp", "7000"]
                callee = subprocess.Popen(space.pinned(space.LOAD_CPU, words), cwd=folder,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.5)
                theirs.append(sipp(folder, process, f"caller_{code}", CALLS, CALLS * SECS))
                bench.say("sipp", theirs[-1])
                callee.kill()
                callee.wait()
                ours.append(bench.call(server, process, CALLS, SECS))
            return median(ours, per(1e3)), median(theirs, per(1e3))
        return started(server, use)

    for server, code in [(bench.kamailio, 407), (bench.ours, 401)]:
        blast, theirs = registering(server)
        yield Row(f"{server.title}: CPU s per 10,000 registrations, {REGISTRATIONS}/s", blast, theirs, theirs_is="under SIPp")
        blast, theirs = calling(server, code)
        yield Row(f"{server.title}: CPU s per 1,000 calls, {CALLS}/s", blast, theirs, theirs_is="under SIPp")
