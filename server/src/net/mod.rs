//! Sockets: accepts connections and drives their sessions.
