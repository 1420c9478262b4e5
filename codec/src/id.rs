//! Object and transaction identifiers: eight bytes, compared as big-endian numbers.
//!
//! Every oid, tid and serial on the wire and in a `Data.fs` is a byte string of exactly eight bytes
//! (protocol reference, "How to read it").

use core::fmt;

macro_rules! eight_byte_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 8]);

        impl $name {
            /// Eight zero bytes, Python's `z64`.
            pub const ZERO: Self = Self([0; 8]);

            /// Wraps the eight bytes as they are on the wire.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 8]) -> Self {
                Self(bytes)
            }

            /// The identifier in `bytes`, or `None` unless there are exactly eight.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The identifier whose big-endian number is `number`.
            #[must_use]
            pub const fn from_u64(number: u64) -> Self {
                Self(number.to_be_bytes())
            }

            /// The eight bytes as they are on the wire.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 8] {
                &self.0
            }

            /// The identifier as a number.
            #[must_use]
            pub const fn to_u64(self) -> u64 {
                u64::from_be_bytes(self.0)
            }
        }

        impl fmt::Display for $name {
            /// Sixteen lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.to_u64())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

eight_byte_id! {
    /// An object identifier. The root object of a database is [`Oid::ZERO`].
    Oid
}

eight_byte_id! {
    /// A transaction identifier; as the identifier of an object's revision it is also called its *serial*.
    ///
    /// Tids of a storage rise strictly. They encode a time stamp (protocol reference 14.3), but only their
    /// order may be relied on.
    Tid
}

impl Tid {
    /// The bound with which a client asks `loadBefore` for the current revision, `7fffffffffffffff`
    /// (protocol reference 7.3).
    pub const MAX: Self = Self::from_u64(0x7fff_ffff_ffff_ffff);

    /// The tid that follows this one as a number; `None` after the greatest possible.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.to_u64().checked_add(1) {
            Some(number) => Some(Self::from_u64(number)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn shows_sixteen_digits() {
        assert_eq!(Oid::from_u64(0x1b).to_string(), "000000000000001b");
        assert_eq!(
            Tid::from_slice(&[4, 13, 36, 18, 0x82, 0x22, 0x22, 0x22]).unwrap().to_string(),
            "040d241282222222"
        );
    }

    #[test]
    fn takes_eight_bytes_only() {
        assert_eq!(Oid::from_slice(&[0; 7]), None);
        assert_eq!(Oid::from_slice(&[0; 9]), None);
        assert_eq!(Oid::from_slice(&[0; 8]), Some(Oid::ZERO));
    }

    #[test]
    fn orders_as_numbers() {
        assert!(Tid::from_u64(0x1_00) > Tid::from_u64(0xff));
        assert_eq!(Tid::from_u64(7).next(), Some(Tid::from_u64(8)));
        assert_eq!(Tid::from_u64(u64::MAX).next(), None);
    }
}
