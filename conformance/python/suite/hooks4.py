"""What is different from the suite of ZEO 4.3.1 as it is: who the server is.

Its tests start servers by a script of its own, `ZEO.tests.zeoserver`, with a second port by which they end it. Here that
script is this file, run as a program: it starts the server by its command, and does for it what is done by that port.
"""
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Seconds until a server must answer, and from SIGTERM until it has ended.
START_LIMIT = 33
STOP_LIMIT = 10

# For the script: words of the command, where the logs go, and Python's own script.
COMMAND, LOGS, ORIGINAL = "ZEO_SUITE_COMMAND", "ZEO_SUITE_LOGS", "ZEO_SUITE_ORIGINAL"

# The first log of a test; if it is there, a server was started by command.
FIRST = "server-1.log"

warnings = []


def install(server, port_range, is_msgpack):
    """Put the hook in place; before any test is run."""
    import ZEO.tests.zeoserver
    os.environ[COMMAND] = json.dumps(server)
    os.environ[ORIGINAL] = ZEO.tests.zeoserver.__file__
    ZEO.tests.zeoserver.__file__ = os.path.abspath(__file__)


def begin(test, log_directory):
    """A test begins, in a process of its own. It need not wait for a server that has ended."""
    os.environ[LOGS] = log_directory

    def server_ended(*_):
        with open(os.path.join(log_directory, FIRST)) as log:
            raise RuntimeError("the server ended: " + log.readline().strip())

    signal.signal(signal.SIGUSR1, server_ended)


def alone(test):
    """A lock for tests whose servers all want the same port (of the monitor); closed when the test is over."""
    if ".MonitorTests." not in test:
        return None
    lock = open(os.path.join(tempfile.gettempdir(), "zeo-suite-port-42000"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


# From here on the script.


def is_pythons_own(arguments, text):
    """Whether the test wants something of Python's server that no other one has: an older protocol announced, or a scheme
    of its own."""
    return "-v" in arguments or "authentication-protocol plaintext" in text


def next_log():
    number = 1 + sum(name.startswith("server-") and name.endswith(".log") for name in os.listdir(os.environ[LOGS]))
    return os.path.join(os.environ[LOGS], "server-%d.log" % number)


def address_of(config):
    """The server's address and storages' files, as Python reads them."""
    import ZEO.runzeo
    options = ZEO.runzeo.ZEOOptions()
    options.realize(["-C", config])
    return options.address, [getattr(storage.config, "path", None) for storage in options.storages]


def connect(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(5)
    connection.connect(address)
    return connection


def wait_until_ready(address, server):
    deadline = time.time() + START_LIMIT
    while True:
        try:
            connection = connect(address)
            greeting = connection.recv(6)
            connection.close()
            if greeting:
                return
        except (socket.error, OSError):
            pass
        if server.poll() is not None or time.time() > deadline:
            os.kill(os.getppid(), signal.SIGUSR1)
            sys.exit("the server does not answer: %r" % server.poll())
        time.sleep(0.02)


def die_with_script():
    """A test that kills the server kills the script."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main():
    arguments = sys.argv[1:]
    config = arguments[arguments.index("-C") + 1]
    with open(config) as file:
        text = file.read()
    if is_pythons_own(arguments, text):
        os.execv(sys.executable, [sys.executable, os.environ[ORIGINAL]] + arguments)
    address, files = address_of(config)
    words = [word.replace("{config}", config) for word in json.loads(os.environ[COMMAND])]
    with open(next_log(), "w") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=die_with_script)
    # A killed script takes its server along.
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: (server.terminate(), server.wait(), os._exit(0)))
    wait_until_ready(address, server)
    admin = address + "-test" if isinstance(address, str) else (address[0], address[1] + 1)
    listener = socket.socket(socket.AF_UNIX if isinstance(admin, str) else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(admin)
    listener.listen(5)
    listener.settimeout(1)
    acknowledged = False
    while True:
        try:
            connection, _ = listener.accept()
        except socket.timeout:
            if server.poll() is not None or os.getppid() == 1:
                break
            continue
        if not acknowledged:
            acknowledged = True
            connection.send(b"X")
            connection.close()
            continue
        server.terminate()
        server.wait()
        if "-k" not in arguments:
            remove(files)
        listener.close()
        connection.close()
        os._exit(0)
    server.kill()
    os._exit(1)


def remove(files):
    """What the storages' `cleanup` removes."""
    for path in filter(None, files):
        for end in "", ".old", ".tmp", ".index", ".pack", ".lock":
            try:
                os.remove(path + end)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise


if __name__ == "__main__":
    main()
