"""Write small cache files with Python's ClientCache: DIRECTORY.

The same calls each time, so a second run makes the same bytes.
"""
import os
import random
import sys

from ZEO.cache import ClientCache
from ZODB.utils import p64


def few(cache, rng):
    """Two current revisions, one that has ended, and much room."""
    cache.store(p64(1), p64(3), None, b"hello")
    cache.store(p64(2), p64(2), p64(3), b"world!")
    cache.store(p64(3), p64(4), None, b"")
    cache.invalidate(p64(1), p64(5))
    cache.setLastTid(p64(5))


def many(cache, rng):
    """What is left after the ring has been gone round several times."""
    last = 10
    for number in range(300):
        oid = p64(rng.randrange(1, 12))
        last += 1
        cache.invalidate(oid, p64(last))
        cache.setLastTid(p64(last))
        if rng.random() < 0.8:
            cache.store(oid, p64(last), None, rng.randbytes(rng.randrange(120)))
        old = p64(rng.randrange(1, 12))
        if rng.random() < 0.2:
            cache.store(old, p64(number % 7 + 1), p64(number % 7 + 3), b"old")
        cache.loadBefore(old, p64(last + 1))


def forgotten(cache, rng):
    """Holes of any length."""
    many(cache, rng)
    for oid in range(1, 12, 2):
        cache.invalidate(p64(oid), None)
    cache.store(p64(20), p64(400), None, b"x" * 13)


def shrunk(cache, rng):
    """A file that was longer once."""
    many(cache, rng)


def main():
    directory, = sys.argv[1:]
    kinds = [(few, 300), (many, 1500), (forgotten, 1500), (shrunk, 2500)]
    for make, size in kinds:
        path = os.path.join(directory, make.__name__ + ".zec")
        cache = ClientCache(path, size)
        make(cache, random.Random(7))
        cache.close()
        if make is shrunk:
            ClientCache(path, 900).close()
        os.unlink(path + ".lock")


main()
