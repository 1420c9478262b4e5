use bytes::Bytes;

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
