//! Reads `fixtures/worked-examples` (format: its README).

/// One worked example.
#[derive(Debug, Clone, Default)]
pub struct Example {
    /// Sent by the client.
    pub is_from_client: bool,
    /// Method, `reply of` a method, or `error` and a class.
    pub label: String,
    /// The payload, or its beginning.
    pub payload: Vec<u8>,
    /// Its true length, if `payload` is cut.
    pub cut_of: Option<usize>,
    /// What it says.
    pub meaning: String,
    /// Whether `meaning` is cut.
    pub is_meaning_cut: bool,
    /// Length prefix and MAC, if shown.
    pub header: Vec<u8>,
}

impl Example {
    /// The method that a call names or a reply answers.
    pub fn method_name(&self) -> &str {
        let label = self.label.strip_prefix("reply of ").unwrap_or(&self.label);
        label.split(" (").next().unwrap()
    }

    /// Whether it is a reply that carries an error.
    pub fn is_error(&self) -> bool {
        self.label.starts_with("error ")
    }

    /// Side and label.
    pub fn title(&self) -> String {
        format!("{} {}", if self.is_from_client { 'C' } else { 'S' }, self.label)
    }
}

/// Bytes from hexadecimal digits; blanks are skipped.
pub fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// All examples of a file.
pub fn parse(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(field) = line.strip_prefix("  ") else {
            let (side, label) = line.split_once(' ').unwrap();
            let is_from_client = side == "C";
            examples.push(Example { is_from_client, label: label.to_owned(), ..Example::default() });
            continue;
        };
        let example = examples.last_mut().unwrap();
        let (keyword, rest) = field.split_once(' ').unwrap();
        match keyword {
            "bytes" => example.payload = unhex(rest),
            "first-bytes" => {
                let (dump, len) = rest.split_once(" of ").unwrap();
                example.payload = unhex(dump);
                example.cut_of = Some(len.parse().unwrap());
            }
            "frame" => {
                example.header = unhex(&rest[..8]);
                example.payload = unhex(&rest[8..]);
            }
            "length" | "mac" => example.header.extend(unhex(rest)),
            "means" => rest.clone_into(&mut example.meaning),
            "begins" => {
                rest.clone_into(&mut example.meaning);
                example.is_meaning_cut = true;
            }
            other => panic!("unknown field {other}"),
        }
    }
    examples
}

/// The example with this title in a file; the first one.
pub fn find(text: &str, title: &str) -> Example {
    parse(text).into_iter().find(|example| example.title() == title).unwrap()
}

/// The text of every file with messages.
pub const Z5: &str = include_str!("../../../fixtures/worked-examples/z5-py3-6.2.txt");
pub const M5: &str = include_str!("../../../fixtures/worked-examples/m5-py3-6.2.txt");
pub const Z4: &str = include_str!("../../../fixtures/worked-examples/z4-py3-4.3.1.txt");
pub const Z4_PYTHON2: &str = include_str!("../../../fixtures/worked-examples/z4-py2.7-4.3.1.txt");
pub const Z5_PYTHON2_PROTOCOL1: &str = include_str!("../../../fixtures/worked-examples/z5-py2.7-5.1.0.txt");
pub const Z5_PYTHON2_PROTOCOL3: &str = include_str!("../../../fixtures/worked-examples/z5-py2.7-5.4.1.txt");
pub const AUTHENTICATION: &str = include_str!("../../../fixtures/worked-examples/zeo4-authentication.txt");
pub const UNDO_INFO_PREFIX: &str = include_str!("../../../fixtures/worked-examples/undo-info-prefix.txt");
pub const M5_PYTHON2: &str = include_str!("../../../fixtures/worked-examples/m5-py2.7.txt");
pub const HANDSHAKES: &str = include_str!("../../../fixtures/worked-examples/handshakes.txt");
