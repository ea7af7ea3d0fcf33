"""A network namespace with only a loopback interface, pinned processes in it, and their memory and CPU figures."""
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

NAME = f"bench-{os.getpid()}"
SERVER_CPU, LOAD_CPU = "0", "1"


def enter():
    """Create the namespace."""
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    subprocess.run(["ip", "netns", "exec", NAME, "ip", "link", "set", "lo", "up"], check=True)


def leave():
    """Remove it."""
    subprocess.run(["ip", "netns", "delete", NAME], check=False)


def pinned(cpu, words):
    """Command line that runs `words` in the namespace, on one core, at real-time priority."""
    return ["ip", "netns", "exec", NAME, "chrt", "-r", "10", "taskset", "-c", cpu, *map(str, words)]


class Process:
    """A server under test."""

    def __init__(self, words, log, env=None):
        self.log = Path(log)
        self.began = time.monotonic()
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen(
                pinned(SERVER_CPU, words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
            )
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def stop(self):
        """End the process and its descendants."""
        family = tree(self.pid)
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                pass
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()
        time.sleep(0.3)

    def memory(self):
        """Used memory in KiB; shared pages count once."""
        return memory(self.pid)[1]

    def tail(self):
        return self.log.read_text(errors="replace")[-2000:]


def tree(root):
    """The process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, []))
    return found


def memory(root):
    """Memory of the process and its descendants in KiB: RSS, and PSS (shared pages counted by their share)."""
    total = {"Rss:": 0, "Pss:": 0}
    for pid in tree(root):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in total:
                    total[name] += int(rest[0])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return total["Rss:"], total["Pss:"]


def load(words, limit):
    """Run the generator to its end and return its JSON output."""
    done = subprocess.run(pinned(LOAD_CPU, words), capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words[1:]))}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Lister:
    """A client in the namespace that lists registrations, page by page, until it is stopped."""

    def __init__(self, key):
        script = Path(__file__).with_name("lister.py")
        words = ["ip", "netns", "exec", NAME, "taskset", "-c", LOAD_CPU, "python3", str(script)]
        # The key is passed in the environment, because command lines are public.
        self.popen = subprocess.Popen(
            words, env={**os.environ, "KEY": key}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.answered, self.fault = 0, ""

    def stop(self):
        said, self.fault = self.popen.communicate("", timeout=30)
        self.answered = int(said.strip() or 0)


def first_answer(began, limit=30.0):
    """Milliseconds from `began` to the first response to an OPTIONS."""
    script = Path(__file__).with_name("first_answer.py")
    words = ["ip", "netns", "exec", NAME, "chrt", "-r", "10", "taskset", "-c", LOAD_CPU, "python3", script, began, limit]
    return float(subprocess.run([*map(str, words)], capture_output=True, text=True, check=True).stdout)


def machine():
    """The machine of the measurement."""
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "load": os.getloadavg()[0]}


def missing(programs):
    """The `programs` that are not installed."""
    return [program for program in programs if shutil.which(program) is None]
