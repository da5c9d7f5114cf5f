//! The tables, which are etcd's buckets.

use redb::TableDefinition;
use std::fmt;

/// A table, in the order of etcd's backend file (bytewise by name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Alarm,
    Auth,
    AuthRoles,
    AuthUsers,
    Cluster,
    Key,
    Lease,
    Members,
    MembersRemoved,
    Meta,
}

impl Table {
    pub const ALL: [Table; 10] = [
        Table::Alarm,
        Table::Auth,
        Table::AuthRoles,
        Table::AuthUsers,
        Table::Cluster,
        Table::Key,
        Table::Lease,
        Table::Members,
        Table::MembersRemoved,
        Table::Meta,
    ];

    /// etcd's bucket name.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Alarm => "alarm",
            Table::Auth => "auth",
            Table::AuthRoles => "authRoles",
            Table::AuthUsers => "authUsers",
            Table::Cluster => "cluster",
            Table::Key => "key",
            Table::Lease => "lease",
            Table::Members => "members",
            Table::MembersRemoved => "members_removed",
            Table::Meta => "meta",
        }
    }

    /// The table of that name, if it is one of ours.
    pub fn named(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    pub(super) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_the_order_of_their_names() {
        assert!(Table::ALL.is_sorted_by_key(|table| table.name()));
        assert!(Table::ALL.is_sorted());
        assert_eq!(Table::named("members_removed"), Some(Table::MembersRemoved));
    }
}
