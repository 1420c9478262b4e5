use bytes::Bytes;
use clap::Parser;
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};

use super::*;
use crate::scenarios::all;

fn matrix() -> Matrix {
    let difference = Difference {
        connection: 2,
        number: Some(20),
        field: "result[1]".into(),
        expected: "6: vote -> <None> & \"more\"".into(),
        got: "6: vote -> 1".into(),
        bytes: (Bytes::from_static(b"one"), Bytes::from_static(b"other")),
    };
    let pair = |name: &str| name.parse().unwrap();
    let row = |scenario, cells| Row { scenario, cells };
    Matrix {
        server: "runzeo -C {config}".into(),
        rows: vec![
            row(
                &all()[0],
                vec![
                    (pair("6.2-6.2-pickle"), Verdict::Same(7)),
                    (pair("6.2-6.2-msgpack"), Verdict::Differs(vec![difference])),
                ],
            ),
            row(
                &all()[1],
                vec![
                    (pair("6.2-6.2-pickle"), Verdict::NotPlayed("it spoke ZEO 4".into())),
                    (pair("6.2-6.2-msgpack"), Verdict::Failed("no such program".into())),
                ],
            ),
        ],
        left_out: vec![(pair("4.3.1-4.3.1-pickle"), "it speaks <Z5>, not Z4".into())],
    }
}

#[test]
fn the_text_counts_and_tells_the_first_difference() {
    let text = matrix().text();
    let expected = "commit                    1 same, 1 differs\n    6.2-6.2-msgpack: connection 2, message 20, result[1]\n      \
                    expected 6: vote -> <None> & \"more\"\n      got      6: vote -> 1\nabort                     1 not \
                    played, 1 failed\n    6.2-6.2-msgpack: no such program\n1 the same, 1 differ, 1 not played, 1 failed\n\
                    4.3.1-4.3.1-pickle does not apply: it speaks <Z5>, not Z4\n";
    assert_eq!(text, expected);
    assert!(!matrix().is_good());
}

#[test]
fn programs_find_everything_in_the_json() {
    let value = json::value(&matrix());
    assert_eq!(value["results"][0]["compared"], 7);
    assert_eq!(value["results"][1]["differences"][0]["message"], 20);
    assert_eq!(value["results"][1]["differences"][0]["got"], "6: vote -> 1");
    assert_eq!(value["results"][2]["verdict"], "not played");
    assert_eq!(value["results"][3]["reason"], "no such program");
    assert_eq!(value["left_out"][0]["pair"], "4.3.1-4.3.1-pickle");
}

#[test]
fn the_xml_is_junits() {
    let xml = junit::xml(&matrix()).unwrap();
    assert!(
        xml.contains(
            "<testsuites name=\"zeo-conformance check\" tests=\"4\" skipped=\"1\" failures=\"1\" errors=\"1\""
        ),
        "{xml}"
    );
    assert!(xml.contains("<skipped message=\"it spoke ZEO 4\""), "{xml}");
    assert!(xml.contains("6: vote -&gt; &lt;None&gt; &amp;"), "{xml}");
}

/// What a parser finds: suite, case, class, and of the status its kind, message and description.
fn cases(xml: &str) -> Vec<[String; 6]> {
    let report = Report::deserialize_from_str(xml).unwrap();
    let text = |text: &Option<quick_junit::XmlString>| {
        text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
    };
    let mut found = Vec::new();
    for suite in &report.test_suites {
        for case in &suite.test_cases {
            let (kind, message, description) = match &case.status {
                TestCaseStatus::Success { .. } => ("success", String::new(), String::new()),
                TestCaseStatus::Skipped { message, description, .. } => {
                    ("skipped", text(message), text(description))
                }
                TestCaseStatus::NonSuccess { kind, message, description, .. } => {
                    let kind = if *kind == NonSuccessKind::Failure { "failure" } else { "error" };
                    (kind, text(message), text(description))
                }
            };
            found.push([
                suite.name.as_str().to_owned(),
                case.name.as_str().to_owned(),
                text(&case.classname),
                kind.to_owned(),
                message,
                description,
            ]);
        }
    }
    found
}

