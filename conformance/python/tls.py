"""Clients with the right certificate, with another one, without, and without TLS."""
import os
import socket
import ssl

import common
from persistent_classes import Plain
from ZEO.Exceptions import ClientDisconnected

SIZE = 5 * 1024 * 1024
# The server hears nothing from those it refuses; they give up.
REFUSED_WAIT_S = 1


def context(args, certificate=None, key=None, password=None):
    """What a client of ZEO gives to `ssl`: it trusts the server's certificate itself."""
    result = ssl.create_default_context(
        cafile=os.path.join(args.directory, args.server))
    # The certificates of ZEO's tests name another host.
    result.check_hostname = False
    if certificate:
        result.load_cert_chain(os.path.join(args.directory, certificate),
                               os.path.join(args.directory, key), password)
    return result


def right(args):
    return context(args, "client.pem", "client_key.pem")


def wrong(args):
    """A certificate that the server does not know."""
    return context(args, "serverpw.pem", "serverpw_key.pem", "1234")


def old(args):
    """The right certificate, and nothing newer than TLS 1.2."""
    result = right(args)
    result.maximum_version = ssl.TLSVersion.TLSv1_2
    return result


def works(args, ssl_context):
    """Two clients: large objects one way, invalidations the other."""
    with common.database(args, ssl=ssl_context) as (db, storage), \
            common.database(args, ssl=ssl_context) as (other, _):
        with common.connection(db) as (manager, root), \
                common.connection(other) as (other_manager, other_root):
            root["large"] = Plain(os.urandom(SIZE))
            manager.commit()

            def arrived():
                other_manager.begin()
                return "large" in other_root
            common.eventually(arrived, "the commit of the other client")
            common.equal(other_root["large"].value, root["large"].value, "the large object")
            del root["large"]
            manager.commit()


def refused(args, what, **options):
    """A client of ZEO does not get in."""
    with common.raises(ClientDisconnected, what):
        common.open_storage(args, wait_timeout=REFUSED_WAIT_S, **options)


def nothing_is_said(args, what, ssl_context=None):
    """Nobody who comes without a certificate sees a byte of ZEO."""
    with socket.create_connection(args.address, common.SOON_S) as sock:
        received = b""
        try:
            if ssl_context:
                sock = ssl_context.wrap_socket(sock)
            # Long enough to be no part of a TLS record.
            sock.sendall(b"\0\0\0\4ruok" * 10)
            if not ssl_context:
                sock.shutdown(socket.SHUT_WR)
            while True:
                data = sock.recv(4096)
                if not data:
                    break
                received += data
        except OSError:
            # ssl.SSLError is one of them.
            pass
    # Without TLS at most an alert comes, which is 7 bytes.
    if ssl_context and received or len(received) > 7:
        raise AssertionError("%s: received %r" % (what, received))


def main():
    args = common.arguments(__doc__, "directory", "server")
    works(args, right(args))
    refused(args, "another certificate", ssl=wrong(args))
    refused(args, "no certificate", ssl=context(args))
    refused(args, "no TLS")
    nothing_is_said(args, "no certificate", context(args))
    nothing_is_said(args, "another certificate", wrong(args))
    nothing_is_said(args, "no TLS")
    # As quick_close_doesnt_kill_server in ZEO's tests.
    for _ in range(10):
        socket.create_connection(args.address, common.SOON_S).close()
    works(args, old(args))
    common.succeed()


if __name__ == "__main__":
    main()
