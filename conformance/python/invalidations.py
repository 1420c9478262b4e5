"""Another process sees each commit, in order, with exactly its objects."""
import BTrees.OOBTree
import common
from journal import Journal
from persistent_classes import Plain

# Commits of which each is waited for, and commits in a hurry after them.
LOCKSTEP = 20
HURRY = 60


def watch(args, pipe):
    """The other process."""
    common.receive(pipe, "the first commit")
    storage = common.open_storage(args)
    received = []
    real = storage.invalidateTransaction

    def invalidate(tid, oids):
        received.append((tid, sorted(oids)))
        real(tid, oids)

    storage.invalidateTransaction = invalidate
    with common.database(args, storage) as (db, storage):
        with common.connection(db) as (manager, root):
            common.equal(root["plain"].value, 0, "value at the beginning")
            pipe.send("ready")

            def look():
                """What this process sees in a new transaction."""
                manager.begin()
                value = root["plain"].value
                # Written by the same commits, so seen together.
                common.equal(len(root["tree"]), value, "number of new objects")
                if value:
                    common.equal(root["tree"][value].value, value, "new object")
                return value

            for number in range(1, LOCKSTEP + 1):
                common.eventually(lambda: look() == number, "value %d" % number)
                pipe.send(number)
            seen = [LOCKSTEP]
            while seen[-1] != LOCKSTEP + HURRY:
                before = seen[-1]
                common.eventually(lambda: look() != before, "a value after it")
                seen.append(look())
            common.equal(seen, sorted(seen), "order of the values")
        pipe.send(received)


def main():
    args = common.arguments(__doc__)
    watcher, pipe = common.start_process(watch, args)
    storage = common.open_storage(args)
    journal = Journal(storage)
    with common.database(args, storage) as (db, storage):
        with common.connection(db) as (manager, root):
            root["plain"] = Plain(0)
            root["tree"] = BTrees.OOBTree.OOBTree()
            manager.commit()
            pipe.send("go")
            common.equal(common.receive(pipe, "the watcher"), "ready", "answer")
            first = len(journal.commits)
            for number in range(1, LOCKSTEP + HURRY + 1):
                root["plain"].value = number
                root["tree"][number] = Plain(number)
                manager.commit()
                if number <= LOCKSTEP:
                    answer = common.receive(pipe, "commit %d seen" % number)
                    common.equal(answer, number, "value seen")
        received = common.receive(pipe, "what the watcher has received")
        expected = [
            (bytes.fromhex(commit["tid"]),
             sorted(bytes.fromhex(oid) for oid in commit["records"]))
            for commit in journal.commits[first:]]
        common.equal(received, expected, "invalidations")
        tids = [tid for tid, _ in received]
        common.equal(tids, sorted(set(tids)), "order of the tids")
    common.join(watcher)
    common.succeed(invalidations=len(received))


if __name__ == "__main__":
    main()
