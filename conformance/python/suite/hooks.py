"""What is different from the suite as it is: who the server is.

The suite starts servers in two ways. Most tests call `start_zeo_server` of
`ZEO._forker`, which writes a configuration file and has `runner` serve it in
another process; two run a script that calls `ZEO.runzeo.main()`. Here both
start the server by its command. ZEO 5.2.3, 5.4.1 and 6.2 are alike in this.
"""
import os
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import time
import types

from configuration import Configuration

# Tests that look into the server, or change it, in their own process: its
# events, a method of its class, the calls of a method.
IN_PROCESS = re.compile(
    r"dynamic_server_ports_test$|\.test_passing_credentials$"
    r"|\.test_server_sync$")

# The first log of a test; if it is there, a server was started by command.
FIRST = "server-1.log"

# Seconds until a server must answer, and from SIGTERM until it has ended.
START_LIMIT = 33
STOP_LIMIT = 10

# Some tests replace the functions of `time`.
now, sleep = time.monotonic, time.sleep

# Set by `install`: words of the command, first and number of the ports to
# give out, and framing.
command, ports, msgpack = [], (0, 0), False

# Set by `begin`: where the logs go, whether Python's server is to be used, and
# which port comes next.
logs, in_process, next_port = None, False, 0
warnings = []


def install(server, port_range, is_msgpack):
    """Put the hooks in place; before any module with tests is imported."""
    global command, ports, msgpack, python_start, python_runner
    command, ports, msgpack = server, port_range, is_msgpack
    from ZEO import _forker
    python_start, python_runner = _forker.start_zeo_server, _forker.runner
    _forker.start_zeo_server, _forker.runner = start_zeo_server, runner
    subprocess.Popen = Popen


def begin(test, log_directory):
    """A test begins, in a process of its own."""
    global logs, in_process, next_port
    logs, in_process = log_directory, bool(IN_PROCESS.search(test))
    # The last test's may still be in use: its clients close late.
    next_port = random.randrange(ports[1])


def alone(test):
    """No test needs to be alone."""


def next_log():
    """The path of a new log."""
    number = 1 + sum(name.endswith(".log") and name.startswith("server-")
                     for name in os.listdir(logs))
    path = os.path.join(logs, "server-%d.log" % number)
    open(path, "x").close()
    return path


def start_zeo_server(*args, **options):
    """Start a server as ZEO does, but in a thread: it only waits there."""
    # No configuration can ask for another protocol.
    if in_process or options.get("protocol"):
        return python_start(*args, **options)
    address, stop = python_start(*args, **dict(options, threaded=True,
                                               start_timeout=2 * START_LIMIT))
    if isinstance(address, Exception):
        raise address
    return address, stop


def runner(config, requests, answers, timeout=None, debug=False, name=None,
           keep=False, protocol=None):
    """Serve `config` until a request comes, as ZEO's own function does."""
    if in_process or protocol:
        return python_runner(config, requests, answers, timeout, debug, name,
                             keep, protocol)
    try:
        server = Server(config)
    except Exception as error:
        answers.put(error)
        return
    finally:
        os.remove(config)
    answers.put(server.configuration.address)
    try:
        requests.get(timeout=timeout)
    except queue.Empty:
        pass
    server.stop()
    if not keep:
        server.remove_files()
    answers.put(False)


class Server:
    """A server by command that answers."""

    def __init__(self, path):
        self.directory = os.getcwd()
        with open(path) as file:
            self.configuration = Configuration(file.read())
        self.configuration.complete(free_port, msgpack)
        self.log = next_log()
        for copy in path, self.log[:-3] + "conf":
            with open(copy, "w") as file:
                file.write(self.configuration.text)
        with open(self.log, "a") as log:
            self.process = PythonPopen(
                [word.replace("{config}", path) for word in command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.process.kill()
            raise

    def wait_until_ready(self):
        deadline = now() + START_LIMIT
        while not self.answers():
            status = self.process.poll()
            if status is not None:
                with open(self.log, errors="replace") as log:
                    said = " | ".join(log.read().strip().split("\n"))
                raise RuntimeError("the server ended with status %d: %s"
                                   % (status, said[-500:]))
            if now() > deadline:
                raise RuntimeError("the server does not answer")
            sleep(0.01)

    def answers(self):
        """Whether it accepts a connection, and greets unless TLS comes first."""
        address = self.configuration.address
        family = socket.AF_UNIX
        if not isinstance(address, str):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family) as connection:
            connection.settimeout(5)
            try:
                connection.connect(address)
                return self.configuration.has_tls or re.match(
                    rb"\0\0\0.[ZM]", connection.recv(6, socket.MSG_WAITALL))
            except OSError:
                return False

    def stop(self):
        status = self.process.poll()
        if status is not None:
            warnings.append("the server ended by itself, with status %d"
                            % status)
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            warnings.append("SIGTERM did not stop the server in %d s"
                            % STOP_LIMIT)
        else:
            if status != 0:
                warnings.append("status %d on SIGTERM" % status)

    def remove_files(self):
        """Remove what the server's storages would remove in `cleanup`."""
        from ZODB.FileStorage import FileStorage
        for path in self.configuration.file_storages:
            storage = types.SimpleNamespace(
                _file_name=os.path.join(self.directory, path))
            FileStorage.cleanup(storage)


def free_port(host):
    """A port nobody listens on, that this test has not had before.

    It may have a use for the others yet, and start a server there again. All
    lie below those that the system gives to clients: a client that waits for
    its server could otherwise connect to itself.
    """
    global next_port
    first, count = ports
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(count):
        port = first + next_port % count
        next_port += 1
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
                return port
            except OSError:
                pass
    raise RuntimeError("no port is free")


PythonPopen = subprocess.Popen


class Popen(PythonPopen):
    """Puts the command in place of an interpreter that runs ZEO.runzeo."""

    def __init__(self, args, *more, **options):
        if not in_process and is_runzeo(args):
            with open(next_log(), "w") as log:
                log.write("output and log are the test's; %r\n" % (args[2:],))
            # The script has its own arguments: `-C {config}` goes.
            words = " ".join(command).replace("-C {config}", "").split()
            args = words + args[2:]
        super().__init__(args, *more, **options)


def is_runzeo(args):
    """Whether `args` is Python with a script that calls ZEO.runzeo.main."""
    if not isinstance(args, list) or args[0] != sys.executable:
        return False
    try:
        with open(args[1]) as script:
            return "ZEO.runzeo.main(" in script.read()
    except (OSError, UnicodeDecodeError, IndexError):
        return False
