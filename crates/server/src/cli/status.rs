//! `status`

use super::{Fault, Shared, reach, shape};

pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let status = reach::client(shared)?.get("/api/v1/opensips/status")?.json()?;
    shape::fields(
        shared,
        &status,
        &[
            ("State", "status"),
            ("Version", "version"),
            ("Time zones", "tzdbVersion"),
            ("Listeners", "listeners"),
            ("Active calls", "activeCalls"),
            ("Registrations", "registrations"),
            ("Up for (s)", "uptimeSeconds"),
        ],
    );
    Ok(())
}