#[test]
fn a_parser_of_junits_xml_finds_every_cell_with_its_details() {
    let xml = junit::xml(&matrix()).unwrap();
    let report = Report::deserialize_from_str(&xml).unwrap();
    assert_eq!(report.name.as_ref().map(|name| name.as_str()), Some("zeo-conformance check"));
    let counts = [report.tests, report.skipped, report.failures, report.errors];
    assert_eq!(counts, [4, 1, 1, 1]);
    let suites: Vec<_> = report
        .test_suites
        .iter()
        .map(|suite| (suite.name.as_str(), [suite.tests, suite.skipped, suite.failures, suite.errors]))
        .collect();
    assert_eq!(suites, [("commit", [2, 0, 1, 0]), ("abort", [2, 1, 0, 1])]);
    let details = matrix().rows[0].cells[1].1.details();
    let first_line = details.lines().next().unwrap();
    let expected = [
        ["commit", "6.2-6.2-pickle", "commit", "success", "", ""],
        ["commit", "6.2-6.2-msgpack", "commit", "failure", first_line, &details],
        ["abort", "6.2-6.2-pickle", "abort", "skipped", "it spoke ZEO 4", "it spoke ZEO 4"],
        ["abort", "6.2-6.2-msgpack", "abort", "error", "no such program", "no such program"],
    ];
    assert_eq!(cases(&xml), expected.map(|case| case.map(str::to_owned)));
}

/// What a server says may be anything.
#[test]
fn both_files_can_be_parsed_whatever_was_said() {
    let odd = "said \u{0}\u{1b}[31m ]]> <!-- \u{fffe} \" ' & \u{1f980}\nsecond line";
    let cell = |verdict| ("6.2-6.2-pickle".parse().unwrap(), verdict);
    let row = Row { scenario: &all()[0], cells: vec![cell(Verdict::Failed(odd.into()))] };
    let matrix = Matrix { server: odd.into(), rows: vec![row], left_out: Vec::new() };
    let parsed = cases(&junit::xml(&matrix).unwrap());
    let [case] = &parsed[..] else { panic!("{parsed:?}") };
    // XML has no way to say most control characters, and colours of terminals are of no use in it.
    let stays = odd.replace("\u{0}\u{1b}[31m", "").replace('\u{fffe}', "\u{fffd}");
    assert_eq!(case[4], stays.lines().next().unwrap());
    assert_eq!(case[5], stays);
    let text = format!("{:#}", json::value(&matrix));
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&parsed["server"], &parsed["results"][0]["reason"]), (&odd.into(), &odd.into()));
}

/// The command, as the program has it.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    check: crate::commands::check::Arguments,
}

