//! Undo against the model: what may be taken back, and what there is afterwards.

use proptest::prelude::*;

use super::*;
use crate::storage::file::disk::MemoryDisk;
use crate::storage::past::UndoError;
use crate::storage::{Pending, RecordData};

type Revisions = Vec<(Tid, Option<Bytes>)>;

/// Whether the change of an object by `tid` can be taken back, and the data that this leaves; `None` where the model
/// cannot tell.
fn expected(revisions: &Revisions, tid: Tid) -> Option<Result<Option<Bytes>, ()>> {
    let at = revisions.iter().position(|(written, _)| *written == tid).unwrap();
    let before = at.checked_sub(1).map(|at| revisions[at].1.clone()).unwrap_or_default();
    let (current_tid, current) = revisions.last().unwrap();
    match (&revisions[at].1, current) {
        _ if *current_tid == tid => Some(Ok(before)),
        // A deletion may be referred to or repeated, which is not the same.
        (None, _) => None,
        (Some(undone), Some(current)) if undone == current => Some(Ok(before)),
        (Some(_), _) => Some(Err(())),
    }
}

/// Records of few objects with few values, so that undo meets equal data.
fn few_values(random: &mut Random, last: Tid) -> NewTransaction {
    let mut transaction = random_transaction(random, last, 0, 1);
    for _ in 0..random.below(4) {
        let oid = Oid::from_u64(random.next() % 4);
        let record = match random.below(8) {
            0 => NewRecord::deleted(oid),
            value => NewRecord::with_data(oid, vec![b'0'; 1 + value % 3].into()),
        };
        transaction.records.push(record);
    }
    transaction
}

fn undo_agrees_with_the_model(seed: u64) {
    let mut random = Random(seed);
    let storage = open(Arc::new(MemoryDisk::default())).unwrap();
    let mut model = Model::default();
    for _ in 0..40 {
        let mut transaction = few_values(&mut random, model.last_tid());
        if !model.transactions.is_empty() && random.below(2) == 0 {
            let (tid, oids) = model.transactions[random.below(model.transactions.len())].clone();
            let outcomes: Vec<_> = oids.iter().map(|oid| expected(&model.revisions[oid], tid)).collect();
            let undone = storage.view().undo(tid, &mut Pending::default());
            match &undone {
                Ok(_) => assert!(!outcomes.contains(&Some(Err(()))), "undone against the model"),
                Err(UndoError::Objects(failures)) => {
                    for (oid, outcome) in oids.iter().zip(&outcomes) {
                        let has_failed = failures.iter().any(|(failed, _)| failed == oid);
                        assert!(outcome.as_ref().is_none_or(|outcome| outcome.is_err() == has_failed));
                    }
                }
                Err(error) => panic!("{error}"),
            }
            let Ok(records) = undone else { continue };
            transaction.records = records;
            storage.vote(transaction.clone()).unwrap().finish().unwrap();
            // For the model: the data instead of references.
            for record in &mut transaction.records {
                if let RecordData::Revision(revision) = &record.data {
                    let revisions = &model.revisions[&record.oid];
                    let data_tid = revision.data_serial.unwrap_or(revision.serial);
                    let (_, data) = revisions.iter().find(|(tid, _)| *tid == data_tid).unwrap();
                    record.data = data.clone().map_or(RecordData::Deleted, RecordData::Data);
                }
            }
            model.apply(&transaction);
            for (oid, outcome) in oids.iter().zip(outcomes) {
                if let Some(Ok(data)) = outcome {
                    assert_eq!(model.revisions[oid].last().unwrap().1, data);
                }
            }
        } else {
            storage.vote(transaction.clone()).unwrap().finish().unwrap();
            model.apply(&transaction);
        }
    }
    model.assert_equals(&*storage.view());
    assert!(matches!(
        storage.view().undo(Tid::from_u64(1), &mut Pending::default()),
        Err(UndoError::NoSuchTransaction)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_file_undoes_what_the_model_says(seed: u64) {
        undo_agrees_with_the_model(seed);
    }
}
