"""Makes tids.in: pairs of microseconds since 1970 and Python's tid for them.

    target/peers/6.2/bin/python make_tids.py > tids.in     (persistent of ZODB 6.4)
"""
import calendar
import random
import time

from persistent.TimeStamp import TimeStamp

rng = random.Random(14)
moments = [0, 1, 59_999_999, 60_000_000, 234_375, 30_000_000, 1_795_170_390_500_000]
for y, m, d in [(1970, 1, 1), (1972, 2, 29), (1999, 12, 31), (2000, 2, 29), (2000, 3, 1), (2001, 2, 28),
                (2024, 2, 29), (2024, 12, 31), (2026, 11, 20), (2038, 1, 19), (2100, 2, 28), (2100, 3, 1),
                (2400, 2, 29)]:
    day = calendar.timegm((y, m, d, 0, 0, 0)) * 10**6
    moments += [day, day + 86_399_999_999, day + 43_200_000_001]
moments += [rng.randrange(4 * 10**15) for _ in range(100)]
print("[")
for micros in moments:
    raw = TimeStamp(*time.gmtime(micros // 10**6)[:5] + (micros % (60 * 10**6) / 1e6,)).raw()
    print(f"    ({micros}, 0x{raw.hex()}),")
print("]")
