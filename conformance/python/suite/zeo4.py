"""Runs the tests of ZEO 4.3.1 against a server by command, and says what came of them.

    python conformance/python/suite/zeo4.py --server "/path/to/runzeo -C {config}" [--only PATTERN]

with a Python 3.6 that has
    ZEO==4.3.1 ZODB==4.4.5 transaction==1.7.0 zc.lockfile==3.0 BTrees==4.11.3 persistent==4.9.3 ZConfig==3.6.1
    zdaemon==4.4 zodbpickle==2.6 zope.interface==5.5.2 zope.testing==5.0.1 zope.testrunner==5.6 manuel==1.13.0
    mock==5.2.0 random2

Counted are tests that start the server under test. The others test Python alone, or want something of Python's server
that no other one has. The status is 0 if all that are counted pass but those in EXPECTED.
"""
import argparse
import collections
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# (pattern, kind): why the server does not pass.
EXPECTED = []


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--logs", default=os.path.join(tempfile.gettempdir(), "zeo4-suite"))
    args = parser.parse_args()
    shutil.rmtree(args.logs, ignore_errors=True)
    os.makedirs(args.logs)
    environ = dict(os.environ, PYTHONPATH=HERE, PYTHONWARNINGS="ignore")
    driver = subprocess.Popen(
        [sys.executable, os.path.join(HERE, "driver.py"), "--server", json.dumps(args.server.split()),
         "--logs", args.logs, "--ports", "18000", "1000", "--limit", str(args.limit)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(os.path.join(args.logs, "driver.log"), "w"),
        universal_newlines=True, env=environ)
    tests = json.loads(driver.stdout.readline())["tests"]
    counts, unexpected = collections.Counter(), []
    for test in sorted(tests):
        if not fnmatch.fnmatchcase(test, args.only):
            continue
        driver.stdin.write(test + "\n")
        driver.stdin.flush()
        result = json.loads(driver.stdout.readline())
        if not result["external"]:
            counts["not counted"] += 1
            continue
        kind = next((kind for pattern, kind in EXPECTED if fnmatch.fnmatchcase(test, pattern)), None)
        if result["status"] == "pass":
            counts["pass"] += 1
        elif kind:
            counts[kind] += 1
        else:
            counts["other failures"] += 1
        if (result["status"] == "pass") == (kind is not None):
            unexpected.append(test)
            print("%s: %s: %s" % (test, result["status"], result["error"]))
            sys.stdout.flush()
    driver.stdin.close()
    driver.wait()
    print("4.3.1: %s" % ", ".join("%s %d" % pair for pair in sorted(counts.items())))
    sys.exit(bool(unexpected))


if __name__ == "__main__":
    main()
