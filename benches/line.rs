//! The emulated line, tried and lent.
//!
//! `cargo bench --bench line` measures it against its profiles: round trip, bulk TCP each way, how punctual it was.
//! `cargo bench --bench line -- "5/1 Mbit/s, 80 ms" [--far COMMAND] COMMAND` runs two shell commands at the ends of a line until the
//! near one ends: `$NEAR` and `$FAR` are the addresses. Needs root.

#[path = "line/mod.rs"]
mod line;

use bulak::base::clock::Clock;
use line::{Cable, Line, gauge};
use std::process::{Command, ExitCode};
use std::time::Duration;

const LINES: [&str; 6] = [
    "1/0.25 Mbit/s, 40 ms",
    "5/1 Mbit/s, 80 ms",
    "2/0.5 Mbit/s, 600 ms",
    "20/4 Mbit/s, 40 ms, 1 %",
    "20/4 Mbit/s, 250 ms",
    "150/30 Mbit/s, 40 ms",
];

/// Until TCP has found the rate: longer where it takes round trips.
const WARM: Duration = Duration::from_secs(4);
const TIME: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let done = match words.split_first() {
        None => measure(),
        Some((line, commands)) => lend(line, commands),
    };
    done.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::FAILURE
    })
}

fn lay(text: &str) -> Result<Cable, String> {
    let line: Line = text.parse()?;
    Cable::lay(&line).map_err(|error| format!("no namespaces and TUN devices here: {error}; root is needed"))
}

fn measure() -> Result<ExitCode, String> {
    println!("{:<28}{:>12}{:>12}{:>12}{:>10}{:>14}", "line", "RTT p50", "down Mbit/s", "up Mbit/s", "late %", "latest");
    for text in LINES {
        let cable = lay(text)?;
        let pings = gauge::Pings::start(&cable).map_err(|error| error.to_string())?;
        let clock = Clock::system();
        let began = clock.steady();
        std::thread::sleep(Duration::from_secs(2) + cable.line.rtt);
        let rtt = gauge::quantile(&pings.between(began, clock.steady()), 0.5).unwrap_or_default();
        drop(pings);
        let warm = WARM + cable.line.rtt * 10;
        let down = gauge::bulk_down(&cable, warm, TIME).map_err(|error| error.to_string())?;
        let up = gauge::bulk_up(&cable, warm, TIME).map_err(|error| error.to_string())?;
        let (seen, sent) = (cable.down(), cable.up());
        println!(
            "{:<28}{:>9.1} ms{:>12.3}{:>12.3}{:>10.2}{:>11.1} ms  {}",
            cable.line.to_string(),
            rtt.as_secs_f64() * 1e3,
            down / 1e6,
            up / 1e6,
            seen.late_share().max(sent.late_share()),
            seen.latest.max(sent.latest).as_secs_f64() * 1e3,
            cable.trouble().unwrap_or_default()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn lend(text: &str, commands: &[String]) -> Result<ExitCode, String> {
    let cable = lay(text)?;
    let shell = |mut command: Command, words: &str| {
        command.args(["-c", words]).env("NEAR", cable.near.addr.to_string()).env("FAR", cable.far.addr.to_string());
        command
    };
    let (far, near) = match commands {
        [word, far, near @ ..] if word == "--far" => (Some(far), near.join(" ")),
        near => (None, near.join(" ")),
    };
    if let Some(far) = far {
        // It ends with the line.
        let _child = shell(cable.far.command("sh"), far).spawn().map_err(|error| error.to_string())?;
    }
    let status = shell(cable.near.command("sh"), &near).status().map_err(|error| error.to_string())?;
    if let Some(trouble) = cable.trouble() {
        eprintln!("{trouble}");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
