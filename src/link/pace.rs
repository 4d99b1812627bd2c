//! A cap on background bytes. SKELETON.

use crate::base::unit::BitRate;

/// A token bucket shared by all background transfers.
#[derive(Debug)]
pub struct Pace(());

impl Pace {
    /// `None`: no cap.
    pub fn new(_rate: Option<BitRate>) -> Pace {
        todo!()
    }

    /// Waits until `bytes` may pass.
    pub async fn take(&self, _bytes: u64) {
        todo!()
    }
}
