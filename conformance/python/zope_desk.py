"""What the trial `zope` has in Zope beside Zope's own objects. The instances import it; run by zconsole it installs it."""
import hashlib
import json

from AccessControl.class_init import InitializeClass
from AccessControl.SecurityInfo import ClassSecurityInfo
from BTrees.OOBTree import OOBTree
from OFS.SimpleItem import SimpleItem
from persistent import Persistent
from ZODB.blob import Blob


class Count(Persistent):
    """Everybody fights for it; Zope tries a request again whose commit is in conflict."""

    value = 0


class Desk(SimpleItem):
    """Published methods that change the database, and one that tells everything."""

    meta_type = "Desk"
    security = ClassSecurityInfo()

    def __init__(self, id):
        self.id = id
        self.counter = Count()
        self.journal = OOBTree()
        self.blobs = OOBTree()

    @security.public
    def count(self, key):
        """One more, under a key of the client's."""
        if key in self.journal:
            return "known"
        self.counter.value += 1
        self.journal[key] = self.counter.value
        return "counted"

    @security.public
    def put(self, key, content):
        """A blob with this text."""
        with self.blobs.setdefault(key, Blob()).open("w") as file:
            file.write(content.encode())
        return "put"

    @security.public
    def report(self):
        """All that there is, in JSON."""
        blobs = {}
        for key, blob in self.blobs.items():
            with blob.open() as file:
                blobs[key] = hashlib.sha1(file.read()).hexdigest()
        objects = {}
        for key, item in self.aq_parent.content.objectItems():
            # Folders, files, DTML methods and page templates.
            content = getattr(item, "data", getattr(item, "raw", getattr(item, "_text", b"")))
            content = content.encode() if isinstance(content, str) else bytes(content)
            objects[key] = [item.meta_type, hashlib.sha1(content).hexdigest()]
        return json.dumps({"counter": self.counter.value, "journal": dict(self.journal), "blobs": blobs,
                           "objects": objects})


InitializeClass(Desk)

if "app" in globals():
    import transaction
    import zope_desk

    app._setObject("desk", zope_desk.Desk("desk"))  # noqa: F821
    app.manage_addFolder("content")  # noqa: F821
    transaction.commit()
