//! Rebuilds when a migration is added: `sqlx::migrate!` reads the folder at compile time.

fn main() {
    println!("cargo:rerun-if-changed=src/state/migrations");
    println!("cargo:rerun-if-changed=src/hub/migrations");
}
