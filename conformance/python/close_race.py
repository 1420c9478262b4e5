"""A race in the client of ZEO 5.2.3, with any server: an application that closes its
storage while another thread finishes a transaction may leave that thread waiting for ever.

    python close_race.py HOST:PORT ROUNDS

With `runzeo` of 5.2.3 itself 7 of 1,500 rounds hang. The tests checkCommitLockVote* of its
suite meet it where the vote of their first worker is answered at once, as by a server that
does not let transactions of different objects wait for each other; Python's server keeps
that worker in its vote until the storage is closed.
"""
import collections
import os
import random
import sys
import threading
import time

from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

PATIENCE_S = 4


def play(address):
    """Votes, and then closes the storage while a thread finishes."""
    storage = ClientStorage(address, wait=True, wait_timeout=10)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(storage.new_oid(), z64, b"data", "", txn)
    is_asked, ends = threading.Event(), []

    def finish():
        vote = storage._server.call_future("vote", id(txn))
        is_asked.set()
        try:
            vote.result(9)
            storage.tpc_finish(txn)
            ends.append("finished")
        except BaseException as error:
            ends.append(type(error).__name__)

    worker = threading.Thread(target=finish, daemon=True)
    worker.start()
    is_asked.wait()
    time.sleep(random.random() * 0.0015)
    storage.close()
    worker.join(PATIENCE_S)
    return "hangs" if worker.is_alive() else ends[0]


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    print(dict(collections.Counter(play((host, int(port))) for _ in range(int(sys.argv[2])))))
    sys.stdout.flush()
    # The threads that hang would keep the interpreter.
    os._exit(0)


if __name__ == "__main__":
    main()
