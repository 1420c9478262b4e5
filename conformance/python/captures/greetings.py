"""Greetings: probes, and those that are not understood."""
import stage
from persistent_classes import Plain


def ruok(the):
    """ZEO's own probe, of a storage that is empty, and of one that is not."""
    from ZEO import nagios
    the.start()
    address = "%s:%d" % the.address
    nagios.check(address, True, None, "minutes")
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    nagios.check(address, True, None, "minutes")


def refused(the):
    """Strangers greet with what no ZEO says."""
    the.start()
    for greeting in b"Z9", b"Z1", b"X5", b"", b"GET / HTTP/1.0", b"Z5" if the.speaks_z4() else b"Z4":
        with stage.Stranger(the.address) as stranger:
            stranger.hear()
            stranger.say(greeting)
            # Python's server goes on after some; at the next message it gives up.
            stranger.say(b"nothing")
            stage.equal(stranger.hear(), b"", "an answer")


def strangers(the):
    """A client and a server that do not understand each other: the client waits in vain, or sees it a little later."""
    the.start()
    storage = the.try_door()
    if storage is not None:
        stage.fails(Exception, the.on, storage)


def _older(version):
    def scenario(the):
        if stage.IS_ZEO4:
            from ZEO.zrpc.connection import Connection
            Connection.current_protocol = b"Z" + version
        else:
            from ZEO.asyncio.client import Protocol
            Protocol.protocols = version,
        the.start_with_blobs()
        db = the.database(blob_dir="blobs")
        manager, _, root = the.connection(db)
        root["object"] = Plain(0)
        manager.commit()
        root["object"].value = 1
        manager.commit()
        other = the.database(client_label="other")
        other_manager, _, other_root = the.connection(other)
        other_root["object"].value = 2
        other_manager.commit()
        stage.catch_up(db, other)
        manager.begin()
        stage.equal(root["object"].value, 2, "value")
        storage = db.storage
        storage.history(root._p_oid, size=10)
        storage.undoInfo(0, -20)
        if storage.supportsUndo():
            db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
            manager.commit()
        db.pack()
        if stage.IS_ZEO4:
            _older_calls(storage, root["object"]._p_oid)
    return scenario


def _older_calls(storage, oid):
    """What the stubs of ZEO 4 can say, and its clients say no longer."""
    server = storage._server
    server.loadEx(oid)
    for serial in storage.getTid(oid), b"\0" * 7 + b"\1":
        server.zeoVerify(oid, serial)
        server.verify(oid, serial)
    server.endZeoVerify()
    # Behind the answer to this everything has been told.
    server.lastTransaction()
    # At the last one the server hangs up.
    for name, arguments in ("load", (oid,)), ("undo", (b"nothing",)), ("new_oid", ()):
        try:
            stage.server_call(storage, name, *arguments)
        except Exception as error:
            stage.note("%s: %.200r" % (name, error))


def older_calls(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    _older_calls(db.storage, root["object"]._p_oid)


z308, z309, z310, z3101 = map(_older, (b"308", b"309", b"310", b"3101"))


def digest(the):
    """A client proves who it is; another one cannot, and one does not try."""
    import os

    from ZEO.auth.auth_digest import DigestDatabase
    passwords = DigestDatabase(os.path.join(the.data, "passwords"), "captures")
    passwords.add_user("somebody", "secret")
    passwords.save()
    the.start(zeo=["authentication-protocol digest", "authentication-database passwords",
                   "authentication-realm captures"])
    db = the.database(username="somebody", password="secret", realm="captures")
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    the.knock(username="somebody", password="wrong", realm="captures")
    the.knock()
