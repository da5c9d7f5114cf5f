//! Conditions, as etcd's `TestApplyCompare` and its rules have them.

use crate::apply::testing::*;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

/// `key` has this number.
pub(crate) fn compare(key: &str, range_end: &str, target: CompareTarget, number: i64) -> pb::Compare {
    let operand = match target {
        CompareTarget::Version => TargetUnion::Version(number),
        CompareTarget::Create => TargetUnion::CreateRevision(number),
        CompareTarget::Mod => TargetUnion::ModRevision(number),
        CompareTarget::Lease => TargetUnion::Lease(number),
        CompareTarget::Value => panic!("not a number"),
    };
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: bytes(key),
        range_end: bytes(range_end),
        target_union: Some(operand),
    }
}

fn value(key: &str, result: CompareResult, value: &str) -> pb::Compare {
    pb::Compare {
        result: result as i32,
        target: CompareTarget::Value as i32,
        key: bytes(key),
        target_union: Some(TargetUnion::Value(bytes(value))),
        ..Default::default()
    }
}

fn holds(node: &mut Node, compare: pb::Compare) -> bool {
    node.txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }).expect("applies").succeeded
}

#[test]
fn each_target_is_compared_with_its_own_number() {
    let mut node = Node::new();
    node.grant(7, 60).expect("grants");
    node.put(put("a", "1")).expect("applies");
    node.put(pb::PutRequest { lease: 7, ..put("a", "2") }).expect("applies");
    for (target, number) in
        [(CompareTarget::Version, 2), (CompareTarget::Create, 2), (CompareTarget::Mod, 3), (CompareTarget::Lease, 7)]
    {
        let equal = compare("a", "", target, number);
        let with = |result: CompareResult, change: i64| pb::Compare {
            result: result as i32,
            ..compare("a", "", target, number + change)
        };
        assert!(holds(&mut node, equal.clone()), "{target:?}");
        assert!(!holds(&mut node, with(CompareResult::NotEqual, 0)));
        assert!(
            holds(&mut node, with(CompareResult::Greater, -1)) && !holds(&mut node, with(CompareResult::Greater, 0))
        );
        assert!(holds(&mut node, with(CompareResult::Less, 1)) && !holds(&mut node, with(CompareResult::Less, 0)));
        // An operand of another kind counts as zero.
        let other = pb::Compare { target_union: Some(TargetUnion::Value(bytes("x"))), ..equal };
        assert!(!holds(&mut node, other.clone()));
        assert!(holds(&mut node, pb::Compare { result: CompareResult::Greater as i32, ..other }));
    }
}

#[test]
fn an_absent_key_is_all_zeros_but_has_no_value() {
    let mut node = Node::new();
    assert!(holds(&mut node, compare("a", "", CompareTarget::Version, 0)));
    assert!(holds(&mut node, compare("a", "\0", CompareTarget::Mod, 0)));
    for result in [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less] {
        assert!(!holds(&mut node, value("a", result, "")));
    }
}

#[test]
fn values_compare_as_bytes() {
    let mut node = Node::new();
    node.put(put("a", "b")).expect("applies");
    assert!(holds(&mut node, value("a", CompareResult::Equal, "b")));
    assert!(holds(&mut node, value("a", CompareResult::Greater, "ax")));
    assert!(holds(&mut node, value("a", CompareResult::Less, "ba")));
}

#[test]
fn an_interval_holds_if_each_of_its_keys_does() {
    let mut node = Node::new();
    for key in ["a", "b"] {
        node.put(put(key, "")).expect("applies");
    }
    assert!(holds(&mut node, compare("a", "c", CompareTarget::Version, 1)));
    node.put(put("b", "")).expect("applies");
    assert!(!holds(&mut node, compare("a", "c", CompareTarget::Version, 1)));
    assert!(holds(&mut node, compare("a", "b", CompareTarget::Version, 1)));
}

#[test]
fn unknown_results_hold_and_unknown_targets_are_equal() {
    let mut node = Node::new();
    let known = compare("a", "", CompareTarget::Version, 5);
    assert!(holds(&mut node, pb::Compare { result: 9, ..known.clone() }));
    assert!(holds(&mut node, pb::Compare { target: 9, ..known.clone() }));
    assert!(!holds(&mut node, pb::Compare { target: 9, result: CompareResult::Less as i32, ..known }));
}

/// Any condition, and whether it holds for a key, for the model of transactions.
pub(crate) mod kinds {
    use super::*;
    use bytes::Bytes;
    use keelstone_proto::mvccpb::KeyValue;
    use proptest::prelude::*;

    pub(crate) fn any_compare(
        key: impl Strategy<Value = Bytes>,
        range_end: impl Strategy<Value = Bytes>,
    ) -> impl Strategy<Value = pb::Compare> {
        let operand = prop_oneof![
            (0..4_i64).prop_map(TargetUnion::Version),
            (0..12_i64).prop_map(TargetUnion::CreateRevision),
            (0..12_i64).prop_map(TargetUnion::ModRevision),
            (0..3_i64).prop_map(TargetUnion::Lease),
            any::<u8>().prop_map(|byte| TargetUnion::Value(Bytes::from(vec![byte]))),
        ];
        (key, range_end, 0..4_i32, operand).prop_map(|(key, range_end, result, operand)| {
            let target = match operand {
                TargetUnion::Version(_) => CompareTarget::Version,
                TargetUnion::CreateRevision(_) => CompareTarget::Create,
                TargetUnion::ModRevision(_) => CompareTarget::Mod,
                TargetUnion::Lease(_) => CompareTarget::Lease,
                TargetUnion::Value(_) => CompareTarget::Value,
            };
            pb::Compare { result, target: target as i32, key, range_end, target_union: Some(operand) }
        })
    }

    pub(crate) fn holds(compare: &pb::Compare, kv: &KeyValue) -> bool {
        let ordering = match compare.target_union.as_ref().expect("generated") {
            TargetUnion::Version(version) => kv.version.cmp(version),
            TargetUnion::CreateRevision(revision) => kv.create_revision.cmp(revision),
            TargetUnion::ModRevision(revision) => kv.mod_revision.cmp(revision),
            TargetUnion::Lease(lease) => kv.lease.cmp(lease),
            TargetUnion::Value(value) => kv.value.cmp(value),
        };
        match compare.result {
            0 => ordering.is_eq(),
            1 => ordering.is_gt(),
            2 => ordering.is_lt(),
            _ => ordering.is_ne(),
        }
    }
}
