//! Bounds, files, and that nothing panics. What texts mean is compared with Python in
//! `tests/zconfig_python.rs`.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::value;
use super::*;

/// Files and variables of a test.
#[derive(Default)]
struct Files(HashMap<&'static str, String>);

impl Files {
    fn new(files: &[(&'static str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| (*name, (*text).into())).collect())
    }

    fn load(&self, limits: Limits) -> Result<Document, Error> {
        load(Path::new("main"), self, limits)
    }

    fn error(&self, limits: Limits) -> String {
        self.load(limits).unwrap_err().to_string()
    }
}

impl Environment for Files {
    fn read(&self, path: &Path, _: usize) -> io::Result<Vec<u8>> {
        let text = self.0.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

#[test]
fn every_item_knows_its_file_and_line() {
    let files =
        Files::new(&[("main", "a 1\n\n%include inc\n%import x\n"), ("inc", "# nothing\n<s>\nb 2\n</s>\n")]);
    let document = files.load(Limits::default()).unwrap();
    let section = document.root.sections().next().unwrap();
    assert_eq!(document.root.entries().next().unwrap().at.to_string(), "main:1");
    assert_eq!(section.at.to_string(), "inc:2");
    assert_eq!(section.entries().next().unwrap().at.to_string(), "inc:3");
    assert_eq!(document.imports[0].at.to_string(), "main:4");
}

#[test]
fn a_text_alone_has_no_files_and_no_variables() {
    let variable = parse("a $(HOME)").unwrap_err();
    assert!(matches!(variable.kind, ErrorKind::VariableNotSet { name } if name == "HOME"));
    let include = parse("\n%include /etc/passwd").unwrap_err();
    assert!(matches!(include.kind, ErrorKind::Unreadable { .. }));
    assert_eq!(include.at, Position::new("<text>", 2));
}

#[test]
fn circles_of_includes_are_refused() {
    let files = Files::new(&[("main", "%include a"), ("a", "\n%include b"), ("b", "%include main")]);
    assert_eq!(files.error(Limits::default()), "b:1: main includes itself");
    // Names that differ only in how they are written are the same file.
    let files = Files::new(&[("main", "%include ./main"), ("./main", "%include ./main")]);
    assert_eq!(files.error(Limits::default()), "./main:1: ././main includes itself");
}

#[test]
fn includes_are_bounded() {
    let limits = Limits { include_depth_max: 1, include_count_max: 2, ..Limits::default() };
    let files = Files::new(&[("main", "%include a"), ("a", "%include b"), ("b", "")]);
    assert_eq!(files.error(limits), "a:1: nested more than 1 deep");
    let files = Files::new(&[("main", "%include a\n%include a\n%include a"), ("a", "")]);
    assert_eq!(files.error(limits), "main:3: more than 2 files are included");
}

#[test]
fn only_files_are_included() {
    let files = Files::new(&[("main", "%include file:///a"), ("/a", "k v")]);
    assert_eq!(files.load(Limits::default()).unwrap().root.items.len(), 1);
    for url in ["http://example.com/x", "file://host/x", "package:ZEO:x", "file:///a%20b"] {
        let files = Files(HashMap::from([("main", format!("%include {url}"))]));
        let message = format!("main:1: cannot include {url:?}: only files can be included");
        assert_eq!(files.error(Limits::default()), message);
    }
}

#[test]
fn files_lines_and_depth_are_bounded() {
    let limits = Limits { file_len_max: 40, line_count_max: 4, section_depth_max: 2, ..Limits::default() };
    let text = |text: &str| parse_text(text, Path::new("t"), &Nothing, limits).map_err(|e| e.to_string());
    assert_eq!(text(&"#".repeat(41)).unwrap_err(), "t: t is longer than 40 bytes");
    assert!(text("\n\n\n\n").is_ok());
    assert_eq!(text("\n\n\n\n#").unwrap_err(), "t:5: more than 4 lines");
    assert!(text("<a>\n<b>\n</b>\n</a>").is_ok());
    assert_eq!(text("<a>\n<b>\n<c>\n").unwrap_err(), "t:3: nested more than 2 deep");
    let files = Files::new(&[("main", "<a>\n<b>\n%include c"), ("c", "<c>\n</c>")]);
    assert_eq!(files.error(limits), "c:1: nested more than 2 deep");
}

#[test]
fn definitions_that_double_each_other_are_bounded() {
    let mut text = String::from("%define a0 0123456789\n");
    for n in 0..64 {
        text.push_str(&format!("%define a{} $a{n}$a{n}\n", n + 1));
    }
    let error = parse(&text).unwrap_err();
    assert_eq!(error.to_string(), "<text>:14: value longer than 65536 bytes");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    struct Bytes;
    impl Environment for Bytes {
        fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
            Ok(vec![0xff])
        }
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn is_directory(&self, _: &Path) -> bool {
            false
        }
    }
    let error = load(Path::new("x"), &Bytes, Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "x: x is not UTF-8 text");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*|[<>/%$(){}a-c \n]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_lines_make_the_reader_panic(lines in proptest::collection::vec(
        "</?[ab]( [ab])?/?>|%(define|include|import) [ab]? ?\\$?[ab]|[ab] \\$\\$?[({]?[ab]?[)}]?|<|%|</", 0..40,
    )) {
        let _ = parse(&lines.join("\n"));
    }

    #[test]
    fn no_value_makes_a_conversion_panic(text in "\\PC*|[-+0-9._a-zA-Z:\\[\\]~/ ]{0,30}") {
        let _ = value::boolean(&text);
        let _ = value::integer(&text);
        let _ = value::float(&text);
        let _ = value::byte_size(&text);
        let _ = value::time_interval(&text);
        let _ = value::basic_key(&text);
        let _ = value::socket_binding_address(&text);
        let _ = value::existing_dirpath(&text, &Nothing);
    }

    /// Every well-formed tree, written down, is read as it was.
    #[test]
    fn trees_survive_writing_and_reading(tree in tree()) {
        let mut text = String::new();
        write(&tree, &mut text);
        prop_assert_eq!(shape(&parse(&text).unwrap().root), tree);
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Entry(String, String),
    Section(String, Option<String>, Vec<Self>),
}

fn tree() -> impl Strategy<Value = Vec<Shape>> {
    let entry = ("[a-zA-Z][-a-z0-9.]{0,5}", "[^\\p{Cc}$]{0,12}");
    let leaf = entry.prop_map(|(key, value)| Shape::Entry(key, value.trim_matches(is_blank).into()));
    let item = leaf.prop_recursive(4, 30, 5, |inner| {
        let items = proptest::collection::vec(inner, 0..5);
        let name = proptest::option::of("[a-z0-9_]{1,5}");
        ("[a-z]{1,5}", name, items).prop_map(|(kind, name, items)| Shape::Section(kind, name, items))
    });
    proptest::collection::vec(item, 0..6)
}

fn write(tree: &[Shape], text: &mut String) {
    for item in tree {
        match item {
            Shape::Entry(key, value) => text.push_str(&format!("  {key} {value}\n")),
            Shape::Section(kind, name, items) => {
                let name = name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
                text.push_str(&format!("<{kind}{name}>\n"));
                write(items, text);
                text.push_str(&format!("</{kind}>\n"));
            }
        }
    }
}

fn shape(section: &Section) -> Vec<Shape> {
    let shape = |item: &Item| match item {
        Item::Entry(entry) => Shape::Entry(entry.key.clone(), entry.value.clone()),
        Item::Section(inner) => Shape::Section(inner.kind.clone(), inner.name.clone(), shape(inner)),
    };
    section.items.iter().map(shape).collect()
}
