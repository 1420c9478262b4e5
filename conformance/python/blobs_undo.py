"""Undo of blobs: contents come back, creations go and come back; conflicts beside blobs."""
import common
from blobs import client, content, filled, journal, only_committed, read
from BTrees.Length import Length
from persistent_classes import Plain
from ZODB.POSException import ConflictError, POSKeyError


class Site:
    """One process that changes and undoes, and another one that watches."""

    def __init__(self, db, one, other):
        self.db, self.other = db, other
        self.manager, self.root = one

    def write(self, name, number, size):
        with self.root[name].open("w") as file:
            file.write(content(number, size))
        self.manager.commit()

    def undo(self, *numbers):
        """Undo the last transactions with these numbers; 0 is the last."""
        log = self.db.undoLog(0, max(numbers) + 1)
        self.db.undoMultiple([log[number]["id"] for number in numbers],
                             self.manager.get())
        self.manager.commit()
        self.manager.begin()

    def expect(self, name, number, size, what):
        """Both processes must see this."""
        expected = content(number, size)
        common.equal(read(self.root[name]) == expected, True, what)
        manager, root = self.other
        common.eventually(
            lambda: (manager.begin(), name in root and read(root[name]) == expected)[1],
            what + " in the other process")


def contents(site):
    """Undo, redo, and two changes undone at once."""
    site.root["blob"] = filled(1, 300_000)
    site.manager.commit()
    site.write("blob", 2, 70_000)
    site.expect("blob", 2, 70_000, "changed")
    site.undo(0)
    site.expect("blob", 1, 300_000, "undone")
    site.undo(0)
    site.expect("blob", 2, 70_000, "redone")
    site.write("blob", 3, 0)
    site.write("blob", 4, 59_001)
    site.undo(0, 1)
    site.expect("blob", 2, 70_000, "two undone at once")


def creation(site, storage):
    """A blob that was never there, and is again."""
    site.root["created"] = filled(5, 100)
    site.manager.commit()
    # The serial is known only once it has been read.
    site.expect("created", 5, 100, "created")
    oid, serial = site.root["created"]._p_oid, site.root["created"]._p_serial
    site.undo(0)
    common.equal("created" in site.root, False, "creation undone")
    with common.raises(POSKeyError, "load of what was not created"):
        storage._call("loadBefore", oid, b"\x7f" + b"\xff" * 7)
    # Its past stays.
    with open(storage.loadBlob(oid, serial), "rb") as file:
        common.equal(file.read(), content(5, 100), "the undone revision")
    site.undo(0)
    site.expect("created", 5, 100, "creation redone")


def conflicts(args, site):
    """A blob is committed with what could be resolved, and not with what could not."""
    site.root["length"], site.root["plain"] = Length(0), Plain(0)
    site.manager.commit()
    manager, root = site.other
    common.eventually(lambda: (manager.begin(), "plain" in root)[1], "both")
    site.root["length"].change(1)
    root["length"].change(1)
    with root["blob"].open("w") as file:
        file.write(content(6, 150_000))
    site.manager.commit()
    manager.commit()
    common.eventually(lambda: (site.manager.begin(), site.root["length"]())[1] == 2,
                      "the resolved length")
    site.expect("blob", 6, 150_000, "a blob beside what was resolved")

    manager.begin()
    site.root["plain"].value, root["plain"].value = 1, 2
    with root["blob"].open("w") as file:
        file.write(content(7, 150_000))
    site.manager.commit()
    with common.raises(ConflictError, "conflict beside a blob"):
        manager.commit()
    manager.abort()
    only_committed(args, "conflict beside a blob")
    site.manager.begin()
    site.expect("blob", 6, 150_000, "a blob beside what was not resolved")


def main():
    args = common.arguments(__doc__, "blobs")
    args.shared = False
    with common.database(args, **client(args, "one")) as (db1, storage), \
            common.connection(db1) as one, \
            common.database(args, **client(args, "other")) as (db2, _), \
            common.connection(db2) as other:
        site = Site(db1, one, other)
        contents(site)
        creation(site, storage)
        conflicts(args, site)
        del site.root["length"], site.root["plain"]
        site.manager.commit()
        common.succeed(revisions=journal(args, site.root))


if __name__ == "__main__":
    main()
