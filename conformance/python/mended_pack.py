"""Python's pack of a file, as it is, and as it would be without its weaknesses.

Python's pack (fspack.py, ZODB 6.4) fails or loses data where back pointers lead behind the pack time, where a
transaction holds an object twice, and where a reference dangles. `MendedGC` and `MendedCopier` do not.
"""
import os
import shutil

from ZODB.FileStorage import FileStorage, fspack
from ZODB.serialize import referencesf
from ZODB.utils import z64


class MendedGC(fspack.GC):
    """Keeps what later back pointers lead to in addition, with what that refers to; passes over dangling references;
    looks for back pointers without garbage collection, too."""

    def isReachable(self, oid, pos):
        return self.reachable.get(oid) == pos or pos in self.reach_ex.get(oid, ())

    def findReachable(self):
        self.buildPackIndex()
        self.findBack()
        if self.gc:
            self.findReachableAtPacktime([z64])
            for oid, positions in self.reach_ex.items():
                for pos in positions:
                    self.findReachableAtPacktime(self.findrefs(pos))
        else:
            self.reachable = self.oid2curpos

    def findReachableAtPacktime(self, roots):
        todo = list(roots)
        while todo:
            oid = todo.pop()
            if oid not in self.reachable and oid in self.oid2curpos:
                self.reachable[oid] = self.oid2curpos[oid]
                todo += self.findrefs(self.oid2curpos[oid])

    def findBack(self):
        pos = self.packpos
        while pos < self.eof:
            th = self._read_txn_header(pos)
            end = pos + th.tlen
            pos += th.headerlen()
            while pos < end:
                dh = self._read_data_header(pos)
                if dh.back and dh.back < self.packpos:
                    positions = self.reach_ex.setdefault(dh.oid, [])
                    if dh.back not in positions:
                        positions.append(dh.back)
                pos += dh.recordlen()
            pos += 8


class MendedCopier(fspack.PackCopier):
    """Leads a back pointer to the second of two records of a transaction where it led there before."""

    def _data_find(self, tpos, oid, data):
        h = self._read_txn_header(tpos)
        tend = tpos + h.tlen
        pos = self._file.tell()
        found = 0
        while pos < tend:
            h = self._read_data_header(pos)
            if h.oid == oid:
                found = pos
            pos += h.recordlen()
        return found


def packed(path, copy, time, gc, mended):
    shutil.copy(path, copy)
    gc_class, copier = fspack.GC, fspack.PackCopier
    if mended:
        fspack.GC, fspack.PackCopier = MendedGC, MendedCopier
    try:
        storage = FileStorage(copy, pack_gc=gc, pack_keep_old=False)
        try:
            storage.pack(time, referencesf)
        finally:
            storage.close()
    finally:
        fspack.GC, fspack.PackCopier = gc_class, copier
        for suffix in (".index", ".lock", ".tmp", ".pack", ".old"):
            if os.path.exists(copy + suffix):
                os.remove(copy + suffix)
    with open(copy, "rb") as f:
        return f.read()
