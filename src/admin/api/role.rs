//! Who may do what over the API: three roles, each able to do what the one before it may, and one rule by method and path. Pure.
//!
//! The rule is total: a route that nobody thought of asks for the highest role, so that a new one is never open by mistake.

use http::Method;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything but tokens.
    Read,
    /// And run the night: fetch packs, end jobs, take wishes, pause and resume; test the line.
    Operate,
    /// And change the node: purge, repack, send reports, make and revoke tokens.
    Admin,
}

/// The roles, from the least.
pub const ROLES: [Role; 3] = [Role::Read, Role::Operate, Role::Admin];

/// What operators run.
const OPERATED: [&str; 7] = ["packs", "jobs", "wishes", "proposals", "record", "night", "link"];

/// What only admins may even look at.
const CLOSED: [&str; 1] = ["tokens"];

/// The role that a request needs.
pub fn needed(method: &Method, path: &str) -> Role {
    let section = path.strip_prefix("/api/v1/").unwrap_or_default().split('/').next().unwrap_or_default();
    let looks = matches!(*method, Method::GET | Method::HEAD);
    if CLOSED.contains(&section) {
        Role::Admin
    } else if looks {
        Role::Read
    } else if OPERATED.contains(&section) {
        Role::Operate
    } else {
        Role::Admin
    }
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// It names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write read, operate or admin")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        ROLES.into_iter().find(|role| role.name() == text).ok_or(NoRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_a_role() {
        let table = [
            ("GET", "/api/v1/status", Role::Read),
            ("HEAD", "/api/v1/packs/a", Role::Read),
            ("GET", "/api/v1/openapi.json", Role::Read),
            ("POST", "/api/v1/packs/a/fetch", Role::Operate),
            ("DELETE", "/api/v1/jobs/1", Role::Operate),
            ("POST", "/api/v1/wishes", Role::Operate),
            ("POST", "/api/v1/night/pause", Role::Operate),
            ("GET", "/api/v1/night", Role::Read),
            ("GET", "/api/v1/link/tests", Role::Read),
            ("GET", "/api/v1/link/outages", Role::Read),
            ("GET", "/api/v1/link/history", Role::Read),
            ("POST", "/api/v1/link/tests", Role::Operate),
            ("POST", "/api/v1/reports/send", Role::Admin),
            ("POST", "/api/v1/store/purge", Role::Admin),
            ("GET", "/api/v1/tokens", Role::Admin),
            ("GET", "/api/v1/tokens/x", Role::Admin),
            ("DELETE", "/api/v1/tokens/x", Role::Admin),
            ("PUT", "/api/v1/something", Role::Admin),
            ("POST", "/api/v1/packsx", Role::Admin),
            ("POST", "/api/v1//packs", Role::Admin),
            ("POST", "/api/v1", Role::Admin),
            ("BREW", "/api/v1/status", Role::Admin),
            ("OPTIONS", "/api/v1/status", Role::Admin),
        ];
        for (method, path, role) in table {
            assert_eq!(needed(&method.parse().expect("a method"), path), role, "{method} {path}");
        }
    }

    #[test]
    fn roles_hold_each_other_and_read_back() {
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
        for role in ROLES {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).expect("JSON"), role.name());
        }
        assert_eq!("root".parse::<Role>(), Err(NoRole));
    }
}
