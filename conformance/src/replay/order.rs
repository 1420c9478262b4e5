//! The order of what a server says on one connection (`guarantees.md` 1): the rules that can be seen from outside.

use std::collections::BTreeMap;

/// What one connection has been told so far.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last transaction that it knows of.
    last: u64,
    /// Objects by the last transaction that was said to have changed them.
    invalidated: BTreeMap<u64, u64>,
}

impl Order {
    /// Takes a message of the server, in the notation of the protocol reference; the rule that it breaks.
    pub(super) fn heard(&mut self, text: &str) -> Option<&'static str> {
        if let Some(arguments) = text.strip_prefix("invalidateTransaction(") {
            let mut words = words(arguments);
            let tid = words.next()?;
            let is_next = self.advance(tid);
            self.invalidated.extend(words.map(|oid| (oid, tid)));
            return if is_next { None } else { Some("S3: the tids of invalidations rise, each comes once") };
        }
        let (head, result) = text.split_once(" -> ")?;
        let (id, method) = head.rsplit_once(": ")?;
        match method {
            "register" => {
                self.last = self.last.max(words(result).next()?);
                None
            }
            "tpc_finish" => {
                let is_next = self.advance(words(result).next()?);
                if is_next {
                    None
                } else {
                    Some("S3: the reply to tpc_finish has its place among the invalidations")
                }
            }
            "loadBefore" if [", None)", ", None]"].iter().any(|end| result.ends_with(end)) => {
                let oid = words(id).next()?;
                let serial = words(result).last()?;
                let is_stale = self.invalidated.get(&oid).is_some_and(|tid| *tid > serial);
                is_stale.then_some("S1: no revision is called current after it was said to have changed")
            }
            _ => None,
        }
    }

    fn advance(&mut self, tid: u64) -> bool {
        let is_next = tid > self.last;
        self.last = self.last.max(tid);
        is_next
    }
}

/// All byte strings of eight bytes.
fn words(text: &str) -> impl Iterator<Item = u64> {
    text.split('\'')
        .filter(|digits| digits.len() == 16)
        .filter_map(|digits| u64::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(texts: &[&str]) -> Vec<usize> {
        let mut order = Order::default();
        let numbered = texts.iter().enumerate();
        numbered.filter(|(_, text)| order.heard(text).is_some()).map(|(number, _)| number).collect()
    }

    #[test]
    fn tids_rise() {
        let register = "1: register -> h'0000000000000007'";
        let [eight, nine] = ["8", "9"]
            .map(|tid| format!("invalidateTransaction(h'000000000000000{tid}', [h'0000000000000001'])"));
        let finish = "4: tpc_finish -> h'0000000000000009'";
        assert_eq!(broken(&[register, &eight, &nine]), [0; 0]);
        assert_eq!(broken(&[register, &eight, &eight]), [2]);
        assert_eq!(broken(&[register, &nine, &eight]), [2]);
        assert_eq!(broken(&[register, &eight, finish]), [0; 0]);
        assert_eq!(broken(&[register, finish, &eight]), [2], "what is below its tid comes before it");
        assert_eq!(broken(&["1: register -> h'0000000000000008'", &eight]), [1], "S4");
    }

    #[test]
    fn what_has_changed_is_not_current() {
        let changed =
            "invalidateTransaction(h'0000000000000008', [h'0000000000000001', h'0000000000000002'])";
        let load = |oid, serial, end| {
            format!(
                "(h'000000000000000{oid}', h'0000000000000009'): loadBefore -> (h'80036370657273', h'000000000000000{serial}', {end})"
            )
        };
        assert_eq!(broken(&[&load(2, 7, "None"), changed, &load(2, 8, "None"), &load(3, 7, "None")]), [0; 0]);
        assert_eq!(broken(&[changed, &load(2, 7, "None")]), [1]);
        assert_eq!(broken(&[changed, &load(2, 7, "h'0000000000000008'")]), [0; 0]);
    }
}
