"""An application of several processes lives through restarts of its server.

It is a bank: money moves between accounts, in small transactions that touch
a few objects each, and every transfer is written into a journal. Whatever
happens, the sum of all accounts stays what it was, in every transaction that
anybody reads, and every transfer that was committed is in the journal, once.
"""
import random

import BTrees.IOBTree
import BTrees.Length
import BTrees.OOBTree
import common
from persistent_classes import Plain
from transaction.interfaces import TransientError
from ZEO.Exceptions import ClientDisconnected
from ZODB.utils import p64

PROCESSES = 3
ACCOUNTS = 40
START_MONEY = 1000
# Transfers of a process between two looks at the sum.
STRETCH = 15
RESTARTS = 3


def total(root):
    """The money in all accounts, as one transaction sees it."""
    return sum(account.value for account in root["accounts"].values())


def transfer(root, dice, key):
    """Move some money and write it down."""
    giver, taker = dice.sample(range(ACCOUNTS), 2)
    amount = dice.randrange(1, 50)
    accounts, journal = root["accounts"], root["journal"]
    accounts["account-%d" % giver].value -= amount
    accounts["account-%d" % taker].value += amount
    if key in journal:
        raise AssertionError("transfer %d is there already" % key)
    journal[key] = Plain((giver, taker, amount))
    root["count"].change(1)


def work(args, number, pipe):
    """One of the processes: transfers until it is told to stop."""
    common.receive(pipe, "the start")
    dice = random.Random(number)
    made = conflicts = outages = 0
    with common.database(args, wait_timeout=20, server_sync=True) as (db, _):
        with common.connection(db) as (manager, root):
            pipe.send("ready")
            while not pipe.poll():
                key = number * 1000000 + made
                try:
                    manager.begin()
                    if key in root["journal"]:
                        # The reply to that commit was lost, the commit not.
                        made += 1
                        continue
                    transfer(root, dice, key)
                    manager.commit()
                    made += 1
                    if made % STRETCH == 0:
                        manager.begin()
                        common.equal(total(root), ACCOUNTS * START_MONEY,
                                     "the sum in process %d" % number)
                        pipe.send("progress")
                except ClientDisconnected:
                    manager.abort()
                    outages += 1
                except TransientError:
                    manager.abort()
                    conflicts += 1
            pipe.send(("end", made, conflicts, outages))


def until_progress(pipes):
    """Wait until every process has gone on, twice: the second stretch has
    begun after this call."""
    for _ in range(2):
        for pipe in pipes:
            common.equal(common.receive(pipe, "progress", 30), "progress",
                         "what a process says")


def end_of(pipe):
    """What a process says at its end; it may still tell of its progress."""
    said = "progress"
    while said == "progress":
        said = common.receive(pipe, "the end of a process", 30)
    return said


def main():
    args = common.arguments(__doc__)
    processes = [common.start_process(work, args, number)
                 for number in range(1, PROCESSES + 1)]
    pipes = [pipe for _, pipe in processes]
    with common.database(args) as (db, _):
        with common.connection(db) as (manager, root):
            root["accounts"] = BTrees.OOBTree.OOBTree()
            for number in range(ACCOUNTS):
                root["accounts"]["account-%d" % number] = Plain(START_MONEY)
            root["journal"] = BTrees.IOBTree.IOBTree()
            root["count"] = BTrees.Length.Length(0)
            manager.commit()
    for pipe in pipes:
        pipe.send("start")
    for pipe in pipes:
        common.equal(common.receive(pipe, "a process that is ready"), "ready",
                     "what a process says")
    for _ in range(RESTARTS):
        until_progress(pipes)
        common.step("working")
        common.await_answer("restarted")
    until_progress(pipes)
    for pipe in pipes:
        pipe.send("stop")
    ends = [end_of(pipe) for pipe in pipes]
    for process, _ in processes:
        common.join(process)

    with common.database(args) as (db, storage):
        with common.connection(db) as (manager, root):
            common.equal(total(root), ACCOUNTS * START_MONEY, "the sum")
            journal = root["journal"]
            for number, (_, made, _, _) in enumerate(ends, 1):
                first = number * 1000000
                keys = list(journal.keys(first, first + 999999))
                common.equal(keys, list(range(first, first + made)),
                             "transfers of process %d" % number)
            common.equal(root["count"](), len(journal), "the count")
            # What the journal says is what the accounts hold.
            money = dict.fromkeys(range(ACCOUNTS), START_MONEY)
            for entry in journal.values():
                giver, taker, amount = entry.value
                money[giver] -= amount
                money[taker] += amount
            for number, value in money.items():
                common.equal(root["accounts"]["account-%d" % number].value,
                             value, "account %d" % number)
        # Without the client's cache, from the server.
        common.equal(storage._call("getTid", p64(0)),
                     storage.load(p64(0))[1], "serial of the root")
    common.succeed(transfers=sum(end[1] for end in ends),
                   conflicts=[end[2] for end in ends],
                   outages=[end[3] for end in ends])


if __name__ == "__main__":
    main()
