//! What a process asked of the kernel, as `strace -f -y -s 0` writes it down, and the rules by which that outlives a
//! power cut.
//!
//! Disks of a test (`MemoryDisk`, faults) show that the server copes with what a disk does; that the real one is asked
//! at all shows only here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The calls that change a file, make it durable, or tell somebody.
pub(crate) const CALLS: &str = "openat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,\
    rename,renameat,renameat2,link,linkat,mkdir,unlink,unlinkat,sendto,sendmsg,copy_file_range,sendfile,splice";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call that changes what is in the file has begun.
    Write(PathBuf),
    /// A call that makes it shorter or longer has begun.
    Resize(PathBuf),
    /// `fsync` or `fdatasync` of a file or a directory has succeeded.
    Sync(PathBuf),
    /// A file or a directory has a new name; without `from` it is new, or has one name more.
    Name { from: Option<PathBuf>, to: PathBuf },
    /// Something goes to the standard output or into a socket.
    Tell,
}

/// The events of a trace, in order. Paths are taken as relative to `directory`.
pub(crate) fn parse(trace: &str, directory: &Path) -> Vec<Event> {
    // What a thread has begun and not ended yet.
    let mut begun: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some((call, arguments)) =
            rest.strip_suffix(" <unfinished ...>").and_then(|rest| rest.split_once('('))
        {
            begun.insert(thread, (call, arguments));
            events.extend(beginning(call, arguments, directory));
        } else if let Some(rest) = rest.strip_prefix("<... ") {
            let Some((call, arguments)) = begun.remove(thread) else { continue };
            if !rest.contains(" = -1 ") {
                events.extend(end(call, arguments, directory));
            }
        } else if let Some((call, arguments)) = rest.split_once('(') {
            events.extend(beginning(call, arguments, directory));
            if !arguments.contains(" = -1 ") {
                events.extend(end(call, arguments, directory));
            }
        }
    }
    events
}

/// The path that `-y` writes behind the descriptor which is the first argument.
fn first_path(arguments: &str) -> Option<&str> {
    arguments.split_once('<')?.1.split_once('>').map(|(path, _)| path)
}

/// What counts from the moment in which the call begins.
fn beginning(call: &str, arguments: &str, directory: &Path) -> Option<Event> {
    let path = first_path(arguments)?;
    match call {
        "sendto" | "sendmsg" => Some(Event::Tell),
        "write" | "writev" if arguments.starts_with("1<") || path.starts_with("socket:") => Some(Event::Tell),
        "sendfile" | "splice" => Some(Event::Tell),
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" if path.starts_with('/') => {
            Some(Event::Write(directory.join(path)))
        }
        // The second descriptor is the one that is written.
        "copy_file_range" => {
            first_path(arguments.split_once('>')?.1).map(|path| Event::Write(directory.join(path)))
        }
        // Room beyond the end, which is asked for in advance, changes nothing that is in the file.
        "fallocate" if arguments.contains("FALLOC_FL_KEEP_SIZE") => None,
        "ftruncate" | "fallocate" => Some(Event::Resize(directory.join(path))),
        _ => None,
    }
}

/// What counts from the moment in which the call has succeeded.
fn end(call: &str, arguments: &str, directory: &Path) -> Option<Event> {
    let quoted: Vec<PathBuf> =
        arguments.split('"').skip(1).step_by(2).map(|path| directory.join(path)).collect();
    match (call, &quoted[..]) {
        ("fsync" | "fdatasync", _) => Some(Event::Sync(directory.join(first_path(arguments)?))),
        ("rename" | "renameat" | "renameat2", [from, to]) => {
            Some(Event::Name { from: Some(from.clone()), to: to.clone() })
        }
        ("link" | "linkat", [_, to]) => Some(Event::Name { from: None, to: to.clone() }),
        ("mkdir", [path]) => Some(Event::Name { from: None, to: path.clone() }),
        ("openat", [path]) if arguments.contains("O_CREAT") => {
            Some(Event::Name { from: None, to: path.clone() })
        }
        _ => None,
    }
}

