//! What is at a destination, and which of it gives back a revision.

use super::manifest::{Kind, Manifest, Unreadable};
use crate::backup::destination::{Destination, Failure};
use std::collections::HashMap;

/// All backups below a prefix whose manifests can be read and whose objects are there.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By the place that they are of, the newest last.
    pub fulls: Vec<Manifest>,
    /// By the place that they begin with.
    pub segments: Vec<Manifest>,
    pub damaged: Vec<Damaged>,
}

/// A backup that does not count.
#[derive(Debug)]
pub struct Damaged {
    pub name: String,
    pub why: Unusable,
}

#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Manifest(#[from] Unreadable),
    #[error("{object}: not there")]
    NoObject { object: String },
    #[error("{object}: {found} bytes, its manifest says {expected}")]
    Size { object: String, expected: u64, found: u64 },
    #[error("{name}: it follows {follows} by another seal than that has")]
    Link { name: String, follows: String },
}

/// No backup has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no backup {0:?}")]
pub struct Unknown(String);

/// Why a revision cannot be given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChain {
    #[error("there is no full backup")]
    NoFull,
    #[error("revision {revision} is before the oldest full backup, which is of revision {oldest}")]
    Before { revision: i64, oldest: i64 },
    #[error("revision {revision} is not kept: from the full backup before it the segments go to {reached}")]
    Beyond { revision: i64, reached: i64 },
}

/// A full backup and the segments that go on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub full: Manifest,
    pub segments: Vec<Manifest>,
}

impl Chain {
    /// The last manifest of it.
    pub fn end(&self) -> &Manifest {
        self.segments.last().unwrap_or(&self.full)
    }
}

impl Catalogue {
    /// Reads the manifests below a prefix.
    ///
    /// # Errors
    /// The destination cannot be listed. What is wrong with one backup is told beside the others.
    pub fn read(destination: &dyn Destination, prefix: &str) -> Result<Self, Failure> {
        let objects: HashMap<String, u64> =
            destination.list_all(prefix)?.into_iter().map(|object| (object.key, object.bytes)).collect();
        let mut keys: Vec<&String> = objects.keys().filter(|key| key.ends_with(".json")).collect();
        keys.sort();
        let mut catalogue = Self::default();
        for key in keys {
            match Manifest::read(destination, key) {
                Ok(manifest) => catalogue.add(manifest, &objects),
                // Deleted meanwhile.
                Err(Unreadable::Read(Failure::NotFound { .. })) => {}
                Err(why) => catalogue.damage(name_of(key), why.into()),
            }
        }
        catalogue.check_links();
        catalogue.fulls.sort_by_key(|full| (full.to.index, full.created_unix_millis));
        catalogue.segments.sort_by_key(|segment| (segment.from.index, segment.to.index));
        Ok(catalogue)
    }

    fn add(&mut self, manifest: Manifest, objects: &HashMap<String, u64>) {
        let (object, expected) = (manifest.object.clone(), manifest.bytes);
        match objects.get(&object) {
            None => self.damage(manifest.name, Unusable::NoObject { object }),
            Some(&found) if found != expected => {
                self.damage(manifest.name, Unusable::Size { object, expected, found });
            }
            Some(_) if manifest.kind == Kind::Full => self.fulls.push(manifest),
            Some(_) => self.segments.push(manifest),
        }
    }

    fn damage(&mut self, name: String, why: Unusable) {
        self.damaged.push(Damaged { name, why });
    }

    /// A segment names what it follows, which may be forgotten by now but not be another.
    fn check_links(&mut self) {
        let all = self.fulls.iter().chain(&self.segments);
        let seals: HashMap<String, String> = all.map(|known| (known.name.clone(), known.seal.clone())).collect();
        for segment in std::mem::take(&mut self.segments) {
            let other = segment.follows.as_ref().filter(|link| seals.get(&link.name).is_some_and(|s| *s != link.seal));
            match other {
                Some(link) => {
                    let (name, follows) = (segment.name.clone(), link.name.clone());
                    self.damage(segment.name.clone(), Unusable::Link { name, follows });
                }
                None => self.segments.push(segment),
            }
        }
    }

    /// All that count, full ones first.
    pub fn all(&self) -> impl Iterator<Item = &Manifest> {
        self.fulls.iter().chain(&self.segments)
    }

    /// Those of these names; without any, all.
    ///
    /// # Errors
    /// The first name that none has.
    pub fn named(&self, names: &[String]) -> Result<Vec<Manifest>, Unknown> {
        if names.is_empty() {
            return Ok(self.all().cloned().collect());
        }
        let find = |name: &String| self.all().find(|manifest| manifest.name == *name).cloned();
        names.iter().map(|name| find(name).ok_or_else(|| Unknown(name.clone()))).collect()
    }

