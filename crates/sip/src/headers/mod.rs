//! Header values that have a structure: read on first use, from the message's own buffer.

mod addr;
mod params;
mod via;

pub(crate) use addr::AddrSpans;
pub use addr::NameAddr;
pub(crate) use params::Params;
pub use via::Via;
pub(crate) use via::ViaSpans;

use crate::Method;

/// What the Contact fields of a REGISTER say (RFC 3261 §10.2).
#[derive(Clone, Debug)]
pub enum Contacts {
    /// No Contact at all: the bindings are being asked for.
    None,
    /// `*`: all bindings are to be removed.
    Star,
    /// One or more addresses.
    List(Vec<NameAddr>),
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// The number, below 2³¹.
    pub number: u32,
    /// The method.
    pub method: Method,
}
