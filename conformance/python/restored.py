"""A client knows more than the server, which was given an old backup.

The test stops the server, puts an earlier copy of the file in its place, and
starts it again on the same port. What the client has in its cache does not
exist any more: it must not be served beside the old state, so the client
stays away, and says why. Without its cache it sees what the backup holds.
"""
import logging

import common
from persistent_classes import Plain
from ZEO.Exceptions import ClientDisconnected

REFUSAL = "Client cache is out of sync with the server."


class Messages(logging.Handler):
    """Keeps what the client says in its log."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def main():
    args = common.arguments(__doc__, "cache")
    log = Messages()
    logging.getLogger("ZEO").addHandler(log)
    with common.database(args, cache=args.cache, wait_timeout=2) \
            as (db, storage), common.connection(db) as (manager, root):
        root["value"] = Plain("in the backup")
        manager.commit()
        common.step("backed up")
        common.await_answer("go on")
        common.eventually(storage.is_connected, "reconnection", 30)
        manager.begin()
        root["value"].value = "not in the backup"
        manager.commit()
        oid = root["value"]._p_oid
        common.step("ahead")
        common.await_answer("restored")
        common.eventually(
            lambda: any(REFUSAL in message for message in log.said),
            "the refusal")
        if storage.is_connected():
            raise AssertionError("connected to a server that is behind")
        # What is not in the cache cannot be had, neither new nor old.
        storage._cache.clear()
        with common.raises(ClientDisconnected, "load"):
            storage.load(oid)

    with common.database(args) as (db, _), \
            common.connection(db) as (manager, root):
        common.equal(root["value"].value, "in the backup", "without a cache")
        root["value"].value = "afterwards"
        manager.commit()
    common.succeed()


if __name__ == "__main__":
    main()
