"""ZODB's own race tests: eight clients change the same objects, and look.

`ZODB.tests.racetest` comes with ZODB. Whoever sees two objects out of step
that are always changed together has read a stale or torn state.
"""
import unittest

import common
from ZODB.tests.racetest import RaceTests

# The third one takes minutes (64 clients that come and go): `zeo-suite`.
NAMES = ["race_loadopen_vs_local_invalidate",
         "race_load_vs_external_invalidate"]


class Races(RaceTests, unittest.TestCase):
    """Each with storages of its own."""

    args = None

    def setUp(self):
        self._storage = self._new_storage_client()

    def _new_storage_client(self):
        storage = common.open_storage(self.args)
        self.addCleanup(storage.close)
        return storage


def main():
    Races.args = common.arguments(__doc__)
    result = unittest.TestResult()
    # ZODB 5 calls them check_...
    prefix = "test_" if hasattr(Races, "test_" + NAMES[0]) else "check_"
    unittest.TestSuite(Races(prefix + name) for name in NAMES).run(result)
    common.equal([text for _, text in result.errors + result.failures], [],
                 "races")
    common.equal(result.testsRun, len(NAMES), "tests")
    common.succeed()


if __name__ == "__main__":
    main()
