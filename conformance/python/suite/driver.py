"""Run tests of the installed ZEO, one at a time, against a server by command.

The first line on standard output lists the tests. Then each line of standard
input names one test to run, and is answered by one line with its result; all
lines of output are JSON objects. See conformance/README.md.
"""
import argparse
import json
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

try:
    import ZEO._forker  # noqa: F401
    import hooks
except ImportError:  # ZEO 4
    import hooks4 as hooks


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, metavar="JSON",
                        help="list of words; {config} is the configuration")
    parser.add_argument("--logs", required=True, help="a directory")
    parser.add_argument("--ports", type=int, nargs=2, required=True,
                        metavar=("FIRST", "COUNT"),
                        help="that nobody else uses, for servers")
    parser.add_argument("--msgpack", action="store_true")
    parser.add_argument("--limit", type=float, required=True,
                        help="seconds for one test")
    return parser.parse_args()


def find_tests():
    """The tests that zope.testrunner would run, with their layers, by id.

    Two layers may have tests with the same id; these get `@` and the name of
    the layer, and `#2` if that is not enough.
    """
    import ZEO
    import zope.testrunner.find as find
    from zope.testrunner.options import get_options

    packages = os.path.dirname(os.path.dirname(os.path.abspath(ZEO.__file__)))
    options = get_options(["-", "--test-path", packages, "-s", "ZEO", "-k"])
    found = [(layer, test)
             for layer, suite in sorted(find.find_tests(options).items(),
                                        key=lambda pair: pair[0] or "")
             for test in suite]
    plain = [test.id() for _, test in found]
    tests = {}
    for layer, test in found:
        name = test.id()
        if plain.count(name) > 1:
            name += "@" + (layer or "no layer").rpartition(".")[2]
        unique, number = name, 2
        while unique in tests:
            unique, number = "%s#%d" % (name, number), number + 1
        tests[unique] = layers_of(find._layer_name_cache.get(layer)), test
    return tests


def layers_of(layer):
    """A layer and everything it stands on, the lowest first."""
    if layer in (None, object):
        return []
    layers = []
    for base in layer.__bases__:
        layers += [x for x in layers_of(base) if x not in layers]
    return layers + [layer]


class Result(unittest.TestResult):
    """Keeps the worst that happened."""

    def __init__(self):
        super().__init__()
        self.status, self.error, self.report = "pass", "", ""

    def note(self, status, test, error):
        if self.status in ("pass", "skip"):
            self.status, self.error = status, first_words(error)
        self.report += self._exc_info_to_string(error, test) + "\n"

    def addError(self, test, err):
        self.note("error", test, err)

    def addFailure(self, test, err):
        self.note("fail", test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note("fail", test, err)

    def addUnexpectedSuccess(self, test):
        self.status, self.error = "fail", "succeeds, and should not"

    def addSkip(self, test, reason):
        self.status, self.error = "skip", str(reason)


def first_words(error):
    """What went wrong, in one line; of a doctest, where and how."""
    kind, value, _ = error
    text = str(value)
    example = re.search(r"line (\d+), in \S+\nFailed example:\n +(.*)", text)
    if example is None:
        return "%s: %s" % (kind.__name__, text.strip().split("\n")[0][:300])
    rest = text[example.end():]
    outcome = re.search(r"\nGot:\n +(.*)|\n    (\w[\w.]*(?:: .*)?)\n*-{20}",
                        rest + "\n" + 20 * "-")
    got = (outcome.group(1) or outcome.group(2)) if outcome else "?"
    return "line %s: %s: %s" % (example.group(1), example.group(2), got[:300])


def run_here(name, layers, test, args, logs, work):
    """Run a test in this process, which is its own; returns the result."""
    output = os.open(os.path.join(logs, "output.log"),
                     os.O_WRONLY | os.O_CREAT)
    for target in 1, 2:
        os.dup2(output, target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(work)
    os.environ["TMPDIR"] = tempfile.tempdir = work
    logging.getLogger().addHandler(logging.NullHandler())
    hooks.begin(name, logs)
    result = Result()
    started = time.monotonic()
    try:
        for moment in "setUp", "testSetUp":
            for layer in layers:
                getattr(layer, moment, lambda: None)()
        test(result)
        for layer in reversed(layers):
            getattr(layer, "testTearDown", lambda: None)()
    except BaseException:
        result.note("error", test, sys.exc_info())
    return {"status": result.status, "error": result.error,
            "report": result.report, "warnings": hooks.warnings,
            "seconds": round(time.monotonic() - started, 2)}


def run(name, layers, test, args):
    """Run a test in a forked process, within the limit of time."""
    logs = os.path.join(args.logs, re.sub(r"[^\w.@#-]+", "_", name)[:150])
    # A test that is run once more.
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    lock = hooks.alone(name)
    work = tempfile.mkdtemp(prefix="zeo-suite-")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # A group of its own takes along everything that it starts.
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            answer = run_here(name, layers, test, args, logs, work)
            with open(writer, "w") as pipe:
                pipe.write(json.dumps(answer) + "\n")
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        # Nothing is asked during a test: if input is ready, it is its end.
        in_time = select.select([pipe, sys.stdin], [], [], args.limit)[0]
        line = pipe.readline() if pipe in in_time else ""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        # It has not come to `setpgid`.
        os.kill(child, signal.SIGKILL)
    # The group is there as long as its leader is not reaped: now at last.
    os.waitpid(child, 0)
    shutil.rmtree(work, ignore_errors=True)
    if lock:
        lock.close()
    if line:
        answer = json.loads(line)
    else:
        answer = {"status": "error" if in_time else "timeout",
                  "error": "the process of the test ended" if in_time else
                  "longer than %g s" % args.limit,
                  "report": "", "warnings": [], "seconds": args.limit}
    answer["test"] = name
    # Its directory has another name each time.
    answer["error"] = answer["error"].replace(work + "/", "")
    answer["external"] = os.path.exists(os.path.join(logs, hooks.FIRST))
    answer["logs"] = logs
    with open(os.path.join(logs, "report.txt"), "w") as report:
        report.write(answer.pop("report"))
    if answer["status"] in ("pass", "skip") and not answer["warnings"]:
        shutil.rmtree(logs)
    return answer


def main():
    args = arguments()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # What the modules of the tests say while they are imported is no answer.
    os.dup2(2, 1)
    if args.msgpack:
        os.environ["ZEO_MSGPACK"] = "1"
    hooks.install(json.loads(args.server), args.ports, args.msgpack)
    tests = find_tests()
    print(json.dumps({"tests": list(tests)}), file=answers)
    # Who interrupts the program that asks closes the standard input with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in iter(lambda: sys.stdin.readline().rstrip("\n"), ""):
        layers, test = tests[name]
        print(json.dumps(run(name, layers, test, args)), file=answers)


if __name__ == "__main__":
    main()
