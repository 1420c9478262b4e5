//! What was done to the server of a play, as a remark in its capture: without it nobody could play that again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const START: &str = "server start ";
const STOP: &str = "server stop";
const KILL: &str = "server kill";
const KEEP: &str = "data keep";
const RESTORE: &str = "data restore";

/// Something that was done to the server. Written and read as the text of a remark on the capture as a whole; see
/// `CAPTURE.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAct {
    /// It is started with these lines in its configuration, in the directory in which it ran before.
    Start(ServerLines),
    /// It is ended as by an operator, with SIGTERM.
    Stop,
    /// It is ended as by a crash.
    Kill,
    /// While it is away, a copy of its data file is made.
    Keep,
    /// While it is away, that copy takes the place of its data file, and the index goes.
    Restore,
}

/// Lines of a configuration beside the address, the framing and the path of the data file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerLines {
    /// In `<zeo>`.
    pub zeo: Vec<String>,
    /// In the section of the storage.
    pub storage: Vec<String>,
}

impl fmt::Display for ServerAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(lines) => {
                write!(f, "{START}{}", serde_json::to_string(lines).map_err(|_| fmt::Error)?)
            }
            Self::Stop => f.write_str(STOP),
            Self::Kill => f.write_str(KILL),
            Self::Keep => f.write_str(KEEP),
            Self::Restore => f.write_str(RESTORE),
        }
    }
}

/// The remark is about something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing that is done to a server")]
pub struct NoServerAct;

impl FromStr for ServerAct {
    type Err = NoServerAct;

    fn from_str(text: &str) -> Result<Self, NoServerAct> {
        match text {
            STOP => Ok(Self::Stop),
            KILL => Ok(Self::Kill),
            KEEP => Ok(Self::Keep),
            RESTORE => Ok(Self::Restore),
            _ => {
                let lines = text.strip_prefix(START).ok_or(NoServerAct)?;
                serde_json::from_str(lines).map(Self::Start).map_err(|_| NoServerAct)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_read_as_they_were_written() {
        let lines = ServerLines { zeo: vec!["read-only true".into()], storage: Vec::new() };
        for (act, text) in [
            (ServerAct::Start(lines), r#"server start {"zeo":["read-only true"],"storage":[]}"#),
            (ServerAct::Stop, "server stop"),
            (ServerAct::Kill, "server kill"),
            (ServerAct::Keep, "data keep"),
            (ServerAct::Restore, "data restore"),
        ] {
            assert_eq!(act.to_string(), text);
            assert_eq!(text.parse(), Ok(act));
        }
        assert_eq!("drop client:vote".parse::<ServerAct>(), Err(NoServerAct));
        assert_eq!("server start up".parse::<ServerAct>(), Err(NoServerAct));
    }
}
