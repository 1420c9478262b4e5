"""Two Zope instances share a server, and browsers use both, while the server is restarted and killed.

What Zope has acknowledged is there in the end, once; both instances say the same,
and never anything but what somebody has sent.
"""
import base64
import collections
import ctypes
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import common

BROWSERS = 4
RESTARTS = 3
# Acknowledged requests of each browser between two restarts.
STRETCH = 12
SOON_S = 40

# The storage in the words of ZODB, and in those of ZEO.
STORAGES = ("""
<zeoclient>
  server {server}
  blob-dir {directory}/blobs
  cache-size 10MB
</zeoclient>
""", """
<clientstorage>
  server {server}
  blob-dir {directory}/blobs
  cache-path {directory}/cache.zec
  server-sync true
  wait-timeout 25
  client-label second
</clientstorage>
""")
CONFIGURATION = """
{imports}
instancehome {directory}
<zodb_db main>
  mount-point /
  {storage}
</zodb_db>
"""
PIPELINE = """
[app:zope]
use = egg:Zope#main
zope_conf = {directory}/zope.conf
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = {port}
threads = 3
[pipeline:main]
pipeline = egg:Zope#httpexceptions zope
"""


def with_parent():
    """Ends a process with its parent, however that ends (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Instance:
    """A Zope process."""

    def __init__(self, number, server):
        self.directory = os.path.abspath("zope-%d" % number)
        os.makedirs(os.path.join(self.directory, "etc"))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        values = {"directory": self.directory, "server": server, "port": self.port,
                  "imports": "%import ZEO" if number else ""}
        values["storage"] = STORAGES[number].format(**values)
        for name, text in (("zope.conf", CONFIGURATION), ("zope.ini", PIPELINE), ("inituser", "admin:secret")):
            with open(os.path.join(self.directory, name), "w") as file:
                file.write(text.format(**values))
        # The component that this interpreter's Zope brings along.
        with open(os.path.join(self.directory, "etc", "site.zcml"), "w") as file:
            file.write('<configure xmlns="http://namespaces.zope.org/zope"><include package="Products.Five"/>'
                       '</configure>')

    def run(self, program, *arguments):
        """One of Zope's programs, in this instance."""
        path = os.path.join(os.path.dirname(sys.executable), program)
        return subprocess.Popen(
            [sys.executable, path, *arguments], cwd=self.directory, preexec_fn=with_parent, stdout=sys.stderr,
            env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__))))

    def install(self):
        """What the trial needs in the database."""
        desk = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zope_desk.py")
        common.equal(self.run("zconsole", "run", "zope.conf", desk).wait(60), 0, "zconsole")

    def start(self):
        self.process = self.run("runwsgi", "zope.ini")

    def request(self, path, **form):
        """Status and body of the answer, `None` without one; the field `upload` is sent as a file."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON_S)
        parts = ['--limit\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
            name.replace("upload", "file"), '; filename="x"' if name == "upload" else "", value)
            for name, value in form.items()]
        try:
            connection.request("POST", path, ("".join(parts) + "--limit--\r\n").encode(), {
                "Content-Type": "multipart/form-data; boundary=limit",
                "Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def report(self):
        """What it says is in the database, if it can tell."""
        answer = self.request("/desk/report")
        return json.loads(answer[1]) if answer and answer[0] == 200 else None

    def stop(self):
        self.process.terminate()
        self.process.wait(SOON_S)


class Browser(threading.Thread):
    """Sends one request after the other to both instances; knows what was acknowledged."""

    def __init__(self, number, instances):
        super().__init__(daemon=True)
        self.number, self.instances, self.rng = number, instances, random.Random(number)
        self.is_over = False
        # Keys of counts; contents by name that were acknowledged; and all that were sent.
        self.counted, self.contents = set(), {}
        self.sent = collections.defaultdict(set)
        self.statuses = collections.Counter()

    def run(self):
        while not self.is_over:
            self.step(len(self.sent))

    def step(self, step):
        key = "%d-%d" % (self.number, step)
        text = "%s \N{SNOWMAN} " % key * self.rng.choice((1, 20, 4000))
        kind = self.rng.choice(("count", "count", "count", "folder", "file", "dtml", "template", "blob", "again"))
        known = [name for name, (kind_there, _) in self.contents.items() if kind_there in ("file", "blob")]
        factory = "/content/manage_addProduct/"
        if kind == "count":
            request = "/desk/count", {"key": key}
        elif kind == "folder":
            request, text = (factory + "OFSP/manage_addFolder", {"id": key}), ""
        elif kind == "file":
            request = factory + "OFSP/manage_addFile", {"id": key, "upload": text}
        elif kind == "dtml":
            request = factory + "OFSP/manage_addDTMLMethod", {"id": key, "file": text}
        elif kind == "template":
            text = "<p>%s</p>" % text
            request = factory + "PageTemplates/manage_addPageTemplate", {"id": key, "text": text}
        elif kind == "again" and known:
            key = self.rng.choice(known)
            kind, _ = self.contents[key]
            blob = "/desk/put", {"key": key, "content": text}
            request = ("/content/%s/manage_upload" % key, {"upload": text}) if kind == "file" else blob
        else:
            kind, request = "blob", ("/desk/put", {"key": key, "content": text})
        digest = hashlib.sha1(text.encode()).hexdigest()
        self.sent[key].add(digest)
        answer = self.rng.choice(self.instances).request(request[0], **request[1])
        status = answer and answer[0]
        self.statuses[status] += 1
        # Zope answers the forms that make objects with a redirection.
        if status not in (200, 302):
            if key in self.contents:
                # Either of them now.
                self.contents[key] = kind, self.contents[key][1] | {digest}
        elif kind == "count":
            self.counted.add(key)
        else:
            self.contents[key] = kind, {digest}

    def acknowledged(self):
        return self.statuses[200] + self.statuses[302]


def until_progress(browsers):
    """Until each browser has had so many answers more."""
    before = [browser.acknowledged() for browser in browsers]
    common.eventually(lambda: all(browser.acknowledged() >= count + STRETCH
                                  for browser, count in zip(browsers, before)), "requests are answered", 60)


def check(report, browsers):
    """Nothing acknowledged is missing, and nothing is there that nobody has sent."""
    journal = report["journal"]
    common.equal(report["counter"], len(journal), "the counter and the journal")
    common.equal(sorted(journal.values()), list(range(1, len(journal) + 1)), "what was counted")
    there = {key: digest for key, (_, digest) in report["objects"].items()} | report["blobs"]
    for browser in browsers:
        common.equal(browser.counted - set(journal), set(), "acknowledged counts that are missing")
        for key, (kind, digests) in browser.contents.items():
            if there.get(key) not in digests:
                raise AssertionError("%s %s: %r was acknowledged, there is %r" % (
                    kind, key, digests, there.get(key)))
    sent = {key: digests for browser in browsers for key, digests in browser.sent.items()}
    for key, digest in there.items():
        if digest not in sent[key]:
            raise AssertionError("%s: %s was never sent" % (key, digest))


def main():
    args = common.arguments(__doc__)
    instances = [Instance(number, "%s:%d" % args.address) for number in range(2)]
    instances[0].install()
    for instance in instances:
        instance.start()
    for instance in instances:
        common.eventually(instance.report, "an instance answers", SOON_S)
    browsers = [Browser(number, instances) for number in range(BROWSERS)]
    for browser in browsers:
        browser.start()
    for _ in range(RESTARTS):
        until_progress(browsers)
        common.step("working")
        common.await_answer("restarted")
        signal.alarm(common.SCRIPT_LIMIT_S)
    until_progress(browsers)
    for browser in browsers:
        browser.is_over = True
    for browser in browsers:
        browser.join(SOON_S)
    last = common.eventually(instances[0].report, "a report", SOON_S)
    check(last, browsers)
    # The other one sees it as soon as it has heard of it.
    common.eventually(lambda: instances[1].report() == last, "the same report by both instances", SOON_S)
    for instance in instances:
        instance.stop()
    statuses = sum((browser.statuses for browser in browsers), collections.Counter())
    common.succeed(counted=last["counter"], objects=len(last["objects"]), blobs=len(last["blobs"]),
                   statuses={str(status): count for status, count in statuses.items()})


if __name__ == "__main__":
    main()
