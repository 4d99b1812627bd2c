//! One piece, so many times, for whoever counts its instructions: `counts PIECE N`. Without words: the pieces and how often each is
//! worth counting. `scripts/counts` runs it under valgrind; what is made before is the same for every N up to twice the usual.

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

use pieces::PIECES;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = words.as_slice() else {
        return PIECES.iter().for_each(|piece| println!("{} {}", piece.name, piece.times));
    };
    let piece = PIECES.iter().find(|piece| piece.name == name).expect("a piece's name");
    let times: u64 = times.parse().expect("a number");
    let mut operation = (piece.make)(2 * piece.times);
    for _ in 0..times {
        operation();
    }
}
