//! Fuzz seeds, made from the fixtures.

use zeo_codec::Method;

use super::fixture::{self, Example};

const PICKLED: [&str; 7] = [
    fixture::Z5,
    fixture::Z4,
    fixture::Z4_PYTHON2,
    fixture::Z5_PYTHON2_PROTOCOL1,
    fixture::Z5_PYTHON2_PROTOCOL3,
    fixture::AUTHENTICATION,
    fixture::UNDO_INFO_PREFIX,
];
const PACKED: [&str; 2] = [fixture::M5, fixture::M5_PYTHON2];
const PROTOCOLS: &str = include_str!("../../../fixtures/pickles/cpython-protocols.txt");

fn examples(texts: &[&str]) -> impl Iterator<Item = Example> {
    texts.iter().flat_map(|text| fixture::parse(text))
}

/// The seeds of a fuzz target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let messages = || examples(&PICKLED).chain(examples(&PACKED));
    match target {
        "hello" => fixture::parse(fixture::HANDSHAKES).into_iter().map(|example| example.payload).collect(),
        "deframe" => {
            let mut plain = vec![0, 2];
            let mut keyed = vec![1, 30];
            for example in fixture::parse(fixture::HANDSHAKES) {
                plain.extend([&example.header[..], &example.payload].concat());
            }
            for example in
                fixture::parse(fixture::AUTHENTICATION).iter().filter(|example| example.cut_of.is_none())
            {
                keyed.extend([&example.header[..], &example.payload].concat());
            }
            vec![plain, keyed, vec![0, 0, 0xff, 0xff, 0xff, 0xff]]
        }
        "pickle_lex" | "pickle_value" => {
            let pickles = PROTOCOLS.lines().map(|line| fixture::unhex(line.split(' ').nth(1).unwrap()));
            examples(&PICKLED).map(|example| example.payload).chain(pickles).collect()
        }
        "msgpack_value" => examples(&PACKED).map(|example| example.payload).collect(),
        "call_roundtrip" => messages()
            .filter(|example| example.method_name() == example.label)
            .map(|example| example.payload)
            .collect(),
        "reply_roundtrip" => messages()
            .filter(|example| example.method_name() != example.label || example.is_error())
            .map(|example| {
                let method = Method::from_name(example.method_name().as_bytes());
                let choice = Method::ALL.iter().position(|known| Some(*known) == method);
                let mut seed = vec![choice.map_or(0xff, |choice| u8::try_from(choice).unwrap())];
                seed.extend(example.payload);
                seed
            })
            .collect(),
        "session" => [("Z5", &PICKLED[..1]), ("M5", &PACKED[..1]), ("Z4", &PICKLED[1..2])]
            .into_iter()
            .flat_map(|(hello, texts)| sessions(hello, texts))
            .collect(),
        other => panic!("no seeds for {other}"),
    }
}

/// A conversation as each side sees it, and as an observer does.
fn sessions(hello: &str, texts: &[&str]) -> [Vec<u8>; 4] {
    let frame = |payload: &[u8]| [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat();
    let side = |from_client: bool| {
        let own = examples(texts)
            .filter(|example| example.is_from_client == from_client && example.cut_of.is_none());
        own.fold(frame(hello.as_bytes()), |stream, example| [stream, frame(&example.payload)].concat())
    };
    let (client, server) = (side(true), side(false));
    let share = u8::try_from(server.len() * 256 / (server.len() + client.len())).unwrap();
    [
        [&[0, 100][..], &client].concat(),
        [&[1, 3][..], &server].concat(),
        [&[2, 7, share][..], &server, &client].concat(),
        [&[3, 99][..], server.get(20..).unwrap_or_default(), &client].concat(),
    ]
}
