#!/usr/bin/env python3
"""Makes recurrence.json: instants at which schedules are due, computed without any code of ours.

    pip install tzdata==2026.5     # the release that the binary has built in: see the test's message
    python3 recurrence.py > recurrence.json

Python's zoneinfo has no notion of the first valid instant, so a skipped time is searched for: the clocks are asked second by second
(by halving) when they first show that much.
"""

import calendar
import json
import random
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, reset_tzpath

import tzdata

reset_tzpath(to=[])  # the package's data, never the machine's

ZONES = """Africa/Cairo Africa/Casablanca Africa/Monrovia America/Asuncion America/Bogota America/Caracas America/Havana America/Los_Angeles
America/Mexico_City America/New_York America/Nuuk America/Santiago America/Sao_Paulo America/St_Johns Antarctica/Troll Asia/Amman Asia/Beirut
Asia/Gaza Asia/Kathmandu Asia/Kolkata Asia/Pyongyang Asia/Tehran Atlantic/Azores Australia/Lord_Howe Australia/Sydney Europe/Dublin
Europe/Istanbul Europe/Lisbon Europe/London Europe/Madrid Europe/Volgograd Pacific/Apia Pacific/Auckland Pacific/Chatham Pacific/Easter
Pacific/Kiritimati Pacific/Norfolk Pacific/Tongatapu UTC""".split()
BEGIN, END = datetime(2005, 1, 1, tzinfo=timezone.utc), datetime(2037, 1, 1, tzinfo=timezone.utc)


def clocks(zone, at):
    """What the clocks show at an instant, without a zone."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def first_instant(zone, local):
    """The first instant at which the clocks show `local` or, where they skip it, more."""
    guess = local.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
    if clocks(zone, guess) == local:
        return guess
    low, high = guess - timedelta(hours=30), guess + timedelta(hours=30)
    while high - low > timedelta(seconds=1):  # before the gap the clocks show less, after it more
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if clocks(zone, middle) < local:
            low = middle
        else:
            high = middle
    return high


def matches(schedule, day):
    if schedule["frequency"] == "daily":
        return True
    if schedule["frequency"] == "weekly":
        days = schedule.get("daysOfWeek", [schedule.get("dayOfWeek")])
        return (day.weekday() + 1) % 7 in days
    last = calendar.monthrange(day.year, day.month)[1]
    wanted = schedule["dayOfMonth"]
    if schedule.get("monthEndPolicy") != "skip":
        wanted = min(wanted, last)
    return day.day == wanted


def next_after(schedule, after):
    zone = ZoneInfo(schedule["timezone"])
    parts = [int(part) for part in schedule["time"].split(":")]
    day = clocks(zone, after).date() - timedelta(days=3)
    while True:
        if matches(schedule, day):
            due = first_instant(zone, datetime(day.year, day.month, day.day, *parts))
            if due > after:
                return due
        day += timedelta(days=1)


def changes(zone):
    """Instants at which the offset of a zone changes, to the hour before."""
    at, found = BEGIN, []
    while at < END:
        later = at + timedelta(hours=6)
        if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            found.append(at)
        at = later
    return found


def main():
    chance = random.Random(20250115)
    vectors = []
    for number in range(312):
        name = ZONES[number % len(ZONES)]
        zone = ZoneInfo(name)
        near = changes(zone)
        if near and number % 4:  # three of four lie where clocks change
            begin = chance.choice(near)
            after = begin + timedelta(seconds=chance.randrange(-3 * 86400, 6 * 3600))
            shown = clocks(zone, begin + timedelta(hours=6))
            minutes = (shown.hour * 60 + chance.randrange(-360, 60)) % 1440
        else:
            after = BEGIN + timedelta(seconds=chance.randrange(int((END - BEGIN).total_seconds())))
            minutes = chance.randrange(1440)
        time = f"{minutes // 60:02}:{minutes % 60:02}"
        if chance.randrange(3) == 0:
            time += f":{chance.randrange(1, 60):02}"
        schedule = {"time": time, "timezone": name}
        kind = chance.randrange(4)
        local = clocks(zone, after)
        if kind < 2:
            schedule["frequency"] = "daily"
        elif kind == 2:
            schedule["frequency"] = "weekly"
            if chance.randrange(2):
                schedule["dayOfWeek"] = chance.randrange(7)
            else:
                schedule["daysOfWeek"] = sorted(chance.sample(range(7), chance.randrange(2, 7)))
        else:
            schedule["frequency"] = "monthly"
            schedule["dayOfMonth"] = chance.choice([1, 15, 28, 29, 30, 31, local.day])
            if chance.randrange(2):
                schedule["monthEndPolicy"] = "skip"
        due, at = [], after
        for _ in range(3):
            at = next_after(schedule, at)
            due.append(at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        vectors.append({"schedule": schedule, "after": after.strftime("%Y-%m-%dT%H:%M:%SZ"), "due": due})
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    print(f'{{"tzdb": "{tzdata.IANA_VERSION}", "vectors": [\n{lines}\n]}}')


main()
