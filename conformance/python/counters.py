"""Four processes count at the same time; no increment is lost."""
import BTrees.Length
import common
from persistent_classes import Plain
from ZODB.POSException import ConflictError

PROCESSES = 4
INCREMENTS = 50


def until_committed(manager, change):
    """Retry until there is no conflict; returns the number of conflicts."""
    conflicts = 0
    while True:
        manager.begin()
        try:
            change()
            manager.commit()
            return conflicts
        except ConflictError:
            manager.abort()
            conflicts += 1


def count(args, pipe):
    """One of the processes."""
    common.receive(pipe, "the start")
    with common.database(args) as (db, _):
        with common.connection(db) as (manager, root):
            def on_length():
                root["length"].change(1)

            def on_plain():
                root["plain"].value += 1

            pipe.send("ready")
            common.receive(pipe, "the others")
            conflicts = [0, 0]
            for _ in range(INCREMENTS):
                conflicts[0] += until_committed(manager, on_length)
                conflicts[1] += until_committed(manager, on_plain)
            pipe.send(conflicts)


def main():
    args = common.arguments(__doc__)
    processes = [common.start_process(count, args) for _ in range(PROCESSES)]
    pipes = [pipe for _, pipe in processes]
    with common.database(args) as (db, _):
        with common.connection(db) as (manager, root):
            root["length"] = BTrees.Length.Length(0)
            root["plain"] = Plain(0)
            manager.commit()
            for message in "start", "others":
                for pipe in pipes:
                    pipe.send(message)
                if message == "start":
                    for pipe in pipes:
                        common.receive(pipe, "a process that is ready")
            conflicts = [common.receive(pipe, "the end of a process", 40)
                         for pipe in pipes]
            for process, _ in processes:
                common.join(process)
            total = PROCESSES * INCREMENTS
            common.eventually(
                lambda: (manager.begin(), root["plain"].value)[1] == total,
                "the sum on the plain object")
            common.equal(root["length"](), total, "the sum on the length")
    # The database's own commit, that of the objects, and the increments.
    common.succeed(conflicts=conflicts, commits=2 + 2 * total)


if __name__ == "__main__":
    main()
