"""SMTP server for tests: rejects the first mails as busy, stores the others as files, and prints its port."""

import asyncio
import pathlib
import sys

from aiosmtpd.smtp import SMTP


class Box:
    def __init__(self, folder, busy):
        self.folder = pathlib.Path(folder)
        self.busy = busy
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        if self.busy > 0:
            self.busy -= 1
            return "451 busy, come back later"
        if "refused" in envelope.rcpt_tos[0]:
            return "550 no such mailbox"
        self.count += 1
        draft = self.folder / f"draft-{self.count}"
        draft.write_bytes(envelope.content)
        draft.rename(self.folder / f"mail-{self.count}")
        return "250 kept"


async def main():
    box = Box(sys.argv[1], int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, hostname="mail.test"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
