"""Conflicts between two clients: an error that says what, or both changes count."""
import BTrees.Length
import common
from persistent_classes import Counter, Plain, Stubborn
from ZODB.POSException import ConflictError


def meet(name, change, managers, roots):
    """Both clients change the same object; the second one's commit may fail.

    Returns (oid, serial committed by the first, serial that the second
    has read).
    """
    for manager in managers:
        manager.begin()
    first, second = (root[name] for root in roots)
    change(second)
    read = second._p_serial
    change(first)
    managers[0].commit()
    committed = first._p_serial
    managers[1].commit()
    return second._p_oid, committed, read


def refused(name, managers, roots, storage):
    """The second commit must fail, with everything that Python says about it."""
    def change(persistent):
        persistent.value += 1

    value = roots[0][name].value
    with common.raises(ConflictError, "conflict on " + name) as caught:
        meet(name, change, managers, roots)
    error, = caught
    managers[1].abort()
    data, committed = storage.load(roots[0][name]._p_oid)
    oid, read = roots[0][name]._p_oid, error.serials[1]
    common.equal(error.oid, oid, "oid")
    common.equal(error.serials[0], committed, "committed serial")
    if not storage._call("loadSerial", oid, read):
        raise AssertionError("the serial that was read does not exist")
    # Python's own words for it.
    expected = ConflictError(oid=oid, serials=(committed, read), data=data)
    common.equal(error.class_name, expected.class_name, "class name")
    common.equal(str(error), str(expected), "text of the error")
    # The loser sees the winner's value, and can go on.
    common.eventually(lambda: (managers[1].begin(), roots[1][name].value)[1]
                      == value + 1, "the winner's value")
    roots[1][name].value += 1
    managers[1].commit()


def resolved(name, change, value, expected, managers, roots, args):
    """Both commits must succeed, and everybody must see both changes."""
    oid, committed, read = meet(name, change, managers, roots)
    for manager, root in zip(managers, roots):
        common.eventually(lambda: (manager.begin(), value(root[name]))[1]
                          == expected, "the resolved value of " + name)
    with common.database(args) as (db, _):
        with common.connection(db) as (_, root):
            common.equal(value(root[name]), expected, name + " for a third")
            if not root[name]._p_serial > committed > read:
                raise AssertionError("serials do not rise")


def main():
    args = common.arguments(__doc__)
    with common.database(args) as (db1, storage), \
            common.connection(db1) as (manager1, root1):
        root1["plain"] = Plain(1)
        root1["stubborn"] = Stubborn(1)
        root1["counter"] = Counter(10)
        root1["length"] = BTrees.Length.Length(5)
        manager1.commit()
        with common.database(args) as (db2, _), \
                common.connection(db2) as (manager2, root2):
            managers, roots = (manager1, manager2), (root1, root2)
            refused("plain", managers, roots, storage)
            refused("stubborn", managers, roots, storage)

            def add(counter):
                counter.value += 3

            resolved("counter", add, lambda counter: counter.value, 16,
                     managers, roots, args)
            resolved("length", lambda length: length.change(4),
                     lambda length: length(), 13, managers, roots, args)
    common.succeed()


if __name__ == "__main__":
    main()
