"""Makes times.in: pairs of a tid and the bits of the float that Python takes for its time.

    target/peers/6.2/bin/python make_times.py > times.in     (persistent of ZODB 6.4)
"""
import random
import struct

from persistent.TimeStamp import TimeStamp

rng = random.Random(15)
tids = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0x040d_2412_8222_2222]
# Now, a century around it, and anything.
tids += [0x040d_2412_0000_0000 + rng.randrange(2**33) for _ in range(100)]
tids += [rng.randrange(0x0300_0000_0000_0000, 0x0600_0000_0000_0000) for _ in range(100)]
tids += [rng.randrange(2**64) for _ in range(100)]
print("[")
for tid in tids:
    seconds = TimeStamp(struct.pack(">Q", tid)).timeTime()
    print("    (0x%016x, 0x%s)," % (tid, struct.pack(">d", seconds).hex()))
print("]")
