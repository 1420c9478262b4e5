"""Clients that come back with a cache: every way in which it is verified."""
import stage
from persistent_classes import Plain


def _leave(the, **options):
    """A client fills its cache, and goes."""
    db = the.database(cache="cache", **options)
    manager, _, root = the.connection(db)
    for name in "kept", "changed":
        root[name] = Plain(0)
    manager.commit()
    the.close(db)


def _change(the, times):
    """Somebody else makes so many commits."""
    db = the.database(client_label="other")
    manager, _, root = the.connection(db)
    for _ in range(times):
        root["changed"].value += 1
        manager.commit()
    the.close(db)


def _return(the, changed, **options):
    """The client comes back, and sees what is right."""
    db = the.database(cache="cache", **options)
    _, _, root = the.connection(db)
    stage.equal((root["kept"].value, root["changed"].value), (0, changed), "values")


def verify_current(the):
    the.start()
    _leave(the)
    _return(the, 0)


def verify_quick(the):
    the.start()
    _leave(the)
    _change(the, 2)
    _return(the, 2)


def verify_too_old(the):
    the.start(zeo=["invalidation-queue-size 2"])
    _leave(the)
    _change(the, 4)
    _return(the, 4)


def verify_dropped(the):
    """The same, by a client of ZEO 4 that would rather drop its cache."""
    the.start(zeo=["invalidation-queue-size 2"])
    _leave(the, drop_cache_rather_verify=True)
    _change(the, 4)
    _return(the, 4, drop_cache_rather_verify=True)


def verify_newer(the):
    """The server has lost what the cache has."""
    the.start()
    _change_root(the, "before")
    the.ask("stop")
    the.ask("keep")
    the.start()
    _leave(the)
    the.ask("stop")
    the.ask("restore")
    the.start()
    the.knock(cache="cache")


def _change_root(the, name):
    db = the.database()
    manager, _, root = the.connection(db)
    root[name] = Plain(0)
    manager.commit()
    the.close(db)


def restart(the):
    """The server ends and starts again, and the client goes on; then it is killed."""
    the.connect_again()
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    for ending in "stop", "kill":
        connection = stage.connection_of(db.storage)
        the.ask(ending)
        stage.eventually(lambda: not db.storage.is_connected(), "the disconnection")
        the.start()
        stage.reconnected(db.storage, connection)
        manager.begin()
        root["object"].value += 1
        manager.commit()


def heartbeat(the):
    """A client that has nothing to say shows that it is there; more often than usual."""
    count = _hasten()
    the.start()
    storage = the.storage()
    stage.eventually(lambda: count[0] >= 3, "three heartbeats")
    storage.lastTransaction()
    stage.server_call(storage, "lastTransaction")


def _hasten():
    """Have heartbeats come every tenth of a second; gives their number, in a list."""
    count = [0]
    if stage.IS_ZEO4:
        import ZEO.zrpc.client as client
        connection, name = client.ManagedClientConnection, "send_reply"
        client.client_timeout = lambda: 0.1
    else:
        import ZEO.asyncio.client as client
        connection, name = client.Protocol, "heartbeat"
        original_init = connection.__init__

        def init(self, *arguments, **options):
            original_init(self, *arguments, **options)
            self.heartbeat_interval = 0.1

        connection.__init__ = init
    original = getattr(connection, name)

    def counted(self, *arguments, **options):
        original(self, *arguments, **options)
        count[0] += not options

    setattr(connection, name, counted)
    return count
