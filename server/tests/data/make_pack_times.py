#!/usr/bin/env python3
"""Write pack_times.in: pack times as FileStorage.pack computes them. Run with a Python that has ZODB:

    python make_pack_times.py > pack_times.in
"""
import os
import random
import struct
import time

from persistent.TimeStamp import TimeStamp

RANDOM = random.Random(15)

EDGES = [
    0.0, -0.0, 5e-324, 1e-20, -1e-20, -5e-324, 1.0, -1.0, 59.0, 59.99999999999999, 60.0, 119.99999999999999, -60.0, -59.5,
    1795170390.5, 951782400.0, 951868800.0, 1709164800.0, 4107542400.0, 2147483647.0, 2147483648.0, 4294967296.0,
    -2208988800.0, -2208988799.5, -2208988800.5, -2208988801.0, -1e12, 253402300799.0, 253402300800.0,
    1e11, 3e11, 4e11, 2e14, 67768036191676800.0, 1e18, 9.3e18, -9.3e18, 1e300, -1e300,
    float("inf"), -float("inf"), float("nan"),
]


def expected(seconds):
    try:
        raw = TimeStamp(*time.gmtime(seconds)[:5] + (seconds % 60,)).raw()
    except OSError as error:
        return 'Err("%s")' % os.strerror(error.errno)
    except (OverflowError, ValueError) as error:
        return 'Err("%s")' % error
    return "Ok(0x%s)" % raw.hex()


def main():
    times = EDGES + [RANDOM.uniform(-2.3e9, 5e9) for _ in range(100)] + [RANDOM.uniform(1.5e9, 2e9) for _ in range(100)]
    times += [float(RANDOM.randrange(10**9, 2 * 10**9)) for _ in range(50)]
    lines = ["    (0x%016x, %s)," % (struct.unpack(">Q", struct.pack(">d", one))[0], expected(one)) for one in times]
    print("[\n" + "\n".join(lines) + "\n]")


main()
