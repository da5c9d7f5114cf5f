//! Leases: grants, attachments and, on the leader, deadlines.
