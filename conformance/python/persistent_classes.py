"""Classes of stored objects; a module, so that a Python server can import them."""
import persistent
from ZODB.POSException import ConflictError


class Plain(persistent.Persistent):
    """Holds a value; a conflict on it is a conflict."""

    def __init__(self, value=0):
        self.value = value


class Counter(Plain):
    """Holds a number; both of two conflicting changes count."""

    def _p_resolveConflict(self, old, committed, new):
        value = committed["value"] + new["value"] - old["value"]
        return dict(new, value=value)


class Stubborn(Plain):
    """Holds a value; its resolution gives up."""

    def _p_resolveConflict(self, old, committed, new):
        raise ConflictError
