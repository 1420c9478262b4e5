//! Where in a blob directory a blob lies: names and nothing else, no I/O.
//!
//! The server has them from here, too. Source: `ZODB/blob.py` (`BushyLayout`, `LawnLayout`, `auto_layout_select`), `ZODB/utils.py:oid_repr`, ZODB 6.4;
//! `ClientStorage.py:BlobCacheLayout`, ZEO 6.2.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use zeo_codec::{Oid, Tid};

/// The file that names the directory's layout.
pub const MARKER: &str = ".layout";

/// What the names of committed files end in.
pub const SUFFIX: &str = ".blob";

/// How objects are spread over directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Eight levels of directories, one for each byte of the oid: `0x00/0x00/.../0x07`.
    Bushy,
    /// One directory for each oid: `0x07`. Python warns that it does not scale.
    Lawn,
}

impl Layout {
    /// The layout called `name`, as the marker spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "bushy" => Some(Self::Bushy),
            "lawn" => Some(Self::Lawn),
            _ => None,
        }
    }

    /// What the marker calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bushy => "bushy",
            Self::Lawn => "lawn",
        }
    }

    /// The layout of a directory without a marker: Python takes what is not empty for a directory from the time
    /// before there were markers. Hidden entries do not count.
    #[must_use]
    pub const fn without_marker(has_visible_entries: bool) -> Self {
        if has_visible_entries { Self::Lawn } else { Self::Bushy }
    }

    /// The directory of the revisions of `oid`, relative to the blob directory.
    #[must_use]
    pub fn object_dir(self, oid: Oid) -> PathBuf {
        match self {
            Self::Bushy => oid.to_u64().to_be_bytes().iter().map(|byte| format!("0x{byte:02x}")).collect(),
            Self::Lawn => short_hex(oid.to_u64()).into(),
        }
    }

    /// Whose directory this path, relative to the blob directory, is.
    #[must_use]
    pub fn object_of_dir(self, dir: &Path) -> Option<Oid> {
        let names: Vec<&str> = dir
            .components()
            .map(|component| match component {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        match (self, names.as_slice()) {
            (Self::Bushy, levels) if levels.len() == 8 => {
                let mut number = 0;
                for level in levels {
                    let digits = level.strip_prefix("0x").filter(|digits| digits.len() == 2)?;
                    number = number << 8 | parse_hex(digits)?;
                }
                Some(Oid::from_u64(number))
            }
            (Self::Lawn, [name]) => parse_short_hex(name).map(Oid::from_u64),
            (Self::Bushy | Self::Lawn, _) => None,
        }
    }

    /// The committed file of a revision, relative to the blob directory.
    #[must_use]
    pub fn revision(self, oid: Oid, serial: Tid) -> PathBuf {
        self.object_dir(oid).join(revision_name(serial))
    }
}

/// What the marker of a client's own directory says.
pub const CACHE_NAME: &str = "zeocache";

/// Directories of a client's own directory.
const CACHE_DIR_COUNT: u64 = 997;

/// The directory of an object in a client's own blob directory, relative to it; it shares it with others.
#[must_use]
pub fn cache_dir(oid: Oid) -> PathBuf {
    (oid.to_u64() % CACHE_DIR_COUNT).to_string().into()
}

/// The file of a revision in a client's own blob directory, relative to it.
#[must_use]
pub fn cache_revision(oid: Oid, serial: Tid) -> PathBuf {
    cache_dir(oid).join(format!("{}.{:016x}{SUFFIX}", oid.to_u64() / CACHE_DIR_COUNT, serial.to_u64()))
}

/// The name of the file that `serial` committed, in the directory of its object.
#[must_use]
pub fn revision_name(serial: Tid) -> String {
    short_hex(serial.to_u64()) + SUFFIX
}

/// Which revision a file of an object's directory is; `None` if it is something else.
#[must_use]
pub fn serial_of_name(name: &OsStr) -> Option<Tid> {
    parse_short_hex(name.to_str()?.strip_suffix(SUFFIX)?).map(Tid::from_u64)
}

/// As Python's `tid_repr`: an even number of digits, at least two, without other leading zeros.
#[must_use]
pub fn short_hex(number: u64) -> String {
    let digits = format!("{number:x}");
    let zero = if digits.len() % 2 == 0 { "" } else { "0" };
    format!("0x{zero}{digits}")
}

/// What [`short_hex`] writes, and nothing else: another spelling would be a second name for the same thing.
fn parse_short_hex(text: &str) -> Option<u64> {
    let number = parse_hex(text.strip_prefix("0x")?)?;
    (short_hex(number) == text).then_some(number)
}

fn parse_hex(digits: &str) -> Option<u64> {
    let is_hex = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    // Signs would pass the conversion.
    if is_hex { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oid, tid, and the paths that `FilesystemHelper(base, layout).getBlobFilename(oid, tid)` of ZODB 6.4 gives
    /// below the base for bushy and for lawn.
    const PYTHON: [(u64, u64, &str, &str); 4] = [
        (0, 0, "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x00.blob", "0x00/0x00.blob"),
        (
            7,
            0x040d_2412_4fc0_5a11,
            "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x07/0x040d24124fc05a11.blob",
            "0x07/0x040d24124fc05a11.blob",
        ),
        (0x123, 0xfff, "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x23/0x0fff.blob", "0x0123/0x0fff.blob"),
        (
            u64::MAX,
            u64::MAX,
            "0xff/0xff/0xff/0xff/0xff/0xff/0xff/0xff/0xffffffffffffffff.blob",
            "0xffffffffffffffff/0xffffffffffffffff.blob",
        ),
    ];

    #[test]
    fn names_are_pythons() {
        for (oid, serial, bushy, lawn) in PYTHON {
            let (oid, serial) = (Oid::from_u64(oid), Tid::from_u64(serial));
            for (layout, path) in [(Layout::Bushy, bushy), (Layout::Lawn, lawn)] {
                let path = Path::new(path);
                assert_eq!(layout.revision(oid, serial), path);
                assert_eq!(layout.object_of_dir(path.parent().unwrap()), Some(oid));
                assert_eq!(serial_of_name(path.file_name().unwrap()), Some(serial));
            }
        }
    }

    /// The paths that `BlobCacheLayout().getBlobFilePath(oid, tid)` of ZEO 6.2 gives.
    #[test]
    fn names_in_caches_are_pythons() {
        for (oid, serial, path) in [
            (0, 0, "0/0.0000000000000000.blob"),
            (7, 0x040d_2412_4fc0_5a11, "7/0.040d24124fc05a11.blob"),
            (998, 0xfff, "1/1.0000000000000fff.blob"),
            (u64::MAX, u64::MAX, "960/18502250826188115.ffffffffffffffff.blob"),
        ] {
            assert_eq!(cache_revision(Oid::from_u64(oid), Tid::from_u64(serial)), Path::new(path));
        }
    }

    #[test]
    fn other_names_are_nothing() {
        for path in ["", "tmp", "0x", "0x7", "7", "0x0g", "0x+1", "0x0007", "0x00/0x07", "../0x07", "/0x07"] {
            assert_eq!(Layout::Lawn.object_of_dir(Path::new(path)), None, "{path}");
            assert_eq!(Layout::Bushy.object_of_dir(Path::new(path)), None, "{path}");
        }
        for name in ["0x07", ".blob", "0x07.blob.tmp", "0x7.blob", "0x.blob", "07.blob", "0x07.tmp-"] {
            assert_eq!(serial_of_name(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn markers_name_layouts() {
        for layout in [Layout::Bushy, Layout::Lawn] {
            assert_eq!(Layout::from_name(layout.name()), Some(layout));
        }
        assert_eq!(Layout::from_name("zeocache"), None);
        assert_eq!(Layout::without_marker(false), Layout::Bushy);
        assert_eq!(Layout::without_marker(true), Layout::Lawn);
    }
}
