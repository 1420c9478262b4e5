//! Messages that want memory, time, or code to run.

/// Nesting beyond every limit.
const DEPTH: usize = 1_000_000;

type Payload = (&'static str, Vec<u8>);

/// A call of `loadBefore` with these arguments.
fn pickled(args: &[u8]) -> Vec<u8> {
    [b"\x80\x03(K\x01\x89X\x0a\0\0\0loadBefore", args, b"t."].concat()
}

fn packed(args: &[u8]) -> Vec<u8> {
    [b"\x94\x01\xc2\xaaloadBefore", args].concat()
}

/// `opcode`, a length, and nothing of what it announces.
fn announcing(opcode: u8, len: &[u8]) -> Vec<u8> {
    [&[opcode][..], len].concat()
}

/// In pickle: everything that would import, call, or ask, and what grows out of little.
pub(crate) fn pickle() -> Vec<Payload> {
    let args: Vec<(&str, Vec<u8>)> = vec![
        ("a global", b"cos\nsystem\n".to_vec()),
        ("a global from the stack", b"X\x02\0\0\0osX\x06\0\0\0system\x93".to_vec()),
        ("REDUCE", b"cos\nsystem\nX\x04\0\0\0true\x85R".to_vec()),
        ("NEWOBJ and BUILD", b"cos\nsystem\n)\x81}b".to_vec()),
        ("BUILD of a tuple", b")}b".to_vec()),
        ("INST", b"(X\x04\0\0\0trueios\nsystem\n".to_vec()),
        ("OBJ", b"(cos\nsystem\nX\x04\0\0\0trueo".to_vec()),
        ("EXT1", b"\x82\x01".to_vec()),
        ("EXT2", b"\x83\x01\0".to_vec()),
        ("EXT4", b"\x84\x01\0\0\0".to_vec()),
        ("PERSID", b"Pevil\n".to_vec()),
        ("BINPERSID", b"NQ".to_vec()),
        ("a huge memo index", b"Nr\xff\xff\xff\xff".to_vec()),
        ("a huge memo index in decimal", b"Np99999999999999999\n".to_vec()),
        ("an entry that is not in the memo", b"j\xff\xff\xff\xff".to_vec()),
        ("LONG4", announcing(0x8b, &i32::MAX.to_le_bytes())),
        ("a negative LONG4", announcing(0x8b, &i32::MIN.to_le_bytes())),
        ("a long of a million digits", [&b"L"[..], &b"9".repeat(1_000_000), b"L\n"].concat()),
        ("BINUNICODE", announcing(b'X', &u32::MAX.to_le_bytes())),
        ("BINUNICODE8", announcing(0x8d, &(u64::MAX / 2).to_le_bytes())),
        ("BINBYTES8", announcing(0x8e, &u64::MAX.to_le_bytes())),
        ("BYTEARRAY8", announcing(0x96, &(u64::MAX / 2).to_le_bytes())),
        ("a frame beyond the end", announcing(0x95, &u64::MAX.to_le_bytes())),
        ("tuples that double", [&b")"[..], &b"2\x86".repeat(80)].concat()),
        ("tuples that double by the memo", [&b")q\0"[..], &b"h\0\x86q\0".repeat(80)].concat()),
        ("tuples that double for long", [&b")q\0"[..], &b"h\0\x86q\0".repeat(500_000)].concat()),
        ("a list within itself", b"]q\0h\0a".to_vec()),
        ("a million lists", b"]".repeat(DEPTH)),
        ("a million marks", b"(".repeat(DEPTH)),
        ("a million tuples in each other", [b")".to_vec(), b"\x85".repeat(DEPTH)].concat()),
        ("a million lists in each other", [b"]".repeat(DEPTH), b"a".repeat(DEPTH - 1)].concat()),
        ("millions of memo entries", b"\x94".repeat(4_000_000)),
        ("millions of values", [b"(".to_vec(), b"N".repeat(4_000_000), b"t".to_vec()].concat()),
        ("an empty stack", b"t".to_vec()),
        ("no text", b"X\x02\0\0\0\xff\xfe".to_vec()),
    ];
    let mut payloads: Vec<Payload> = args.into_iter().map(|(what, args)| (what, pickled(&args))).collect();
    payloads.extend([
        ("a method by a global", b"\x80\x03(K\x01\x89cos\nsystem\n)t.".to_vec()),
        ("an id by a call", b"\x80\x03(cos\nsystem\nX\x04\0\0\0true\x85R\x89X\x04\0\0\0ping)t.".to_vec()),
        ("a call in place of a message", b"\x80\x03cos\nsystem\nX\x04\0\0\0true\x85R.".to_vec()),
        ("no end", b"\x80\x03(K\x01\x89".to_vec()),
    ]);
    payloads
}

/// In msgpack: lengths without content, depth, extensions, and text that is none.
pub(crate) fn msgpack() -> Vec<Payload> {
    const ALL: [u8; 4] = u32::MAX.to_be_bytes();
    let args: Vec<(&str, Vec<u8>)> = vec![
        ("array32", announcing(0xdd, &ALL)),
        ("array32 with some of it", [announcing(0xdd, &ALL), vec![0xc0; 1_000_000]].concat()),
        ("array16", announcing(0xdc, &[0xff, 0xff])),
        ("map32", announcing(0xdf, &ALL)),
        ("map32 with some of it", [announcing(0xdf, &ALL), vec![0xc0; 1_000_000]].concat()),
        ("str32", announcing(0xdb, &ALL)),
        ("bin32", announcing(0xc6, &ALL)),
        ("ext32", [announcing(0xc9, &ALL), vec![1]].concat()),
        ("an extension", vec![0x91, 0xd4, 1, 0]),
        ("a timestamp", vec![0x91, 0xd6, 0xff, 0, 0, 0, 0]),
        ("a reserved byte", vec![0xc1]),
        ("no text", vec![0x91, 0xa2, 0xff, 0xfe]),
        ("half of a surrogate pair", vec![0x91, 0xa3, 0xed, 0xa0, 0x80]),
        ("a million arrays in each other", vec![0x91; DEPTH]),
        ("a million maps in each other", [0x81, 0xc0].repeat(DEPTH)),
        (
            "millions of values",
            [announcing(0xdd, &4_000_000_u32.to_be_bytes()), vec![0xc0; 4_000_000]].concat(),
        ),
        ("a map with a map as key", vec![0x91, 0x81, 0x80, 0xc0]),
        ("no arguments", vec![]),
    ];
    let mut payloads: Vec<Payload> = args.into_iter().map(|(what, args)| (what, packed(&args))).collect();
    payloads.extend([
        ("a message of four billion", announcing(0xdd, &ALL)),
        ("an id in a million arrays", [b"\x94".to_vec(), vec![0x91; DEPTH]].concat()),
        ("a name of four gigabytes", [&b"\x94\x01\xc2\xdb"[..], &ALL].concat()),
        ("something behind it", [packed(&[0x90]), vec![0xc0]].concat()),
    ]);
    payloads
}
