//! Structured header values, parsed on access from the message's own buffer.

mod addr;
mod params;
mod via;

pub(crate) use addr::AddrSpans;
pub use addr::NameAddr;
pub(crate) use params::Params;
pub use via::Via;
pub(crate) use via::ViaSpans;

use crate::Method;

/// The Contact header of a REGISTER (RFC 3261 §10.2).
#[derive(Clone, Debug)]
pub enum Contacts {
    /// No Contact: a query of the bindings.
    None,
    /// `*`: remove all bindings.
    Star,
    /// One or more addresses.
    List(Vec<NameAddr>),
}

/// A CSeq value (RFC 3261 §20.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// The number, below 2³¹.
    pub number: u32,
    /// The method.
    pub method: Method,
}
