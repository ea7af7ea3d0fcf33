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
    let trunks = status["trunks"].as_array().cloned().unwrap_or_default();
    if matches!(shared.output, super::Output::Table) && !trunks.is_empty() {
        let columns = [
            ("TRUNK", "name"),
            ("STATE", "state"),
            ("REGISTRATION", "registration"),
            ("CALLS", "activeCalls"),
        ];
        shape::rows(shared, &trunks, &columns);
    }
    Ok(())
}
