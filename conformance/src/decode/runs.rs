//! Runs of the same calls and replies, of which only the first and the last are shown.

/// How many lines at the beginning and at the end of a run.
const HEAD_COUNT: usize = 6;
const TAIL_COUNT: usize = 2;
/// How many kinds of lines follow each other in a run: a call and its reply.
const KIND_COUNT: usize = 2;

/// A line, and what it has in common with others of its kind.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) text: String,
}

impl Line {
    /// One that is like no other.
    pub(super) fn single(text: String) -> Self {
        Self { key: String::new(), text }
    }
}

/// Lines, with what is left out of runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    text: String,
    keys: Vec<String>,
    lines: Vec<String>,
}

impl Runs {
    pub(super) fn add(&mut self, line: Line) {
        if line.key.is_empty() || !self.keys.contains(&line.key) {
            if line.key.is_empty() || self.keys.len() == KIND_COUNT {
                self.end_run();
            }
            self.keys.push(line.key);
        }
        self.lines.push(line.text);
    }

    fn end_run(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        self.keys.clear();
        let left_out = lines.len().saturating_sub(HEAD_COUNT + TAIL_COUNT);
        let tail_at = HEAD_COUNT + left_out;
        for (index, line) in lines.iter().enumerate() {
            if index == HEAD_COUNT && left_out > 1 {
                self.text.push_str(&format!("... {left_out} more\n"));
            }
            if index < HEAD_COUNT || index >= tail_at || left_out <= 1 {
                self.text.push_str(line);
                self.text.push('\n');
            }
        }
    }

    pub(super) fn text(mut self) -> String {
        self.end_run();
        self.text
    }
}
