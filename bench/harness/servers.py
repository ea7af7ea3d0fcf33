"""The compared servers: each is started anew for every run, on the same core."""
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from . import space

OWNERS = 50


def name(user):
    return f"u{user:06}"


class Centralita:
    """The server of this project, with its default settings and a data directory with imported users."""

    title = "centralita"

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, Path(folder)

    def prepare(self, users):
        """Import the users once; each run starts with a copy."""
        template = self.folder / f"data-{users}"
        if template.exists():
            return template
        table = self.folder / f"users-{users}.csv"
        rows = (f"{100000 + n},{name(n)},pw_{name(n)},owner{n % OWNERS}\n" for n in range(users))
        table.write_text("number,username,password,owner\n" + "".join(rows))
        template.mkdir()
        if users:
            words = [self.binary, "extension", "import", table, "--data", template]
            done = subprocess.run([*map(str, words)], capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"the import failed: {done.stderr}{done.stdout}")
        return template

    def key(self):
        """The key of the first administrator."""
        return (self.folder / "data" / "admin.key").read_text().strip()

    def start(self, users=1000, mailboxes=False, per_minute=None):
        """`per_minute`: requests per minute and key, if not the default."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.prepare(users), data)
        if mailboxes:
            self.leave_messages(data)
        env = {**os.environ, "CENTRALITA__LIMITS__REQUESTS_PER_MINUTE": str(per_minute)} if per_minute else None
        process = space.Process([self.binary, "serve", "--data", data], self.folder / "centralita.log", env)
        process.first_answer = space.first_answer(process.began)
        return process

    @staticmethod
    def leave_messages(data):
        """Add a new and an old message to the mailbox of every extension."""
        base = sqlite3.connect(data / "centralita.db")
        with base:
            base.execute(
                "insert into voicemail_messages (tenant, id, extension_id, user_id, state, from_number, left_at, millis, heard_at)"
                " select tenant, 'vm_' || kind || '_' || id, id, user_id, kind, '100000', 1700000000000000, 4000,"
                " case kind when 'heard' then 1700000001000000 end"
                " from extensions cross join (select 'new' as kind union all select 'heard')"
            )
        base.close()

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip()


class Kamailio:
    """Debian's Kamailio as a registrar and stateful proxy in memory, with two workers."""

    title = "kamailio"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = Path(__file__).parent.parent / "peers" / "kamailio.cfg"

    def prepare(self, users):
        path = self.folder / f"kamailio-{users}.db"
        if path.exists():
            return path
        base = sqlite3.connect(path)
        base.executescript(
            "create table version (table_name text, table_version int);"
            "create table passwords (id integer primary key, key_name text, key_type int default 0,"
            " value_type int default 0, key_value text, expires int default 0);"
            "insert into version values ('passwords', 2);"
        )
        rows = ((name(n), f"pw_{name(n)}") for n in range(users))
        base.executemany("insert into passwords (key_name, key_value) values (?, ?)", rows)
        base.commit()
        base.close()
        return path

    def start(self, users=1000):
        words = ["kamailio", "-f", self.config, "-DD", "-E", "-m", 1024, "-M", 16, "-A", "CHILDREN=2"]
        words += ["-A", f'DBURL="sqlite://{self.prepare(users)}"', "-P", self.folder / "kamailio.pid", "-Y", self.folder]
        process = space.Process(words, self.folder / "kamailio.log")
        process.first_answer = space.first_answer(process.began)
        return process

    def version(self):
        return subprocess.run(["kamailio", "-v"], capture_output=True, text=True).stdout.splitlines()[0]


class Rtpengine:
    """Debian's rtpengine, forwarding in user space with one thread."""

    title = "rtpengine"

    def __init__(self, folder):
        self.folder = Path(folder)

    def start(self):
        words = ["rtpengine", "--config-file=none", "--table=-1", "--interface=127.0.0.1", "--listen-ng=127.0.0.1:2223"]
        words += ["--port-min=10000", "--port-max=29999", "--foreground", "--log-stderr", "--log-level=3"]
        words += ["--num-threads=1", "--timeout=120", "--silent-timeout=600"]
        return space.Process(words, self.folder / "rtpengine.log")

    def version(self):
        done = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True)
        return "rtpengine " + (done.stdout + done.stderr).strip().removeprefix("Version: ")
