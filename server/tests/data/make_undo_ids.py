"""Makes undo_ids.in: byte strings, and what Python decodes them to as ids of transactions.

    target/peers/6.2/bin/python make_undo_ids.py > undo_ids.in     (Python 3.11)
"""
import base64
import binascii
import random
import re

rng = random.Random(16)


def rust(data):
    return 'b"%s"' % "".join("\\x%02x" % byte for byte in data)


def expected(data):
    try:
        return "Ok(%s)" % rust(base64.decodebytes(data + b"\n"))
    except binascii.Error as error:
        if str(error) == "Incorrect padding":
            return "Err(BadUndoId::Padding)"
        return "Err(BadUndoId::OneTooMany(%s))" % re.search(r"\((\d+)\)", str(error))[1]


ids = [b"", b"=", b"==", b"A", b"A=", b"AA", b"AA=", b"AA==", b"AA=A=", b"AA=A", b"AAA", b"AAA=", b"AAAA",
       b"AAAA=", b"AAAA==", b"A=A=A=A=", b"AA==AAAA", b"AA==AA", b"!!!!", b"\x00", b"\xff" * 8]
for _ in range(40):
    good = base64.encodebytes(rng.randbytes(8)).rstrip()
    ids += [good, good[:-1], good[:-2], good + b"=", good[:4] + b" \n-_" + good[4:], good + good,
            good[:rng.randrange(12)] + b"=" + good[rng.randrange(12):]]
ids += [rng.randbytes(rng.randrange(30)) for _ in range(60)]
ids += [bytes(rng.choice(b"AB+/=z9 ") for _ in range(rng.randrange(20))) for _ in range(60)]
ids += [base64.encodebytes(rng.randbytes(n)).rstrip() for n in (7, 9, 15, 16, 17, 40)]
print("[")
for data in ids:
    print("    (%s, %s)," % (rust(data), expected(data)))
print("]")