#[test]
fn the_command_writes_files_that_can_be_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let [json, junit] = ["a.json", "a.xml"].map(|name| dir.path().join(name).display().to_string());
    // What was there before goes, all of it.
    std::fs::write(&json, "}".repeat(1 << 20)).unwrap();
    let mut words =
        vec!["check", "--server", "/no/such/program {config}", "--json", &json, "--junit", &junit];
    words.extend(["--pair", "6.2-6.2-pickle", "--scenario", "commit", "--scenario", "abort"]);
    let arguments = Program::try_parse_from(words).unwrap().check;
    let mut out = Vec::new();
    crate::commands::check::run(&arguments, &mut out).unwrap();
    let text = std::fs::read_to_string(json).unwrap();
    assert!(text.ends_with("}\n"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let results = value["results"].as_array().unwrap();
    let cases = cases(&std::fs::read_to_string(junit).unwrap());
    assert_eq!((results.len(), cases.len()), (2, 2));
    for (result, case) in results.iter().zip(&cases) {
        assert_eq!(
            (&result["scenario"], &result["pair"]),
            (&case[0].as_str().into(), &case[1].as_str().into())
        );
        assert_eq!((result["verdict"].as_str(), case[3].as_str()), (Some("failed"), "error"));
        assert!(case[5].contains("cannot start"), "{case:?}");
        assert_eq!(result["reason"], case[5]);
    }
    let scenario = all().iter().find(|scenario| scenario.name == "commit").unwrap();
    assert_eq!((&results[0]["about"], results[0]["compared"].is_null()), (&scenario.about.into(), true));
}

/// What our server does otherwise, as it is told in all forms.
#[test]
fn what_is_on_purpose_is_told_with_its_reason_and_no_failure() {
    let pair: Pair = "6.2-6.2-pickle".parse().unwrap();
    let conflict = all().iter().find(|scenario| scenario.name == "conflict").unwrap();
    let difference = |expected: &str| Difference {
        connection: 1,
        number: Some(20),
        field: "result".into(),
        expected: expected.into(),
        got: "6: vote -> [{}]".into(),
        bytes: (Bytes::from_static(b"one"), Bytes::from_static(b"other")),
    };
    let matrix = |differences| {
        let cells = vec![(pair, judged("conflict", pair, differences))];
        Matrix { server: "ours".into(), rows: vec![Row { scenario: conflict, cells }], left_out: Vec::new() }
    };
    let known = difference("6: vote -> error");
    let good = matrix(vec![known.clone()]);
    assert!(good.is_good());
    let why = "a conflict that it cannot resolve goes to the client";
    let text = good.text();
    assert!(text.contains("1 on purpose\n") && text.contains(why), "{text}");
    assert!(text.contains("0 the same, 0 differ, 1 differ on purpose, 0 not played, 0 failed"), "{text}");
    let result = &json::value(&good)["results"][0];
    assert_eq!(
        (&result["verdict"], &result["differences"][0]["message"]),
        (&"on purpose".into(), &20.into())
    );
    assert!(result["reason"].as_str().unwrap().starts_with(why), "{result}");
    let xml = junit::xml(&good).unwrap();
    assert_eq!(cases(&xml)[0][3], "success");
    assert!(xml.contains(why), "{xml}");
    let html = html::page(&good);
    assert!(html.contains("<td class=\"purpose\">") && html.contains(why), "{html}");
    for others in [vec![known.clone(), known], vec![difference("7: tpc_finish -> error")]] {
        let bad = matrix(others);
        assert!(!bad.is_good() && bad.text().contains("1 differs"), "{}", bad.text());
    }
}

#[test]
fn where_nothing_can_be_played_each_reason_is_told_once() {
    let Matrix { server, mut rows, left_out } = matrix();
    for (_, verdict) in rows.iter_mut().flat_map(|row| &mut row.cells) {
        *verdict = Verdict::NotPlayed("the storage is not empty".into());
    }
    let matrix = Matrix { server, rows, left_out };
    assert!(!matrix.is_good());
    let expected = "nothing could be played\n    4 not played: the storage is not empty\n\
                    0 the same, 0 differ, 4 not played, 0 failed\n\
                    4.3.1-4.3.1-pickle does not apply: it speaks <Z5>, not Z4\n";
    assert_eq!(matrix.text(), expected);
    let none = Matrix { rows: Vec::new(), ..matrix };
    assert!(!none.is_good(), "nothing was played either");
}

#[test]
fn the_page_opens_on_what_differs() {
    let html = html::page(&matrix());
    assert!(html.contains("<td class=\"same\" title=\"7 messages\">"), "{html}");
    let opened = html.split("<td class=\"differs\"><details>").nth(1).unwrap();
    assert!(opened.contains("expected 6: vote -&gt; &lt;None&gt; &amp; &quot;more&quot;"), "{html}");
    assert!(
        html.contains("<p>4.3.1-4.3.1-pickle does not apply: it speaks &lt;Z5&gt;, not Z4</p>"),
        "{html}"
    );
    assert!(!html.contains("<None>") && !html.contains("<script"));
}
