//! Who may report: the nodes of the hub's file and those that enrolled by a code, with their schools. Pure.
//!
//! A node that was revoked is known by name, so that it is told why; of two rows about one node the revocation wins, also over the
//! file. A key belongs to one school.

use crate::hub::Enrolled;
use crate::hub::keep::register::{NodeRow, SchoolRow};
use crate::report::sign;
use ed25519_dalek::VerifyingKey;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Nodes and schools at one moment.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    nodes: HashMap<String, Known>,
    revoked: HashSet<String>,
    schools: BTreeMap<String, About>,
}

/// One node of the roll.
#[derive(Clone, Debug)]
pub struct Known {
    /// For its signatures.
    pub key: VerifyingKey,
    /// Its school's id.
    pub school: String,
}

/// One school of the roll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// For people; empty: the id.
    pub name: String,
    /// Who provides its line; empty: not known.
    pub provider: String,
    /// What the line's contract says, bit/s.
    pub contract_bps: Option<i64>,
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Nodes that may report no more: what they told stays the school's.
    pub former: Vec<String>,
}

impl Roll {
    /// From the settings and what the database knows.
    ///
    /// # Errors
    /// The first text of the settings that is no key.
    pub fn new(file: &[Enrolled], rows: &[NodeRow], schools: &[SchoolRow]) -> Result<Roll, String> {
        let mut roll = Roll::default();
        for node in file {
            let key = sign::public(&node.key).ok_or_else(|| node.key.clone())?;
            roll.nodes.insert(sign::node_of(&key), Known { key, school: node.school.clone() });
            let about = roll.schools.entry(node.school.clone()).or_default();
            let told = About {
                name: node.name.clone(),
                provider: node.provider.clone(),
                contract_bps: node.contract.and_then(|rate| i64::try_from(rate.0).ok()),
                ..About::default()
            };
            about.fill(told);
        }
        for row in schools {
            let told = About { name: row.name.clone(), provider: row.provider.clone(), contract_bps: row.contract_bps, ..About::default() };
            roll.schools.entry(row.id.clone()).or_default().fill(told);
        }
        for row in rows {
            if row.revoked.is_some() {
                roll.nodes.remove(&row.id);
                roll.revoked.insert(row.id.clone());
                // A school that nobody lists any more is gone with its last node.
                if let Some(about) = roll.schools.get_mut(&row.school) {
                    about.former.push(row.id.clone());
                }
            } else if let Some(key) = sign::public(&row.key) {
                // The file's word about a node comes first: it is what a person wrote.
                roll.nodes.entry(row.id.clone()).or_insert_with(|| Known { key, school: row.school.clone() });
            }
        }
        for (node, known) in &roll.nodes {
            roll.schools.entry(known.school.clone()).or_default().nodes.push(node.clone());
        }
        for about in roll.schools.values_mut() {
            about.nodes.sort();
        }
        Ok(roll)
    }

    /// A node that may report.
    pub fn node(&self, node: &str) -> Option<&Known> {
        self.nodes.get(node)
    }

    /// Whether it may no more.
    pub fn is_revoked(&self, node: &str) -> bool {
        self.revoked.contains(node)
    }

    /// All schools by id.
    pub fn schools(&self) -> &BTreeMap<String, About> {
        &self.schools
    }

    /// All nodes that may report.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.nodes.iter().map(|(node, known)| (node.as_str(), known))
    }
}

impl About {
    /// What is not known yet.
    fn fill(&mut self, told: About) {
        if self.name.is_empty() {
            self.name = told.name;
        }
        if self.provider.is_empty() {
            self.provider = told.provider;
        }
        self.contract_bps = self.contract_bps.or(told.contract_bps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::BitRate;
    use crate::report::sign::Key;

    #[test]
    fn the_file_comes_first_and_a_revocation_before_it() {
        let (one, two, three) = (Key::make(), Key::make(), Key::make());
        let file = [
            Enrolled { key: one.public(), school: "a".into(), name: "A".into(), ..Enrolled::default() },
            Enrolled { key: two.public(), school: "a".into(), contract: Some(BitRate::mbit(8)), ..Enrolled::default() },
        ];
        let row = |key: &Key, school: &str, revoked: Option<i64>| NodeRow {
            id: key.node(),
            key: key.public(),
            school: school.into(),
            added: 1,
            revoked,
        };
        let schools = [
            SchoolRow { id: "b".into(), name: "B".into(), provider: "P".into(), contract_bps: Some(5) },
            SchoolRow { id: "a".into(), name: "other".into(), provider: "P".into(), contract_bps: Some(5) },
        ];
        let rows = [row(&one, "b", None), row(&two, "a", Some(9)), row(&three, "b", None)];
        let roll = Roll::new(&file, &rows, &schools).expect("keys");
        assert_eq!(roll.node(&one.node()).expect("known").school, "a");
        assert!(roll.node(&two.node()).is_none() && roll.is_revoked(&two.node()));
        assert_eq!(roll.node(&three.node()).expect("known").school, "b");
        let about = &roll.schools()["a"];
        assert_eq!((about.name.as_str(), about.provider.as_str(), about.contract_bps), ("A", "P", Some(8_000_000)));
        assert_eq!((about.nodes.as_slice(), about.former.as_slice()), ([one.node()].as_slice(), [two.node()].as_slice()));
        assert!(Roll::new(&[Enrolled { key: "x".into(), ..Enrolled::default() }], &[], &[]).is_err());
    }
}
