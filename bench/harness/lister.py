"""lister.py: lists the registrations of the server on 127.0.0.1:5000, page by page, 20 times per second and 100 rows at a time, until its
standard input ends; then it prints the number of pages. The key is in the environment variable KEY."""
import http.client
import json
import os
import select
import sys
import time
import urllib.parse

PAUSE = 1 / 20
answered, cursor, began = 0, None, time.monotonic()
connection = http.client.HTTPConnection("127.0.0.1", 5000, timeout=10)
while not select.select([sys.stdin], [], [], 0)[0]:
    words = {"limit": 100, **({"cursor": cursor} if cursor else {})}
    path = "/api/v1/registrations?" + urllib.parse.urlencode(words)
    connection.request("GET", path, headers={"Authorization": f"Bearer {os.environ['KEY']}"})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        sys.exit(f"{response.status}: {body[:200]!r}")
    answered += 1
    cursor = json.loads(body).get("nextCursor")
    left = began + answered * PAUSE - time.monotonic()
    if left > 0:
        select.select([sys.stdin], [], [], left)
print(answered)
