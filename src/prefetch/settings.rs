//! What a school sets for its nights; checked by `config` before it comes here.

use crate::base::unit::BitRate;
use crate::prefetch::caps::Caps;
use crate::prefetch::gate::Manners;
use crate::prefetch::survey::Budget;
use crate::prefetch::window::Windows;
use crate::prefetch::wish;
use crate::site::discover::media::Policy;
use std::path::PathBuf;

/// `[packs]`, `[night]`, `[manners]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders (or files) with packs from outside.
    pub paths: Vec<PathBuf>,
    /// The node's own packs, `<state>/packs.d`; they need no signature.
    pub own: Option<PathBuf>,
    /// minisign public keys whose packs are taken.
    pub trusted_keys: Vec<String>,
    /// Take unsigned packs from `paths` too. For trials; a bad signature is refused all the same.
    pub unsigned: bool,
    /// When the work may run, with the school's time zone.
    pub windows: Windows,
    /// Most bytes of a night and of a month.
    pub caps: Caps,
    /// Every byte costs money: nothing is fetched ahead but what people ask for.
    pub metered: bool,
    /// Hosts that the operator refuses beside the compiled-in ones; they go into the rules with the packs.
    pub refused: Vec<String>,
    /// Which forms of films are taken.
    pub media: Policy,
    /// Cap on background bytes; `None`: no cap.
    pub rate: Option<BitRate>,
    /// Transfers at once.
    pub max_transfers: usize,
    /// What a survey may cost.
    pub survey: Budget,
    /// Manners towards hosts.
    pub manners: Manners,
    /// Who answers for this node, for the User-Agent: a URL or an address; empty: nobody named.
    pub contact: String,
    /// `[wishes]`.
    pub wishes: wish::Settings,
}

impl Default for Settings {
    fn default() -> Settings {
        // Kazakhstan has had one time zone, UTC+5, since 2024-03-01: what a machine without zone data falls back to.
        let zone = jiff::tz::TimeZone::get("Asia/Almaty").unwrap_or_else(|_| jiff::tz::TimeZone::fixed(jiff::tz::offset(5)));
        let night = "mon-sun 22:00-07:00".parse().expect("a constant window");
        Settings {
            paths: vec![PathBuf::from("/etc/bulak/packs.d")],
            own: None,
            trusted_keys: Vec::new(),
            unsigned: false,
            windows: Windows::new(vec![night], zone),
            caps: Caps::default(),
            metered: false,
            refused: Vec::new(),
            media: Policy::default(),
            rate: None,
            max_transfers: 2,
            survey: Budget::default(),
            manners: Manners::default(),
            contact: String::new(),
            wishes: wish::Settings::default(),
        }
    }
}
