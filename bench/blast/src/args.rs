//! The command line: `--name value` pairs.

use std::net::SocketAddr;
use std::str::FromStr;

/// The arguments after the subcommand.
pub struct Args(Vec<String>);

impl Args {
    /// Keep `args`; an error names the first one that is not in `known`.
    pub fn new(args: Vec<String>, known: &[&str]) -> Result<Args, String> {
        for name in args.iter().filter(|arg| arg.starts_with("--")) {
            if !known.contains(&&name[2..]) {
                return Err(format!("{name} is not known; there are --{}", known.join(", --")));
            }
        }
        Ok(Args(args))
    }

    /// The value after `--name`.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        let Some(at) = self.0.iter().position(|arg| arg.strip_prefix("--") == Some(name)) else {
            return Ok(default);
        };
        let value = self.0.get(at + 1).ok_or_else(|| format!("--{name} needs a value"))?;
        value.parse().map_err(|_| format!("--{name} cannot be {value}"))
    }

    /// The server under load.
    pub fn server(&self) -> Result<SocketAddr, String> {
        self.get("server", SocketAddr::from(([127, 0, 0, 1], 5060)))
    }
}
