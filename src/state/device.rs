//! Devices that enrolled: rows of the node's database, nothing else. What is known of a device is JSON, so that a new fact needs no
//! migration; what it means is the business of `tls::device`, and nobody reports it.

use crate::state::{Error, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqlitePool;
use std::net::IpAddr;

/// The devices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceTable(SqlitePool);

impl State {
    /// The devices' queries.
    pub fn devices(&self) -> DeviceTable {
        DeviceTable(self.pool().clone())
    }
}

impl DeviceTable {
    /// Keeps these devices in place of what was kept of them; `None` forgets one. All or nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn put<T: Serialize + Sync>(&self, changes: &[(IpAddr, Option<T>)]) -> Result<(), Error> {
        let mut work = self.0.begin().await?;
        for (address, device) in changes {
            let address = address.to_string();
            let query = match device {
                None => sqlx::query("DELETE FROM device WHERE address = ?1").bind(address),
                Some(device) => sqlx::query("INSERT INTO device (address, kept) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET kept = ?2")
                    .bind(address)
                    .bind(serde_json::to_string(device)?),
            };
            query.execute(&mut *work).await?;
        }
        Ok(work.commit().await?)
    }

    /// All that are kept. A row that cannot be read (a newer program's) is left out: that device enrols anew.
    ///
    /// # Errors
    /// The database's.
    pub async fn all<T: DeserializeOwned>(&self) -> Result<Vec<(IpAddr, T)>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT address, kept FROM device").fetch_all(&self.0).await?;
        Ok(rows.iter().filter_map(|(address, kept)| Some((address.parse().ok()?, serde_json::from_str(kept).ok()?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn devices_are_kept_and_forgotten() {
        let devices = State::open(None).await.expect("opens").devices();
        let (one, two) = (IpAddr::from([10, 0, 0, 7]), IpAddr::from([10, 0, 0, 8]));
        devices.put(&[(one, Some(1)), (two, Some(2))]).await.expect("writes");
        devices.put(&[(one, Some(3)), (two, None)]).await.expect("writes");
        assert_eq!(devices.all::<u32>().await.expect("reads"), [(one, 3)]);
        assert!(devices.all::<String>().await.expect("reads").is_empty(), "what cannot be read is left out");
    }
}
