//! `status`: state of the running server.

use serde_json::Value;

use super::{Fault, Output, Shared, reach, shape};
use crate::lang;

pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    let mut status = client.get("/api/v1/opensips/status")?.json()?;
    // Only an administrator may list bans.
    let bans = client.get("/api/v1/guard/bans")?.json().map(|answer| answer["bans"].clone());
    let bans = bans.unwrap_or_default();
    if shared.output == Output::Json {
        status["bans"] = bans;
        shape::say(shared, &status, "");
        return Ok(());
    }
    status["banned"] = bans.as_array().map_or(Value::Null, |bans| bans.len().into());
    shape::fields(
        shared,
        &status,
        &[
            ("State", "Estado", "status"),
            ("Version", "Versión", "version"),
            ("Time zones", "Zonas horarias", "tzdbVersion"),
            ("Listeners", "Direcciones de escucha", "listeners"),
            ("Active calls", "Llamadas en curso", "activeCalls"),
            ("Registrations", "Registros", "registrations"),
            ("Bans", "Bloqueos", "banned"),
            ("Uptime (s)", "Tiempo en marcha (s)", "uptimeSeconds"),
        ],
    );
    // Only tasks with failures are listed.
    let faulty = |task: &serde_json::Value| task["restarts"] != 0 || task["status"] == "restarting";
    let tasks: Vec<_> =
        status["tasks"].as_array().into_iter().flatten().filter(|task| faulty(task)).cloned().collect();
    if matches!(shared.output, super::Output::Table) && !tasks.is_empty() {
        shape::heading(
            shared,
            lang::current().pick("Tasks restarted after errors", "Tareas reiniciadas por errores"),
        );
        let columns = [
            ("TASK", "TAREA", "name"),
            ("STATE", "ESTADO", "status"),
            ("RESTARTS", "REINICIOS", "restarts"),
            ("LAST ERROR", "ÚLTIMO ERROR", "lastFault"),
        ];
        shape::rows(shared, &tasks, &columns);
    }
    let trunks = status["trunks"].as_array().cloned().unwrap_or_default();
    if !trunks.is_empty() {
        shape::heading(shared, lang::current().pick("Trunks", "Troncales"));
        let columns = [
            ("TRUNK", "TRONCAL", "name"),
            ("STATE", "ESTADO", "state"),
            ("REGISTRATION", "REGISTRO", "registration"),
            ("CALLS", "LLAMADAS", "activeCalls"),
        ];
        shape::rows(shared, &trunks, &columns);
    }
    let bans = bans.as_array().cloned().unwrap_or_default();
    if !bans.is_empty() {
        let english = "Banned after too many wrong passwords (to lift: centralita guard lift ADDRESS)";
        let spanish = "Bloqueados por demasiadas contraseñas incorrectas (para desbloquear: centralita guard lift DIRECCIÓN)";
        shape::heading(shared, lang::current().pick(english, spanish));
        let columns = [
            ("ADDRESS", "DIRECCIÓN", "address"),
            ("USER NAME", "USUARIO", "username"),
            ("UNTIL", "HASTA", "until"),
        ];
        shape::rows(shared, &bans, &columns);
    }
    Ok(())
}
