"""A journal of what a client has committed, to compare a file with later.

It is kept at the storage's interface, that is of what was given to the
server, not of what came back.
"""
import hashlib
import json


def digest(data):
    """A short name for bytes, or None."""
    return data if data is None else hashlib.sha256(data).hexdigest()


def canonical(value):
    """A text for a value of an extension, the same in both framings.

    msgpack has one kind of sequence, so lists arrive as tuples there.
    """
    if isinstance(value, dict):
        items = sorted((repr(key), canonical(item))
                       for key, item in value.items())
        return "{%s}" % ", ".join("%s: %s" % item for item in items)
    if isinstance(value, (list, tuple)):
        return "(%s)" % ", ".join(map(canonical, value))
    return repr(value)


class Journal:
    """Writes down the commits of one storage, in order."""

    def __init__(self, storage):
        self.commits = []
        self._storage = storage
        for name in "tpc_begin", "store", "tpc_finish", "tpc_abort":
            setattr(self, "_real_" + name, getattr(storage, name))
            setattr(storage, name, getattr(self, name))
        self._current = None

    def tpc_begin(self, txn, *args):
        self._current = dict(
            user=txn.user.hex(), description=txn.description.hex(),
            extension=canonical(txn.extension), records={})
        self._real_tpc_begin(txn, *args)

    def store(self, oid, serial, data, version, txn):
        self._current["records"][oid.hex()] = digest(data)
        return self._real_store(oid, serial, data, version, txn)

    def tpc_finish(self, txn, *args):
        tid = self._real_tpc_finish(txn, *args)
        self._current["tid"] = tid.hex()
        self.commits.append(self._current)
        self._current = None
        return tid

    def tpc_abort(self, txn, *args):
        self._current = None
        return self._real_tpc_abort(txn, *args)

    def save(self, path):
        with open(path, "w") as file:
            json.dump(self.commits, file, indent=1)