/// Files whose loss would lose something committed, or what a start has set aside.
fn is_precious(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Staged files of the blob directory become precious by their last name.
    let is_staged = path.components().any(|part| part.as_os_str() == "tmp");
    !is_staged && (name == "Data.fs" || name.starts_with("Data.fs.tr") || name.ends_with(".blob"))
}

/// Directories by which blobs are found.
fn leads_to_blobs(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "blobs") && !path.ends_with("tmp")
}

/// What a power cut could have taken although somebody relies on it: empty if the rules hold.
///
/// 1. Nobody is told anything while the data file holds what is not durable.
/// 2. A file takes over another's name only when its own content is durable.
/// 3. Nobody is told anything while a precious file has a name that is not durable.
/// 4. The data file is cut only when what is cut off is durable elsewhere.
/// 5. A transaction is written only when the blobs that it names are durable, with their names.
pub(crate) fn broken_rules(events: &[Event]) -> Vec<String> {
    let mut dirty: BTreeSet<PathBuf> = BTreeSet::new();
    // Directories with the precious names that they have got since they were made durable.
    let mut unnamed: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut existing: BTreeSet<PathBuf> = BTreeSet::new();
    let mut broken = Vec::new();
    let is_data = |path: &Path| path.file_name().is_some_and(|name| name == "Data.fs");
    for (number, event) in events.iter().enumerate() {
        let mut breaks = |rule: u8, what: &dyn std::fmt::Debug| {
            broken.push(format!("rule {rule}, event {number}, {event:?}: {what:?}"));
        };
        let before_write = |dirty: &BTreeSet<PathBuf>, unnamed: &BTreeMap<PathBuf, BTreeSet<PathBuf>>| {
            let blob = |path: &&PathBuf| leads_to_blobs(path) && is_precious(path);
            let contents: Vec<PathBuf> = dirty.iter().filter(blob).cloned().collect();
            let names: Vec<PathBuf> =
                unnamed.values().flatten().filter(|path| leads_to_blobs(path)).cloned().collect();
            [contents, names].concat()
        };
        match event {
            Event::Write(path) => {
                if is_data(path) {
                    let lost = before_write(&dirty, &unnamed);
                    if !lost.is_empty() {
                        breaks(5, &lost);
                    }
                }
                dirty.insert(path.clone());
            }
            Event::Resize(path) => {
                let aside: Vec<&PathBuf> = dirty
                    .iter()
                    .chain(unnamed.values().flatten())
                    .filter(|path| path.to_string_lossy().contains("Data.fs.tr"))
                    .collect();
                if is_data(path) && !aside.is_empty() {
                    breaks(4, &aside);
                }
                dirty.insert(path.clone());
            }
            Event::Sync(path) => {
                dirty.remove(path);
                unnamed.remove(path);
            }
            Event::Name { from, to } => {
                if let Some(from) = from {
                    if dirty.remove(from) {
                        breaks(2, from);
                        dirty.insert(to.clone());
                    } else {
                        dirty.remove(to);
                    }
                }
                let is_new = existing.insert(to.clone()) || from.is_some();
                if is_new && (is_precious(to) || leads_to_blobs(to) && to.extension().is_none()) {
                    let folder = to.parent().unwrap_or(to).to_owned();
                    unnamed.entry(folder).or_default().insert(to.clone());
                }
            }
            Event::Tell => {
                let data: Vec<&PathBuf> = dirty.iter().filter(|path| is_data(path)).collect();
                if !data.is_empty() {
                    breaks(1, &data);
                }
                let names: Vec<&PathBuf> =
                    unnamed.values().flatten().filter(|path| is_precious(path)).collect();
                if !names.is_empty() {
                    breaks(3, &names);
                }
            }
        }
    }
    broken
}
