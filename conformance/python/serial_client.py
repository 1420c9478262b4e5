"""Random transactions, each written down: what was read at which snapshot,
what was written, and what became of it.

It is one of the clients of `zeo-serial`, whose journal says what the fields
mean (`conformance/src/serial/journal.rs`). Threads share a storage with its
cache, which is closed and opened again now and then.
"""
import contextlib
import io
import json
import pickle
import random
import signal
import sys
import threading
import time

import common
from persistent_classes import Plain
from transaction.interfaces import TransientError
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64

FILLER_LEN_MAX = 300
# As long as the program may be slow at its end, beyond the time of the run.
MARGIN_S = 90


def record_of(value):
    """The record that holds `value`, and a text that follows from it."""
    length = value % FILLER_LEN_MAX
    digits = str(value)
    filler = (digits * (length // len(digits) + 1))[:length]
    state = {"value": value, "filler": filler}
    return pickle.dumps(Plain, 3) + pickle.dumps(state, 3)


def state_of(record):
    """The second pickle of a record."""
    file = io.BytesIO(record)
    pickle.load(file)
    return pickle.load(file)


def value_of(record):
    """The value in a record, which must be whole."""
    state = state_of(record)
    common.equal(state_of(record_of(state["value"])), state, "state")
    return state["value"]


class Worker:
    """One thread of a client, over all its storages."""

    def __init__(self, number, object_count, seed):
        self.number = number
        self.entries = []
        self.written = 0
        self.object_count = object_count
        self.dice = random.Random("%s %s" % (seed, number))

    def work(self, storage, is_over):
        """Transactions until it is over."""
        while not is_over.is_set():
            try:
                self.transaction(storage)
            except ClientDisconnected:
                # While it was reading: nothing has happened.
                pass
            time.sleep(self.dice.random() * 0.01)

    def read(self, storage, oid, snapshot):
        data, serial, end = storage.loadBefore(p64(oid), p64(snapshot + 1))
        return dict(oid=oid, serial=u64(serial), value=value_of(data),
                    end=end and u64(end))

    def transaction(self, storage):
        dice = self.dice
        snapshot = u64(storage.lastTransaction())
        oids = dice.sample(range(1, self.object_count + 1),
                           dice.randint(1, 4))
        reads = [self.read(storage, oid, snapshot) for oid in oids]
        entry = dict(thread=self.number, snapshot=snapshot, reads=reads,
                     checked=[], writes=[], outcome="read")
        if dice.randrange(4):
            count = dice.randint(1, len(oids))
            for oid in oids[:count]:
                self.written += 1
                value = self.number << 40 | self.written
                entry["writes"].append(dict(oid=oid, value=value))
            if dice.randrange(2):
                entry["checked"] = oids[count:]
            entry["outcome"] = self.commit(storage, entry)
        self.entries.append(entry)

    def commit(self, storage, entry):
        """What became of it."""
        serials = {read["oid"]: p64(read["serial"]) for read in entry["reads"]}
        txn = TransactionMetaData("serial", "of %s" % self.number)
        try:
            storage.tpc_begin(txn)
            for write in entry["writes"]:
                oid = write["oid"]
                storage.store(p64(oid), serials[oid],
                              record_of(write["value"]), "", txn)
            for oid in entry["checked"]:
                storage.checkCurrentSerialInTransaction(
                    p64(oid), serials[oid], txn)
            # What the server has resolved; there is no class here that can.
            common.equal(storage.tpc_vote(txn) or [], [], "resolved")
        except ConflictError:
            storage.tpc_abort(txn)
            return "refused"
        except TransientError:
            storage.tpc_abort(txn)
            return "lost"
        try:
            return {"committed": u64(storage.tpc_finish(txn))}
        except ClientDisconnected:
            storage.tpc_abort(txn)
            return "unknown"


def opened(args, cache_size):
    """A storage; a server that goes in that moment is waited for."""
    while True:
        try:
            return common.open_storage(
                args, cache=args.cache, cache_size=cache_size,
                disconnect_poll=0.05, wait_timeout=60)
        except ClientDisconnected:
            continue


def live(args, workers, dice, cache_size, is_over):
    """A storage, from when it is opened until it is closed."""
    with contextlib.closing(opened(args, cache_size)) as storage:
        is_enough = threading.Event()
        failures = []

        def work(worker):
            try:
                worker.work(storage, is_enough)
            except BaseException as error:
                failures.append(error)
                is_enough.set()

        threads = [threading.Thread(target=work, args=(worker,))
                   for worker in workers]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 2 + 4 * dice.random()
        while (time.monotonic() < deadline and not is_over.is_set()
               and not is_enough.is_set()):
            time.sleep(0.01)
        is_enough.set()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def wait_for_end(is_over):
    """The input ends, or says something: the run is over."""
    sys.stdin.readline()
    is_over.set()


def main():
    args = common.arguments(
        __doc__, "first-thread", "threads", "objects", "seed", "seconds",
        "cache", "cache-size", "journal")
    signal.alarm(int(args.seconds) + MARGIN_S)
    first = int(args.first_thread)
    workers = [Worker(number, int(args.objects), args.seed)
               for number in range(first, first + int(args.threads))]
    dice = random.Random(args.seed + args.first_thread)
    is_over = threading.Event()
    listener = threading.Thread(target=wait_for_end, args=(is_over,))
    listener.daemon = True
    listener.start()
    lives = 0
    while not is_over.is_set():
        live(args, workers, dice, int(args.cache_size), is_over)
        lives += 1
    with open(args.journal, "w") as file:
        for worker in workers:
            for entry in worker.entries:
                file.write(json.dumps(entry) + "\n")
    common.succeed(lives=lives)


if __name__ == "__main__":
    main()
