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
    // What runs as it should needs no line.
    let faulty = |task: &serde_json::Value| task["restarts"] != 0 || task["status"] == "restarting";
    let tasks: Vec<_> =
        status["tasks"].as_array().into_iter().flatten().filter(|task| faulty(task)).cloned().collect();
    if matches!(shared.output, super::Output::Table) && !tasks.is_empty() {
        let columns =
            [("TASK", "name"), ("STATE", "status"), ("RESTARTS", "restarts"), ("LAST ERROR", "lastFault")];
        shape::rows(shared, &tasks, &columns);
    }
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
