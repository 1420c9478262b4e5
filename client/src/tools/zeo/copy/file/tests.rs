use super::*;

/// A file that Python's FileStorage wrote (`fixtures/pack/`), with undone transactions and deleted objects.
const PYTHON: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/pack/case-0004/Data.fs"));

/// Reads all of it: the numbers of transactions and records.
fn read_all(bytes: &[u8], start: Option<Tid>) -> Result<(u32, u32), Failure> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let mut source = DataFile::open(file.path(), None, start)?;
    let mut counts = (0, 0);
    while source.next_transaction()?.is_some() {
        counts.0 += 1;
        while source.next_record()?.is_some() {
            counts.1 += 1;
        }
    }
    Ok(counts)
}

#[test]
fn a_cut_file_ends_with_its_last_whole_transaction() {
    let (all, _) = read_all(PYTHON, None).unwrap();
    assert!(all > 2);
    let mut counts: Vec<u32> =
        (4..PYTHON.len()).map(|len| read_all(&PYTHON[..len], None).unwrap().0).collect();
    assert!(counts.is_sorted());
    counts.dedup();
    assert_eq!(counts, (0..all).collect::<Vec<u32>>());
    assert!(read_all(&PYTHON[..3], None).is_err());

    // What is left out is told.
    let file = tempfile::NamedTempFile::new().unwrap();
    for (cut_len, expected) in [(0, false), (1, true)] {
        std::fs::write(file.path(), &PYTHON[..PYTHON.len() - cut_len]).unwrap();
        let mut source = DataFile::open(file.path(), None, None).unwrap();
        while source.next_transaction().unwrap().is_some() {}
        assert_eq!(source.unfinished().is_some(), expected);
    }
}

#[test]
fn damage_is_told_and_harmless() {
    for pos in 0..PYTHON.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = PYTHON.to_vec();
            bytes[pos] ^= bit;
            // Object data may be anything; the rest is an end, or an error that says where.
            if let Err(error) = read_all(&bytes, None) {
                let text = error.to_string();
                assert!(
                    text.contains("damaged at position ") || text.contains("no data file"),
                    "{pos}: {text}"
                );
            }
        }
    }
}

#[test]
fn begins_where_it_is_told_to() {
    let all = read_all(PYTHON, None).unwrap();
    let first = Tid::from_slice(&PYTHON[4..12]).unwrap();
    assert_eq!(read_all(PYTHON, Some(first)).unwrap(), all);
    assert_eq!(read_all(PYTHON, first.next()).unwrap().0, all.0 - 1);
    assert_eq!(read_all(PYTHON, Some(Tid::MAX)).unwrap(), (0, 0));
}
