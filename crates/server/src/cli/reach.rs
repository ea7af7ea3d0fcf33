//! Access for commands: the running server over HTTP, or the database itself if no server runs.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use api::{DirectoryService, Offline};
use base::Rng;
use store::Store;

use super::{Client, Fault, Shared};
use crate::clock::Clock;
use crate::data::{self, DataDir, Lock};
use crate::installation;
use crate::tr;

/// A client of the running server; an error if none runs.
pub(super) fn client(shared: &Shared) -> Result<Client, Fault> {
    match find(shared)? {
        Some(client) => Ok(client),
        None => Err(Fault::Unreachable(tr!(
            "no server runs on {0}; start one with: centralita serve --data {0}",
            "no hay ningún servidor en marcha con {0}; inícielo con: centralita serve --data {0}",
            shared.data.display()
        ))),
    }
}

/// A client of the server named by `--url`, or running on the data directory; `None` if there is none.
pub(super) fn find(shared: &Shared) -> Result<Option<Client>, Fault> {
    let data = shared.data();
    let key = || shared.key.clone().or_else(|| admin_key(&data));
    if let Some(url) = &shared.url {
        return Client::new(url, key()).map(Some);
    }
    match data.running()? {
        Some(running) => {
            let http = running.http.ok_or_else(|| {
                Fault::Unreachable(tr!("the server is still starting", "el servidor todavía está arrancando"))
            })?;
            Client::new(&http.to_string(), key()).map(Some)
        }
        None => Ok(None),
    }
}

fn admin_key(data: &DataDir) -> Option<String> {
    let text = std::fs::read_to_string(data.admin_key()).ok()?;
    Some(text.trim().to_owned()).filter(|key| !key.is_empty())
}

/// The database of a data directory without a server. The lock keeps a server from starting meanwhile.
pub(super) struct Local {
    pub(super) directory_service: DirectoryService,
    pub(super) data: DataDir,
    store: Store,
    _lock: Lock,
}

impl Local {
    pub(super) async fn open(shared: &Shared) -> Result<Local, Fault> {
        let loaded = shared.loaded()?;
        crate::zoneinfo::install(&loaded.config.zoneinfo)?;
        let data = DataDir::make(&shared.data)?;
        let lock = data.lock()?;
        let store = Store::open(loaded.config.store.url.expose(), data.path())
            .await
            .with_context(|| tr!("the database", "la base de datos"))?;
        let mut rng = Rng::from_seed(data::seed()?);
        installation::check(&store, &data, &mut rng).await?;
        let seen = store.outbox_seq().await.with_context(|| tr!("the database", "la base de datos"))?;
        let directory =
            store.load_directory().await.with_context(|| tr!("the database", "la base de datos"))?;
        let clock = Clock::start();
        let directory_service = DirectoryService::new(
            store.clone(),
            directory,
            Arc::new(Offline),
            loaded.config.sip.domain,
            Arc::new(move || clock.now()),
            rng,
        );
        directory_service.loaded_at(seen).await;
        Ok(Local { directory_service, data, store, _lock: lock })
    }

    pub(super) async fn close(self) {
        self.store.close().await;
    }
}

/// Run a future to completion.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("threads")?;
    runtime.block_on(future)
}

/// `backup FILE`
pub(super) fn backup(shared: &Shared, file: &Path) -> Result<(), Fault> {
    let loaded = shared.loaded()?;
    if !shared.data.is_dir() {
        return Err(Fault::Refused(tr!(
            "there is no data directory {0}",
            "no existe el directorio de datos {0}",
            shared.data.display()
        )));
    }
    if file.exists() {
        return Err(Fault::Refused(tr!("{0} exists already", "{0} ya existe", file.display())));
    }
    let file = std::path::absolute(file)?;
    block_on(async {
        let store = Store::open(loaded.config.store.url.expose(), &shared.data)
            .await
            .with_context(|| tr!("the database", "la base de datos"))?;
        let done = store.backup(&file).await.with_context(|| tr!("the copy failed", "la copia falló"));
        store.close().await;
        Ok(done?)
    })?;
    let bytes = std::fs::metadata(&file)?.len();
    super::shape::say(
        shared,
        &serde_json::json!({ "file": file.display().to_string(), "bytes": bytes }),
        &tr!("{bytes} bytes in {0}", "{bytes} bytes en {0}", file.display()),
    );
    Ok(())
}
