//! The night: the same content takes less room in the morning. Store.md section 2.

/// A body's smallest form.
pub(crate) mod recode;

#[cfg(test)]
mod tests;