    pub fn newest_full(&self) -> Option<&Manifest> {
        self.fulls.last()
    }

    /// The segment that reaches furthest into the log.
    pub fn head(&self) -> Option<&Manifest> {
        self.segments.iter().max_by_key(|segment| segment.to.index)
    }

    /// What gives back a revision, or without one the newest state.
    ///
    /// # Errors
    /// It is not kept.
    pub fn chain_to(&self, revision: Option<i64>) -> Result<Chain, NoChain> {
        let Some(wanted) = revision else {
            let chains = self.fulls.iter().map(|full| self.chain_from(full, None));
            // Of those that reach equally far the one that has least to replay.
            return chains.max_by_key(|chain| (chain.end().to.index, chain.full.to.index)).ok_or(NoChain::NoFull);
        };
        let oldest = self.fulls.iter().map(|full| full.to.revision).min().ok_or(NoChain::NoFull)?;
        let mut before: Vec<_> = self.fulls.iter().filter(|full| full.to.revision <= wanted).collect();
        before.sort_by_key(|full| std::cmp::Reverse(full.to.index));
        let mut reached = 0;
        for full in before {
            let chain = self.chain_from(full, Some(wanted));
            if chain.end().to.revision >= wanted {
                return Ok(chain);
            }
            reached = reached.max(chain.end().to.revision);
        }
        match reached {
            0 => Err(NoChain::Before { revision: wanted, oldest }),
            _ => Err(NoChain::Beyond { revision: wanted, reached }),
        }
    }

    /// As far as segments go on from one full backup, or as is needed for a revision.
    fn chain_from(&self, full: &Manifest, revision: Option<i64>) -> Chain {
        let mut chain = Chain { full: full.clone(), segments: Vec::new() };
        loop {
            let at = chain.end().to;
            if revision.is_some_and(|revision| at.revision >= revision) {
                return chain;
            }
            // One that begins before is fine: what is applied already is passed over.
            let goes_on = |segment: &&Manifest| {
                segment.cluster_id == full.cluster_id
                    && segment.to.index > at.index
                    && (segment.from.index < at.index || segment.from.position() == at.position())
            };
            match self.segments.iter().filter(goes_on).max_by_key(|segment| segment.to.index) {
                Some(next) => chain.segments.push(next.clone()),
                None => return chain,
            }
        }
    }
}

/// `c1/x.json` is of `x`.
fn name_of(key: &str) -> String {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    name.strip_suffix(".json").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Place;
    use super::super::manifest::tests::full;
    use super::*;

    /// Revision and index are ten apart, as in `full`.
    fn segment(from: i64, to: i64) -> Manifest {
        let place = |revision: i64| Place { index: revision.unsigned_abs() + 10, term: 2, revision };
        Manifest { kind: Kind::Delta, name: format!("{from}-{to}"), from: place(from), to: place(to), ..full(to, 1) }
    }

    fn names(chain: Result<Chain, NoChain>) -> Result<(i64, Vec<String>), NoChain> {
        chain.map(|chain| (chain.full.to.revision, chain.segments.into_iter().map(|segment| segment.name).collect()))
    }

    #[test]
    fn a_revision_comes_from_the_full_backup_before_it() {
        let catalogue = Catalogue {
            fulls: vec![full(100, 1), full(250, 2), full(500, 3)],
            segments: vec![segment(90, 150), segment(150, 200), segment(200, 300), segment(300, 310)],
            damaged: Vec::new(),
        };
        let to = |revision| names(catalogue.chain_to(revision));
        let chain = |full, segments: &[&str]| Ok((full, segments.iter().map(|&name| name.to_owned()).collect()));
        assert_eq!(to(Some(100)), chain(100, &[]));
        assert_eq!(to(Some(101)), chain(100, &["90-150"]));
        assert_eq!(to(Some(249)), chain(100, &["90-150", "150-200", "200-300"]));
        assert_eq!(to(Some(310)), chain(250, &["200-300", "300-310"]));
        assert_eq!(to(Some(311)), Err(NoChain::Beyond { revision: 311, reached: 310 }));
        assert_eq!(to(Some(99)), Err(NoChain::Before { revision: 99, oldest: 100 }));
        assert_eq!(to(None), chain(500, &[]));
        assert_eq!(names(Catalogue::default().chain_to(Some(1))), Err(NoChain::NoFull));
    }

    #[test]
    fn a_segment_of_another_history_does_not_go_on() {
        let mut other = segment(100, 200);
        other.from.term = 3;
        let mut strange = segment(90, 200);
        strange.cluster_id = "c2".to_owned();
        let catalogue = Catalogue { fulls: vec![full(100, 1)], segments: vec![other, strange], damaged: Vec::new() };
        assert_eq!(names(catalogue.chain_to(None)), Ok((100, Vec::new())));
    }
}
