//! The matrix for continuous integration: JUnit's XML, a suite for each scenario, a case for each pair.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Matrix, Verdict};

/// The file.
///
/// # Errors
/// None that a matrix can cause; the library's.
pub fn xml(matrix: &Matrix) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("zeo-conformance check");
    for row in &matrix.rows {
        let mut suite = TestSuite::new(row.scenario.name);
        for (pair, verdict) in &row.cells {
            let mut status = match verdict {
                // A success has no place for words; what is on purpose is told beside the case.
                Verdict::Same(_) | Verdict::Intended { .. } => TestCaseStatus::success(),
                Verdict::NotPlayed(_) => TestCaseStatus::skipped(),
                Verdict::Differs(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
                Verdict::Failed(_) => TestCaseStatus::non_success(NonSuccessKind::Error),
            };
            // XML has no way to say these, and the library lets them pass.
            let details = verdict.details().replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
            if !matches!(verdict, Verdict::Same(_) | Verdict::Intended { .. }) {
                status.set_message(details.lines().next().unwrap_or_default());
                status.set_description(details.as_str());
            }
            let mut case = TestCase::new(pair.to_string(), status);
            case.set_classname(row.scenario.name);
            if matches!(verdict, Verdict::Intended { .. }) {
                case.set_system_out(details);
            }
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
