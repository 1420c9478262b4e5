"""Python's server with one thing wrong: `broken_server.py FAULT -C CONFIG`.

Shows that the scenarios can fail: each fault must make one of them fail.
"""
import itertools
import ssl
import sys

import ZEO.runzeo
import ZEO.zconfig
from ZEO.StorageServer import StorageServer, ZEOStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import z64

FAULTS = {}


def fault(function):
    """Something that can be put wrong."""
    FAULTS[function.__name__] = function
    return function


def replace(owner, name):
    """Replace a method by one that gets the real one as first argument."""
    def decorate(function):
        real = getattr(owner, name)
        setattr(owner, name,
                lambda *args, **kw: function(real, *args, **kw))
    return decorate


@fault
def large_record_damaged():
    @replace(ZEOStorage, "loadBefore")
    def load_before(real, self, oid, tid):
        data, start, end = real(self, oid, tid)
        if len(data) > 2**20:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
        return data, start, end


@fault
def extension_lost():
    @replace(ZEOStorage, "tpc_begin")
    def tpc_begin(real, self, id, user, description, ext, *args):
        ext.pop("float", None)
        return real(self, id, user, description, ext, *args)


@fault
def end_of_revisions_lost():
    @replace(ZEOStorage, "loadBefore")
    def load_before(real, self, oid, tid):
        result = real(self, oid, tid)
        return result and result[:2] + (None,)


@fault
def invalidations_without_new_objects():
    seen = set()

    @replace(StorageServer, "invalidate")
    def invalidate(real, self, client, storage_id, tid, oids):
        known = [oid for oid in oids if oid in seen]
        seen.update(oids)
        real(self, client, storage_id, tid, known)


@fault
def invalidations_out_of_order():
    held, count = [], itertools.count()

    @replace(StorageServer, "invalidate")
    def invalidate(real, self, *args):
        held.append(args)
        # The later ones in pairs, the second one first.
        if next(count) < 30 or len(held) == 2:
            while held:
                real(self, *held.pop())


@fault
def conflict_without_class_name():
    @replace(ZEOStorage, "_store")
    def store(real, self, *args):
        try:
            real(self, *args)
        except ConflictError as error:
            error.class_name = None
            raise


@fault
def conflicts_overlooked():
    @replace(ZEOStorage, "_store")
    def store(real, self, oid, serial, *args):
        if serial != z64:
            serial = self.storage.getTid(oid)
        real(self, oid, serial, *args)


@fault
def resolution_takes_the_last():
    FileStorage.tryToResolveConflict = \
        lambda self, oid, committed, old, new, *args: new


@fault
def stale_reads_overlooked():
    ZEOStorage._checkread = lambda self, oid, serial: None


@fault
def lock_kept_after_disconnection():
    ZEOStorage.notify_disconnected = lambda self: None


@fault
def abort_commits():
    @replace(ZEOStorage, "tpc_abort")
    def tpc_abort(real, self, id):
        if self.transaction is not None and self.locked:
            self.tpc_finish(id).args[1]()
        else:
            real(self, id)


@fault
def unknown_object_is_key_error():
    @replace(FileStorage, "getTid")
    def get_tid(real, self, oid):
        try:
            return real(self, oid)
        except KeyError as error:
            raise KeyError(*error.args)


@fault
def stored_though_read_only():
    @replace(ZEOStorage, "register")
    def register(real, self, storage_id, read_only):
        self.read_only = False
        return real(self, storage_id, False)


@fault
def metadata_cut():
    @replace(ZEOStorage, "tpc_begin")
    def tpc_begin(real, self, id, user, description, *args):
        return real(self, id, user[:65535], description[:65535], *args)


@fault
def deletion_ignored():
    ZEOStorage._delete = lambda self, oid, serial: None


@fault
def verification_says_nothing_changed():
    @replace(ZEOStorage, "getInvalidations")
    def get_invalidations(real, self, tid):
        return self.lastTransaction(), []


@fault
def verification_never_possible():
    ZEOStorage.getInvalidations = lambda self, tid: None


@fault
def exit_status_1():
    ZEO.runzeo.ZEOServer.handle_sigterm = ZEO.runzeo.ZEOServer.handle_sighup


@fault
def file_not_locked():
    class NoLock:
        def __init__(self, path):
            pass

        def close(self):
            pass

    sys.modules["ZODB.FileStorage.FileStorage"].LockFile = NoLock


@fault
def new_oids_repeat():
    @replace(ZEOStorage, "new_oids")
    def new_oids(real, self, n=100):
        oids = real(self, n)
        return oids[:-1] + oids[:1]


@fault
def certificates_not_required():
    @replace(ZEO.zconfig, "ssl_config")
    def ssl_config(real, section, server):
        context = real(section, server)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def main():
    name = sys.argv.pop(1)
    FAULTS[name]()
    ZEO.runzeo.main(sys.argv[1:])


if __name__ == "__main__":
    main()
