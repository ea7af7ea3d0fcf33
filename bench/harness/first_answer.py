"""first_answer.py BEGAN LIMIT: sends OPTIONS to 127.0.0.1:5060 every two milliseconds, and prints the milliseconds from BEGAN to the first response."""
import os
import socket
import sys
import time

began, limit = float(sys.argv[1]), float(sys.argv[2])
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.bind(("127.0.0.1", 0))
asker.settimeout(0.002)
port = asker.getsockname()[1]
n = 0
while time.monotonic() - began < limit:
    n += 1
    request = (
        f"OPTIONS sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{os.getpid()}.{n}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:u000001@127.0.0.1>;tag={n}\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {os.getpid()}.{n}@b\r\n"
        f"CSeq: 1 OPTIONS\r\nContact: <sip:b@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        asker.sendto(request.encode(), ("127.0.0.1", 5060))
        if asker.recv(4096).startswith(b"SIP/2.0 "):
            print((time.monotonic() - began) * 1000)
            sys.exit(0)
    except (TimeoutError, ConnectionRefusedError):
        time.sleep(0.002)
sys.exit("no answer")
