//! How an address may be written down: never a path, a query or a person (product rule: privacy 4).

use crate::base::target::Target;

/// A target as a log line may show it: scheme and host, nothing after.
pub fn place(target: &Target) -> &str {
    target.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_stay_out() {
        let target = Target::parse("https://portal.example.kz/pupil/17?token=x").expect("valid");
        assert_eq!(place(&target), "https://portal.example.kz");
    }
}
