//! Which backups are not kept any longer. The newest full one always is, whatever the rules say.

use super::catalogue::Catalogue;
use super::manifest::Manifest;
use crate::clock::Civil;
use crate::config::backup::Retention;
use std::collections::HashSet;
use std::time::SystemTime;

const DAY_SECS: u64 = 86_400;

/// Those to delete: full ones that no rule keeps, and segments that no kept one needs.
pub fn expired(catalogue: &Catalogue, rules: &Retention, now: SystemTime) -> Vec<Manifest> {
    let kept = kept(&catalogue.fulls, rules, now);
    let is_kept = |full: &&Manifest| kept.contains(full.name.as_str());
    let Some(oldest) = catalogue.fulls.iter().filter(is_kept).map(|full| full.to.index).min() else {
        return Vec::new();
    };
    let fulls = catalogue.fulls.iter().filter(|full| !is_kept(full));
    let segments = catalogue.segments.iter().filter(|segment| segment.to.index <= oldest);
    fulls.chain(segments).cloned().collect()
}

/// `fulls` are in order, the newest last.
fn kept<'m>(fulls: &'m [Manifest], rules: &Retention, now: SystemTime) -> HashSet<&'m str> {
    let newest_first = || fulls.iter().rev();
    if rules.keeps_all() {
        return newest_first().map(|full| full.name.as_str()).collect();
    }
    let mut kept: HashSet<&str> = newest_first().take(rules.count.max(1)).map(|full| full.name.as_str()).collect();
    let is_young = |full: &&Manifest| now.duration_since(full.created()).unwrap_or_default() < rules.age;
    kept.extend(newest_first().filter(is_young).map(|full| full.name.as_str()));
    let month = |secs| {
        let Civil { year, month, .. } = Civil::of(secs);
        year * 12 + month
    };
    let periods: [(usize, &dyn Fn(u64) -> u64); 4] = [
        (rules.hourly, &|secs| secs / 3600),
        (rules.daily, &|secs| secs / DAY_SECS),
        // 1970 began on a Thursday.
        (rules.weekly, &|secs| (secs / DAY_SECS + 3) / 7),
        (rules.monthly, &month),
    ];
    for (periods, period_of) in periods {
        let mut seen = HashSet::new();
        for full in newest_first() {
            let is_first = seen.insert(period_of(full.created_unix_millis / 1000));
            if seen.len() > periods {
                break;
            }
            if is_first {
                kept.insert(&full.name);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::full;
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Ages in hours of what is kept of backups that were made every six hours for 100 days.
    fn kept_ages(rules: &str) -> Vec<u64> {
        const END: u64 = 100 * 24;
        let fulls: Vec<Manifest> = (0..END).step_by(6).map(|hour| full(1 + hour.cast_signed(), hour)).collect();
        let catalogue = Catalogue { fulls, ..Catalogue::default() };
        let now = UNIX_EPOCH + Duration::from_secs(END * 3600);
        let rules = Retention::parse(rules).unwrap();
        let gone: Vec<String> = expired(&catalogue, &rules, now).into_iter().map(|full| full.name).collect();
        let kept = catalogue.fulls.iter().rev().filter(|full| !gone.contains(&full.name));
        kept.map(|full| END - full.created_unix_millis / 3_600_000).collect()
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        assert_eq!(kept_ages("count=3"), [6, 12, 18]);
        assert_eq!(kept_ages("age=13h"), [6, 12]);
        assert_eq!(kept_ages("age=1h"), [6], "the newest always");
        assert_eq!(kept_ages("hourly=2"), [6, 12]);
        assert_eq!(kept_ages("daily=3"), [6, 30, 54]);
        // Day 100 is the 11th of April 1970, a Saturday; the week before ended with Sunday, the 5th.
        assert_eq!(kept_ages("weekly=2"), [6, 24 * 5 + 6]);
        assert_eq!(kept_ages("monthly=3"), [6, 24 * 10 + 6, 24 * 41 + 6]);
        assert_eq!(kept_ages("count=2,daily=2"), [6, 12, 30]);
        assert_eq!(kept_ages("all").len(), 400);
    }

    #[test]
    fn segments_go_when_no_kept_backup_needs_them() {
        let segment =
            |from: i64, to: i64| Manifest { name: format!("{from}-{to}"), from: full(from, 0).to, ..full(to, 0) };
        let catalogue = Catalogue {
            fulls: vec![full(100, 1), full(200, 2)],
            segments: vec![segment(100, 150), segment(150, 200), segment(150, 210), segment(210, 300)],
            ..Catalogue::default()
        };
        let rules = Retention { count: 1, ..Retention::default() };
        let gone = expired(&catalogue, &rules, UNIX_EPOCH);
        let gone: Vec<&str> = gone.iter().map(|manifest| manifest.name.as_str()).collect();
        assert_eq!(gone[1..], ["100-150", "150-200"]);
        assert!(expired(&Catalogue::default(), &rules, UNIX_EPOCH).is_empty());
    }
}
