//! What the pieces take in time: a decision, a hit without its socket, a body kept, a night, a report, a page with its links changed.
//!
//! `cargo bench --bench micro -- [NAME]`. Whether they became dearer is told by `scripts/counts`, on any machine and however busy it is.

#[path = "../tests/kit/noise.rs"]
mod kit;

#[path = "pieces/mod.rs"]
mod pieces;

#[path = "prose.rs"]
mod prose;

#[path = "hub/said.rs"]
mod said;

#[path = "stock.rs"]
mod stock;

use criterion::{BatchSize, Criterion};
use pieces::PIECES;

/// Samples of what takes a second: criterion's least.
const FEW: usize = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for piece in PIECES {
        let mut group = criterion.benchmark_group("pieces");
        if piece.uses_up {
            group.sample_size(FEW);
            group.bench_function(piece.name, |bench| {
                bench.iter_batched(|| (piece.make)(1), |mut operation| operation(), BatchSize::PerIteration);
            });
        } else {
            group.bench_function(piece.name, |bench| bench.iter((piece.make)(1)));
        }
        group.finish();
    }
    criterion.final_summary();
}
